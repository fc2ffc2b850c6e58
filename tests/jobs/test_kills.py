"""kill -9 at a random moment of whatever ranks do, by each way that bytes can take."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

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
    seed = random.randrange(1 << 30)
    print("seed", seed)  # shown if it fails
    random.seed(seed)
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
