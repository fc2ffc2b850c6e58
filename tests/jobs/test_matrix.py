"""Every element of every result, for several numbers of ranks: from processes and from threads of one process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import jobkit
from jobkit import Start

# Twice as many ranks as the figure says share the cores of this machine, which may have other work, too: that one does
# not answer for a while is no news here.
PATIENT = {"NEXAR_PEER_TIMEOUT": "20s"}
PROGRAM = str(Path(__file__).with_name("matrix.py"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, *(pytest.param(n, marks=pytest.mark.full) for n in (6, 7, 9, 13))])
def test_results_are_right_on_all_ranks_twice_and_after_silence(start: Start, n: int) -> None:
    """At the same time, so that they are silent together.

    H1: the silence is that of some heartbeats.  C1, C2: counts that no number of ranks or segments divides.
    """
    digests = set()
    commands = [jobkit.nexar("run", "-n", str(n), PROGRAM), [sys.executable, PROGRAM, str(n)]]
    jobs = [start(*command, env=PATIENT) for command in commands]
    for job in jobs:
        assert job.wait(250) == 0, job.stderr
        found = re.findall(rf"rank (\d+) of {n}: (\w+)", job.stdout)
        assert sorted(int(rank) for rank, _ in found) == list(range(n))
        digests |= {digest for _, digest in found}
    assert len(digests) == 1  # bit by bit, and threads have the same as processes


@pytest.mark.timeout(300)
@pytest.mark.parametrize("n", [3, *(pytest.param(n, marks=pytest.mark.full) for n in (2, 4, 5, 8))])
@pytest.mark.parametrize(("asked", "way"), [("shm", "shm"), ("tcp", "tcp"), ("quic", "quic"), ("auto", "shm")])
def test_results_are_right_whichever_way_the_bytes_go(start: Start, n: int, asked: str, way: str) -> None:
    job = start(*jobkit.nexar("run", "-n", str(n), PROGRAM, "once"), env={**PATIENT, "NEXAR_TRANSPORTS": asked})
    assert job.wait(250) == 0, job.stderr
    found = re.findall(rf"rank (\d+) of {n}: (\w+) (.*)", job.stdout)
    assert sorted(int(rank) for rank, _, _ in found) == list(range(n))
    assert len({digest for _, digest, _ in found}) == 1
    for _, _, ways in found:
        sent = {name: int(nbytes) for name, nbytes in (each.split("=") for each in ways.split())}
        assert sent.pop(way) > 10_000_000
        assert not any(sent.values()), ways
