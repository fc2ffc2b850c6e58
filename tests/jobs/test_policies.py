"""What a communicator does when it has lost a rank, as Config.recovery says; and being told of it."""

from __future__ import annotations

import os
import random
import re
import signal
from pathlib import Path

import numpy as np
import pytest

import jobkit
import pynexar as nx
from jobkit import Process, Start

PROGRAM = str(Path(__file__).with_name("policies.py"))
RANKS = 5


def begin(start: Start, policy: str, left: int, way: str = "auto") -> tuple[Process, dict[int, int]]:
    env = {"NEXAR_TRANSPORTS": way, "NEXAR_PEER_TIMEOUT": "20s"}
    process = start(*jobkit.nexar("run", "-n", str(RANKS), "--keep-going", PROGRAM, policy, str(left)), env=env)
    process.until_printed("works:", RANKS)
    return process, {int(rank): int(pid) for rank, pid in re.findall(r"\[(\d)\] works: (\d+)", process.stdout)}


def until_each_says(process: Process, line: str, times: int) -> None:
    process.until(lambda: process.stdout.count(line + "\n") == times, f"{line} of {times}")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", ["shm", "tcp", "quic"])
def test_a_communicator_that_heals(start: Start, way: str) -> None:
    """One after the other, then two at once: the same object works on, with those who are left."""
    process, pids = begin(start, "automatic", 2, way)
    alive = set(range(RANKS))
    first = random.randrange(RANKS)
    groups = [{first}]
    # Over TCP and QUIC alone those who are left must be more than half.
    if way == "shm":
        groups.append(set(random.sample(sorted(alive - {first}), 2)))
    else:
        groups += [{victim} for victim in random.sample(sorted(alive - {0, first}), 2)]
        if first != 0:
            groups = groups[:3]
    for victims in groups:
        for victim in victims:
            os.kill(pids[victim], signal.SIGKILL)
        alive -= victims
        until_each_says(process, "members: " + " ".join(str(rank) for rank in sorted(alive)), len(alive))
    assert process.wait() == 0, process.stdout + process.stderr
    done = re.findall(r"\[(\d)\] done: 2 ranks, PeerLost (\d+) times", process.stdout)
    assert {int(rank) for rank, _ in done} == alive, process.stdout + process.stderr
    # Two at once may be seen one after the other.
    assert all(len(groups) <= int(times) <= 3 for _, times in done), done
    process.until_all_are_gone()


def test_a_communicator_that_ends(start: Start) -> None:
    process, pids = begin(start, "abort", 0)
    os.kill(pids[3], signal.SIGKILL)
    assert process.wait() == 0, process.stdout + process.stderr
    assert process.stdout.count("done: lost 3") == 4, process.stdout + process.stderr


def test_who_is_told_must_be_a_function() -> None:
    with nx.init() as comm, pytest.raises(nx.UsageError, match="must be a function"):
        comm.on_failure(None)  # type: ignore[arg-type]


def test_who_wants_to_be_told_is_told(start: Start) -> None:
    process, pids = begin(start, "watch", 0)
    process.until_printed("watching", RANKS)
    for victim in (1, 4):
        os.kill(pids[victim], signal.SIGKILL)
    assert process.wait() == 0, process.stdout + process.stderr
    assert process.stdout.count("done: 1 4\n") == 3, process.stdout
    assert process.stderr.count("RuntimeError: as any thread's") == 3, process.stderr


def test_a_policy_that_is_none() -> None:
    with pytest.raises(nx.UsageError, match="must be a RecoveryPolicy, or 'manual', 'automatic', 'abort'"):
        nx.init(config=nx.Config(recovery="heal"))


def test_one_rank_with_a_policy() -> None:
    """Nothing is lost: it is as any other."""
    for policy in nx.RecoveryPolicy:
        with nx.init(config=nx.Config(recovery=policy)) as comm:
            assert isinstance(comm, nx.Comm)
            assert comm.all_reduce(np.ones(1)).tolist() == [1.0]
            assert comm.nb.all_reduce(np.ones(1)).wait().tolist() == [1.0]
            with comm.shrink() as left:
                assert left.size == 1
