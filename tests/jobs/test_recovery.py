"""Jobs that outlive their ranks: kill -9, one after the other and two at once, and what is left goes on."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

import jobkit
from jobkit import Process, Start

PROGRAM = str(Path(__file__).with_name("recover.py"))
RANKS = 5
FULL = bool(os.environ.get("NX_TEST_FULL"))
WAYS = ["shm", "tcp", "quic", "auto", "hosts"]


def begin(start: Start, way: str, left: int, **more: str) -> Process:
    # The machine may be busy, and a rank without a core for long: who is on one host is known to be dead all the same.
    how = {"HOSTS": "AABBB", "NEXAR_PEER_TIMEOUT": "6s"}
    if way != "hosts":
        how = {"NEXAR_TRANSPORTS": way, "NEXAR_PEER_TIMEOUT": "20s"}
    env = {**how, **more}
    process = start(*jobkit.nexar("run", "-n", str(RANKS), "--keep-going", PROGRAM, str(left)), env=env)
    process.until_printed("works:", RANKS)
    return process


def pids(process: Process) -> dict[int, int]:
    return {int(rank): int(pid) for rank, pid in re.findall(r"\[(\d)\] works: (\d+)", process.stdout)}


def until_members(process: Process, ranks: set[int]) -> None:
    line = "members: " + " ".join(str(rank) for rank in sorted(ranks))
    process.until(
        lambda: all(f"[{rank}] {line}\n" in process.stdout for rank in ranks), f"{line} of each of them", timeout=60
    )


def end_well(process: Process, ranks: set[int]) -> None:
    said = process.stdout + process.stderr
    assert process.wait() == 0, said
    done = re.findall(r"\[(\d)\] done: (\d)", process.stdout)
    assert sorted(done) == [(str(rank), str(len(ranks))) for rank in sorted(ranks)], said
    assert "Error" not in process.stderr, said
    process.until_all_are_gone()


def shared_files() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir() if "nexar" in entry.name}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
def test_v1_v2_ranks_are_killed_one_after_the_other_and_the_rest_goes_on(start: Start, way: str) -> None:
    """Ranks are new in each communicator, and nothing of an old one is delivered in a new one."""
    jobkit.draw_seed()
    files = shared_files()
    for _ in range(20 if FULL else 2):
        process = begin(start, way, 2)
        alive = set(range(RANKS))
        until_members(process, alive)
        while len(alive) > 2:
            time.sleep(random.random() * 0.1)  # the moment is what is drawn
            victim = random.choice(sorted(alive))
            os.kill(pids(process)[victim], signal.SIGKILL)
            alive.remove(victim)
            until_members(process, alive)
        end_well(process, alive)
    assert shared_files() <= files


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["shm", "auto"])
def test_v4_all_but_one_are_killed(start: Start, way: str) -> None:
    """The dead of a host still vote: whoever is the last goes on, and need not be the first."""
    jobkit.draw_seed()
    for last in range(RANKS) if FULL else (0, 2, RANKS - 1):
        process = begin(start, way, 1)
        alive = set(range(RANKS))
        until_members(process, alive)
        while alive != {last}:
            victims = random.sample(sorted(alive - {last}), random.randint(1, len(alive) - 1))
            for victim in victims:
                os.kill(pids(process)[victim], signal.SIGKILL)
            alive -= set(victims)
            until_members(process, alive)
        end_well(process, {last})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
def test_v5_two_are_killed_at_once(start: Start, way: str) -> None:
    """Another dies while the others agree that the first is out; the reference gives up then."""
    jobkit.draw_seed()
    for _ in range(20 if FULL else 2):
        process = begin(start, way, 3)
        alive = set(range(RANKS))
        until_members(process, alive)
        for pause in (random.random() * 0.1, random.random() * 0.01):
            time.sleep(pause)
            victim = random.choice(sorted(alive))
            os.kill(pids(process)[victim], signal.SIGKILL)
            alive.remove(victim)
        until_members(process, alive)
        end_well(process, alive)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["shm", "tcp", "quic"])
def test_v4_v5_a_frozen_rank_is_left_behind_and_told_so(start: Start, way: str) -> None:
    """There is no second job."""
    jobkit.draw_seed()
    process = begin(start, way, RANKS - 1, NEXAR_RECOVERY_TIMEOUT="1", NEXAR_PEER_TIMEOUT="4s")
    alive = set(range(RANKS))
    until_members(process, alive)
    frozen = random.choice(sorted(alive))
    os.kill(pids(process)[frozen], signal.SIGSTOP)
    try:
        until_members(process, alive - {frozen})
        process.until_printed("done:", RANKS - 1)
    finally:
        os.kill(pids(process)[frozen], signal.SIGCONT)
    said = process.stdout + process.stderr
    assert process.wait() == 0, said
    assert f"[{frozen}] done" not in process.stdout, said
    assert re.search(rf"\[{frozen}\] pynexar.errors.(QuorumLost|PeerLost): shrink: ", process.stderr), process.stderr
