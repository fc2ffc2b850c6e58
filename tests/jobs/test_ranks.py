"""Ranks in processes of their own: reductions bit by bit, silence, and what becomes of the others when one dies."""

from __future__ import annotations

import re
import time

import pytest

import jobkit
from jobkit import Start

REDUCE = """
    import hashlib, sys, time
    import numpy as np, pynexar as nx

    counts = [int(word) for word in sys.argv[1].split(",")]
    silence = float(sys.argv[2])
    ufuncs = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}

    def array_of(rank, count, dtype):
        values = np.arange(count, dtype=np.int64)
        return ((values * 7 + rank * 13 + values // 5) % 5 - 2).astype(dtype)

    def run(comm):
        wrong, digest = 0, hashlib.sha256()
        for count in counts:
            for dtype in ("f4", "f8", "i4", "i8") if count < 100_000 else ("f4", "i8"):
                for op in ufuncs if count < 100_000 else ("sum", "max"):
                    x = array_of(comm.rank, count, dtype)
                    expected = array_of(0, count, dtype)
                    for rank in range(1, comm.size):
                        expected = ufuncs[op](expected, array_of(rank, count, dtype))
                    y = comm.all_reduce(x, op)
                    comm.nb.all_reduce(x, op, out=x).wait()
                    wrong += int((y != expected).sum()) + int((x != expected).sum())
                    digest.update(y.tobytes())
            noise = np.random.default_rng(comm.rank).standard_normal(count).astype("f4")
            digest.update(comm.all_reduce(noise).tobytes())
        return wrong, digest.hexdigest()

    with nx.init() as comm:
        first, again = run(comm), run(comm)
        if silence:
            comm.barrier()
            time.sleep(silence)
        assert first == again == run(comm), "not the same bits each time"
        print("wrong", first[0], "digest", first[1])
"""


def counts_for(n: int, *more: int) -> str:
    return ",".join(str(count) for count in sorted({0, 1, max(0, n - 1), n, n + 1, 1_000, 65_537, *more}))


def check(process: jobkit.Process, n: int) -> None:
    assert process.wait(300) == 0, process.stderr
    found = re.findall(r"wrong (\d+) digest (\w+)", process.stdout)
    assert len(found) == n
    assert {wrong for wrong, _ in found} == {"0"}
    assert len({digest for _, digest in found}) == 1  # bitwise the same on all ranks


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_all_reduce(job: Start, n: int) -> None:
    check(job(REDUCE, "-n", str(n), arguments=(counts_for(n), "0")), n)


def test_all_reduce_after_silence(job: Start) -> None:
    """H1: after some heartbeats."""
    check(job(REDUCE, "-n", "4", arguments=("0,3,1000", "5")), 4)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_all_reduce_of_much(job: Start, n: int) -> None:
    check(job(REDUCE, "-n", str(n), arguments=(counts_for(n, 4_194_311), "5")), n)


def test_h1_barrier_after_many_heartbeats(job: Start) -> None:
    """H1: the reference's barrier fails as soon as one heartbeat has come."""
    process = job(
        """
        import time, pynexar as nx
        with nx.init() as comm:
            for _ in range(3):
                time.sleep(0.3)
                comm.barrier()
            print("well")
        """,
        "-n",
        "3",
        "--env",
        "NEXAR_HEARTBEAT=10ms",
    )
    assert process.wait() == 0, process.stderr
    assert process.stdout.count("well") == 3


@pytest.mark.parametrize("waiting", ["comm.all_reduce(np.zeros(1000))", "comm.recv(bytearray(1), 2)", "comm.barrier()"])
def test_killed_rank_is_named_on_every_waiting_rank(job: Start, waiting: str) -> None:
    process = job(
        f"""
        import os, signal, time
        import numpy as np, pynexar as nx
        with nx.init() as comm:
            comm.barrier()
            if comm.rank == 2:
                print("killed at", time.monotonic(), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                {waiting}
            except nx.PeerLost as error:
                print("lost", error.rank, error.peer, "at", time.monotonic(), error)
        """,
        "-n",
        "4",
    )
    assert process.wait() == 128 + 9
    killed = float(re.findall(r"killed at ([\d.]+)", process.stdout)[0])
    lost = re.findall(r"lost (\d) (\d) at ([\d.]+) (.*)", process.stdout)
    assert len(lost) == 3, process.stdout + process.stderr
    for rank, peer, at, text in lost:
        assert (rank, peer) == ("2", "2")
        assert float(at) - killed < 3
        assert "rank 2" in text
    assert "rank 2: killed by SIGKILL, the first to fail" in process.stderr


def test_rank_that_leaves_early_is_named(job: Start) -> None:
    process = job(
        """
        import numpy as np, pynexar as nx
        with nx.init() as comm:
            comm.barrier()
            if comm.rank != 1:
                comm.all_reduce(np.zeros(10))
        """,
        "-n",
        "3",
    )
    began = time.monotonic()
    assert process.wait() == 1
    assert time.monotonic() - began < 10
    assert re.search(r"\[0\] .*PeerLost: .*rank 1", process.stderr)
    assert re.search(r"\[2\] .*PeerLost: .*rank 1", process.stderr)


def test_what_was_sent_arrives_although_the_sender_leaves(job: Start) -> None:
    """B6: nothing that a rank has sent is lost because it closes at once."""
    process = job(
        """
        import numpy as np, pynexar as nx
        with nx.init() as comm:
            if comm.rank == 0:
                for i in range(20):
                    comm.send(np.full(i * 10_000, i), 1, tag=i)
            else:
                for i in range(20):
                    status = comm.probe(0, i)
                    out = np.zeros(status.nbytes // 8, np.int64)
                    comm.recv(out, 0, i)
                    assert (out == i).all() and out.size == i * 10_000
                print("all")
        """,
        "-n",
        "2",
    )
    assert process.wait() == 0, process.stderr
    assert "[1] all" in process.stdout
