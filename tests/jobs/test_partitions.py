"""Jobs whose network breaks: who is more than half goes on, and the others are told that they may not, for good."""

from __future__ import annotations

import itertools
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import cablekit
import jobkit
from cablekit import Cable
from hostkit import Host
from jobkit import Process, Start

PROGRAM = str(Path(__file__).with_name("partition.py"))
SECRET = "0123456789abcdef0123456789abcdef"
N = 4
_ports = itertools.count(29_600)


@pytest.fixture
def cabled(start: Start) -> Iterator[tuple[Cable, list[Host]]]:
    yield from cablekit.cabled(start)


def begin(hosts: list[Host], places: str, folder: Path, way: str, **more: str) -> list[Process]:
    """Rank i runs on host places[i]; all have met and add up."""
    port = str(next(_ports))
    ranks = []
    for rank, place in enumerate(places):
        host = hosts[int(place)]
        env = {
            "NEXAR_RANK": str(rank),
            "NEXAR_WORLD_SIZE": str(len(places)),
            "NEXAR_MASTER_ADDR": hosts[int(places[0])].four,
            "NEXAR_MASTER_PORT": port,
            "NEXAR_SECRET": SECRET,
            "NEXAR_BIND": host.four,
            "NEXAR_TRANSPORTS": way,
            **more,
        }
        ranks.append(host.start(sys.executable, PROGRAM, str(folder), env=env))
    until_members(ranks, set(range(len(places))))
    return ranks


def until_members(ranks: list[Process], members: set[int]) -> None:
    line = "members: " + " ".join(str(rank) for rank in sorted(members)) + "\n"
    for rank in members:
        ranks[rank].until(lambda rank=rank: line in ranks[rank].stdout, f"{line!r} of rank {rank}")


def said(ranks: list[Process]) -> str:
    return "\n".join(f"rank {rank}:\n{each.stdout}{each.stderr}" for rank, each in enumerate(ranks))


def lists_of(process: Process) -> list[str]:
    """Of who it has been with, one after the other."""
    return re.findall(r"^members: (.*)$", process.stdout, re.MULTILINE)


# Where the ranks are, and who goes on.
PLACES = {"half with the first": ("0011", {0, 1}), "three without the first": ("0111", {1, 2, 3})}


# What is cut: packets of both sides, or of one.
CUTS = [
    *itertools.product(PLACES, ["tcp", "quic"], ["both"]),
    ("half with the first", "tcp", "from the others"),
    ("half with the first", "quic", "from the first"),
    ("three without the first", "tcp", "from the first"),
    ("three without the first", "quic", "from the others"),
]
ALL = list(itertools.product(PLACES, ["tcp", "quic"], ["both", "from the others", "from the first"]))


@pytest.mark.parametrize(
    ("case", "way", "cut"), [pytest.param(*each, marks=() if each in CUTS else pytest.mark.full) for each in ALL]
)
def test_v4_one_side_of_a_partition_goes_on(
    cabled: tuple[Cable, list[Host]], tmp_path: Path, case: str, way: str, cut: str
) -> None:
    """In the reference both sides rebuild, each by itself: two clusters.

    Nobody ends a connection: packets do not arrive any more.
    """
    cable, hosts = cabled
    places, winners = PLACES[case]
    losers = set(range(N)) - winners
    ranks = begin(hosts, places, tmp_path, way, NEXAR_PEER_TIMEOUT="4s", NEXAR_RECOVERY_TIMEOUT="2s")
    cable.cut[:] = (cut != "from the others"), (cut != "from the first")
    until_members(ranks, winners)
    for rank in losers:
        ranks[rank].until(lambda rank=rank: "stopped: " in ranks[rank].stdout, f"the end of rank {rank}")
    assert sum(cable.lost) > 0
    cable.mend()
    (tmp_path / "healed").touch()
    for rank in losers:
        assert ranks[rank].wait() == 0, said(ranks)
        still = re.findall(r"still: (\w+): (\w+)", ranks[rank].stdout)
        assert still == [("QuorumLost", "shrink"), ("QuorumLost", "agree")], said(ranks)
    (tmp_path / "end").touch()
    for rank in winners:
        assert ranks[rank].wait() == 0, said(ranks)
    for rank, process in enumerate(ranks):
        lists = ["0 1 2 3", " ".join(map(str, sorted(winners)))]
        assert lists_of(process) == (lists if rank in winners else lists[:1]), said(ranks)
        assert ("rounds: " in process.stdout) == (rank in winners), said(ranks)
        assert not process.alive()


@pytest.mark.parametrize("way", ["tcp", "quic"])
def test_a_cut_that_is_mended_in_time_is_nothing(cabled: tuple[Cable, list[Host]], tmp_path: Path, way: str) -> None:
    cable, hosts = cabled
    ranks = begin(hosts, "0011", tmp_path, way, NEXAR_PEER_TIMEOUT="20s")
    cable.cut_both()
    before = sum(cable.lost)
    time.sleep(1.5)
    assert sum(cable.lost) > before
    cable.mend()
    (tmp_path / "end").touch()
    for process in ranks:
        assert process.wait() == 0, said(ranks)
        assert lists_of(process) == ["0 1 2 3"], said(ranks)


@pytest.mark.parametrize("way", ["tcp", "quic"])
def test_a_rank_is_killed_while_packets_are_lost(cabled: tuple[Cable, list[Host]], tmp_path: Path, way: str) -> None:
    """5 % of all, of both directions."""
    cable, hosts = cabled
    cable.random.seed(jobkit.draw_seed())
    cable.loss = 0.05
    ranks = begin(hosts, "0011", tmp_path, way, NEXAR_PEER_TIMEOUT="8s")
    ranks[0].until(lambda: sum(cable.lost) >= 50, "50 lost packets")
    time.sleep(random.random() * 0.2)  # the moment is what is drawn
    victim = random.randrange(N)
    ranks[victim].send(signal.SIGKILL)
    left = set(range(N)) - {victim}
    until_members(ranks, left)
    (tmp_path / "end").touch()
    for rank in left:
        assert ranks[rank].wait() == 0, said(ranks)
        assert re.findall(r"^lost: (\d)", ranks[rank].stdout, re.MULTILINE) == [str(victim)], said(ranks)
        assert len(lists_of(ranks[rank])) == 2, said(ranks)
    assert ranks[victim].wait() == -signal.SIGKILL
    assert not any(process.alive() for process in ranks)
