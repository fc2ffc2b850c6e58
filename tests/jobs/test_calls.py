"""Calls of functions of other ranks between processes, by each way that bytes can take; and a callee that is killed."""

from __future__ import annotations

import os
import re
import signal

import pytest

from jobkit import Start

WORK = """
    import numpy as np, pynexar as nx

    def payload_of(rank, dest, n):
        return ((np.arange(n) * 7 + np.arange(n) // 251 + rank * 3 + dest) % 256).astype(np.uint8).tobytes()

    with nx.init() as comm:
        comm.register("back", lambda payload: payload[::-1])
        comm.register(7, lambda payload: comm.call((comm.rank + 1) % comm.size, "back", payload))  # a call in a call
        comm.barrier()
        for n in (0, 1, 1_000, 65_535, 65_537, 1_048_577, 16_777_216):
            for dest in range(comm.size):
                payload = payload_of(comm.rank, dest, n)
                assert comm.call(dest, "back", payload) == payload[::-1], (dest, n)
        ops = [(i, comm.nb.call(i % comm.size, 7, payload_of(comm.rank, i, i * 37))) for i in range(64)]
        for i, op in ops:
            assert op.wait() == payload_of(comm.rank, i, i * 37)[::-1], i
        comm.barrier()
        print("fine", flush=True)
"""
KILLED = """
    import os, threading, time
    import pynexar as nx

    with nx.init() as comm:
        comm.register("never", lambda _: print("called\\n", end="", flush=True) or threading.Event().wait() or b"")
        comm.register("fine", lambda payload: payload)
        comm.barrier()
        print(f"works: {os.getpid()}\\n", end="", flush=True)
        if comm.rank == 2:
            comm.recv(bytearray(1), 0)
        try:
            comm.call(2, "never")
        except nx.PeerLost as error:
            print("lost", error.peer, flush=True)
        other = 1 - comm.rank
        assert comm.call(other, "fine", b"x" * comm.rank) == b"x" * comm.rank  # those who live go on
        comm.sendrecv(b"e", other, bytearray(1), other)
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["shm", "tcp", "quic"])
def test_answers_are_right_whichever_way_the_bytes_go(job: Start, way: str) -> None:
    process = job(WORK, "-n", "3", env={"NEXAR_TRANSPORTS": way, "NEXAR_PEER_TIMEOUT": "20s"})
    assert process.wait(200) == 0, process.stdout + process.stderr
    assert process.stdout.count("fine") == 3


@pytest.mark.parametrize("way", ["shm", "tcp", "quic"])
def test_callee_that_is_killed_is_named(job: Start, way: str) -> None:
    process = job(KILLED, "-n", "3", "--keep-going", env={"NEXAR_TRANSPORTS": way})
    process.until_printed("works:", 3)
    process.until_printed("called", 2)
    os.kill(int(re.findall(r"\[2\] works: (\d+)", process.stdout)[0]), signal.SIGKILL)
    assert process.wait() == 0, process.stdout + process.stderr
    assert sorted(re.findall(r"\[(\d)\] lost (\d)", process.stdout)) == [("0", "2"), ("1", "2")]
    process.until_all_are_gone()
