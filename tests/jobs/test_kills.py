"""kill -9 at a random moment of whatever ranks do, by each way that bytes can take."""

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

# A round of each thing that moves bytes, again and again; small and large, in order and at the same time.
WORK = """
    import os, signal, time
    import numpy as np, pynexar as nx

    def rounds(comm):
        small, large = np.ones(100), np.ones(300_000)
        right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
        blocks = np.ones((comm.size, 5000))
        got = np.empty_like(large)
        while True:
            comm.all_reduce(small)
            comm.all_reduce(large)
            op = comm.nb.recv(got, left)
            comm.send(large, right)
            op.wait()
            comm.all_to_all(blocks)
            comm.broadcast(large, 1)
            ops = [comm.nb.recv(np.empty(100), left), comm.nb.all_reduce(large), comm.nb.send(small, right)]
            for op in ops:
                op.wait()
            comm.barrier()

    if "HOSTS" in os.environ:  # the first two ranks on one, say, and the third on another
        os.environ["NEXAR_GROUP"] = os.environ["HOSTS"][int(os.environ["NEXAR_RANK"])]
    with nx.init() as comm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nexar run gives them three seconds, and then two more
        comm.barrier()
        print("works:", os.getpid(), flush=True)
        try:
            rounds(comm)
        except nx.PeerLost as error:
            print("lost", error.peer, "at", time.monotonic(), error, flush=True)
            raise
"""
RANKS = 3
WITHIN = 6.0  # seconds: peer_timeout is 2, and the machine is busy
FULL = bool(os.environ.get("NX_TEST_FULL"))
AT_ONCE = 3  # jobs
KILLS = {"shm": 12, "tcp": 9, "quic": 9, "auto": 3, "hosts": 3}


DWINDLE = str(Path(__file__).with_name("dwindle.py"))
TO_THE_LAST = 250 if FULL else 24  # kills by each way
HEARD = 1.5  # seconds from the kill to PeerLost, on each rank


def pids(process: Process) -> dict[int, int]:
    return {int(rank): int(pid) for rank, pid in re.findall(r"\[(\d)\] works: (\d+)", process.stdout)}


def judge(process: Process, victim: int, gone: float) -> None:
    """What the others said, and what is left."""
    status = process.wait()
    said = process.stdout + process.stderr
    lost = re.findall(r"\[(\d)\] lost (\d) at ([\d.]+)", process.stdout)
    assert sorted(int(rank) for rank, _, _ in lost) == sorted(set(range(RANKS)) - {victim}), said
    for rank, peer, at in lost:
        # Who waits for a message of a survivor hears that this one has left.
        assert int(peer) == victim or re.search(rf"\[{rank}\] lost {peer} .* has left", said), said
        assert float(at) - gone < WITHIN, said
    assert any(int(peer) == victim for _, peer, _ in lost), said
    assert status == 128 + signal.SIGKILL, said
    process.until_all_are_gone()


def shared_files() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir() if "nexar" in entry.name}


@pytest.mark.parametrize("transport", KILLS)
def test_rank_that_is_killed_is_named_and_nothing_is_left(job: Start, transport: str) -> None:
    jobkit.draw_seed()
    files = shared_files()
    for _ in range(0, 90 if FULL else KILLS[transport], AT_ONCE):
        env = {"HOSTS": "AAB"} if transport == "hosts" else {"NEXAR_TRANSPORTS": transport}
        jobs = [job(WORK, "-n", str(RANKS), env=env) for _ in range(AT_ONCE)]
        for process in jobs:
            process.until_printed("works:", RANKS)
        time.sleep(random.random() * 0.2)  # the moment is what is drawn
        victims = {}
        for process in jobs:
            victim = random.randrange(RANKS)
            os.kill(pids(process)[victim], signal.SIGKILL)
            victims[process] = victim, time.monotonic()
        for process, (victim, gone) in victims.items():
            judge(process, victim, gone)
    assert shared_files() <= files


def all_heard(process: Process, alive: set[int], victim: int, gone: float, times: int) -> None:
    """Each of the others names this one, as its last loss, in time.

    While a rank wants to run and has no core, it cannot hear; such time, which the kernel counts, is added to what it
    may take.  With cores for all there is none of it.
    """
    lost = {}
    for rank in alive:
        told = re.findall(rf"^\[{rank}\] lost: (\d) at ([\d.]+) queued ([\d.]+)", process.stdout, re.MULTILINE)
        assert len(told) == times, f"rank {rank}: {told}\n{process.stdout}"
        lost[rank] = told[-1]
    queued = max(float(told[2]) for told in lost.values())
    for rank, (peer, at, _) in lost.items():
        assert int(peer) == victim, f"rank {rank} of {alive}, {victim} was killed:\n{process.stdout}"
        after = float(at) - gone
        assert 0 < after < HEARD + queued, f"rank {rank} heard after {after} s, {queued} s of it in a queue"


def members(process: Process, alive: set[int]) -> None:
    """All of these have one communicator, and work in it."""
    line = "members: " + " ".join(str(rank) for rank in sorted(alive)) + "\n"
    process.until(lambda: all(f"[{rank}] {line}" in process.stdout for rank in alive), f"{line!r} of each of them")


@pytest.mark.timeout(1200 if FULL else 180)
@pytest.mark.parametrize("way", ["shm", "tcp", "quic", "auto"])
def test_killed_one_after_the_other_until_one_is_left(start: Start, way: str) -> None:
    seed = jobkit.draw_seed()
    files = shared_files()
    kills = 0
    while kills < TO_THE_LAST:
        ranks = random.choice((3, 4, 5, 5))
        # What is heard is the end of a process; silence would take 20 s.
        env = {"NEXAR_TRANSPORTS": way, "NEXAR_PEER_TIMEOUT": "20s"}
        process = start(*jobkit.nexar("run", "-n", str(ranks), "--keep-going", DWINDLE, str(seed + kills)), env=env)
        alive = set(range(ranks))
        members(process, alive)
        while len(alive) > 1:
            time.sleep(random.random() * 0.1)  # the moment is what is drawn
            # Without memory that outlives it, the first of two is half of them with the first, and the second is not.
            victim = max(alive) if len(alive) == 2 and way in ("tcp", "quic") else random.choice(sorted(alive))
            alive.remove(victim)
            gone = time.monotonic()
            os.kill(pids(process)[victim], signal.SIGKILL)
            kills += 1
            members(process, alive)
            all_heard(process, alive, victim, gone, ranks - len(alive))
        said = process.stdout + process.stderr
        assert process.wait() == 0, said
        assert re.findall(r"^\[(\d)\] done: \d+$", process.stdout, re.MULTILINE) == [str(*alive)], said
        assert "Error" not in process.stderr, said
        process.until_all_are_gone()
    assert shared_files() <= files
