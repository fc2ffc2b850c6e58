"""Ranks in processes of their own: silence, leaving, and what becomes of the others when one is gone."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from jobkit import Start

# What ranks may wait in when another one is gone: rank 2 of 4.
WAITING = {
    "all_reduce": "comm.all_reduce(np.zeros(1000))",
    "large all_reduce": "comm.all_reduce(np.zeros(1_000_000))",
    "broadcast": "comm.broadcast(np.zeros(1000), 2)",
    "barrier": "comm.barrier()",
    "recv": "comm.recv(bytearray(1), 2)",
    "recv from any": "comm.recv(bytearray(1), nx.ANY)",
    "send": "comm.send(np.zeros(100_000_000, np.uint8), 2)",
    "probe": "comm.probe(2)",
    "op": "comm.nb.recv(bytearray(1), 2).wait()",
}
VICTIM = """
    import os, signal, sys, time
    import numpy as np, pynexar as nx
    with nx.init() as comm:
        comm.barrier()
        print("waiting:", os.getpid(), flush=True)
        if comm.rank == 2:
            signal.pause()
        try:
            eval(sys.argv[1])
        except nx.PeerLost as error:
            print("lost", error.rank, error.peer, "at", time.monotonic(), error, flush=True)
            raise
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
@pytest.mark.parametrize("third", range(3))
def test_h3_rank_that_is_gone_is_named_on_every_waiting_rank(job: Start, how: signal.Signals, third: int) -> None:
    """H3: a process that was killed, and a host that is frozen: nothing is heard of either."""
    calls = list(WAITING.items())[third::3]  # a dozen ranks at once: more would be silent for want of cores
    jobs = {name: job(VICTIM, "-n", "4", arguments=(call,)) for name, call in calls}
    victims = []
    for process in jobs.values():
        process.until_printed("waiting:", 4)
        victims.append(int(process.lines()["2"][0].split()[1]))
    gone = time.monotonic()
    for pid in victims:
        os.kill(pid, how)
    for name, process in jobs.items():
        status = process.wait()
        lost = re.findall(r"lost (\d) (\d) at ([\d.]+) (.*)", process.stdout)
        assert len(lost) == 3, f"{name}: {process.stdout}{process.stderr}"
        for rank, peer, at, text in lost:
            assert (rank, peer) == ("2", "2"), name
            assert 0 < float(at) - gone < 3, name
            assert "rank 2" in text, name
        report = process.stderr[process.stderr.index("nexar run: ") :]
        if how == signal.SIGKILL:
            assert status == 128 + signal.SIGKILL
            assert report.startswith("nexar run: rank 2: killed by SIGKILL, the first to fail")
        else:  # those who notice are the first to fail; what is frozen is killed with the job
            assert status == 1
            assert re.match(r"nexar run: rank [013]: exit status 1 \(PeerLost\), the first to fail", report)
            assert "PeerLost: " in report.partition("then ")[0]
            assert "then rank 2: killed by SIGKILL, sent by nexar run" in report
        assert not process.alive()


def test_h1_machine_that_slept(job: Start, tmp_path: Path) -> None:
    """H1: all ranks are frozen for longer than peer_timeout; silence counts only while who listens is awake."""
    end = tmp_path / "end"
    process = job(
        """
        import os, sys, numpy as np, pynexar as nx
        with nx.init() as comm:
            comm.barrier()
            print("pid:", os.getpid(), flush=True)
            while not comm.all_reduce(np.array(os.path.exists(sys.argv[1])), "max"):
                pass
            print("well")
        """,
        "-n",
        "3",
        arguments=(str(end),),
    )
    process.until_printed("pid:", 3)
    pids = [int(lines[0].split()[1]) for lines in process.lines().values()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1)
    end.touch()
    assert process.wait() == 0, process.stderr
    assert process.stdout.count("well") == 3


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
