"""Collectives of ranks that share hosts: results, what passes between hosts, and what a rank that fails leaves.

The ranks claim their hosts (NEXAR_GROUP), so that they have shared memory inside and connections between; real hosts
are in test_hosts_ways.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import jobkit
from jobkit import Start

PROGRAM = str(Path(__file__).with_name("hosts.py"))
PATIENT = {"NEXAR_PEER_TIMEOUT": "20s"}
S = 1 << 20  # bytes of a vector, or of a block
SLACK = 1 << 16  # of messages that have no payload, and of what else goes on


def judge(process: jobkit.Process, layout: str) -> None:
    hosts = layout.split(",")
    n, h = len(hosts), len(set(hosts))
    in_a_row = 1 + sum(a != b for a, b in zip(hosts, hosts[1:])) == h
    assert process.wait(250) == 0, process.stderr
    said = re.findall(r"rank \d+ has checked all; (.*)", process.stdout)
    assert len(said) == n, process.stdout
    assert len(set(said)) == 1
    sent = {name: int(nbytes) for name, nbytes in re.findall(r"(\S+)=(\d+)", said[0])}
    want = {"all_reduce-i4": 2 * (h - 1) * S, "broadcast": (h - 1) * S, "reduce-i4": (h - 1) * S}
    want |= {"all_gather": n * (h - 1) * S, "reduce_scatter-i4": n * (h - 1) * S}
    if in_a_row:
        want["all_reduce-f4"] = 2 * (h - 1) * S
    for name, nbytes in want.items():
        assert nbytes <= sent[name] <= nbytes + SLACK, (name, sent)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("layout", "transports"),
    [
        ("0,0,1,1", "auto"),
        ("0,0,1,2,2", "auto"),
        ("0,1,0,1,0", "auto"),
        ("0,0,0,1", "shm,quic"),
        pytest.param("0,0,0,1,1,1,2,2,2", "auto", marks=pytest.mark.full),
        pytest.param("0,1,1,1,0,2,3", "shm,quic", marks=pytest.mark.full),
    ],
)
def test_results_are_right_and_pass_between_hosts_once(start: Start, layout: str, transports: str) -> None:
    n = layout.count(",") + 1
    env = {**PATIENT, "NEXAR_TRANSPORTS": transports}
    judge(start(*jobkit.nexar("run", "-n", str(n), PROGRAM, layout), env=env), layout)


def test_other_algorithms_on_request(job: Start) -> None:
    """By hosts where all ranks share one, and as if all were equally far apart where they do not."""
    script = """
        import os
        import numpy as np, pynexar as nx

        os.environ["NEXAR_GROUP"] = os.environ["NEXAR_RANK"] if os.environ["APART"] == "all" else "same"
        with nx.init() as comm:
            x = np.arange(300_001, dtype=np.float32) + comm.rank
            want = 3 * np.arange(300_001, dtype=np.float32) + 3
            assert (comm.all_reduce(x) == want).all()
            assert (comm.all_gather(x).reshape(3, -1)[:, 0] == np.arange(3)).all()
            comm.barrier()
            print("right", flush=True)
    """
    tune = "all_reduce:0-:{0},all_gather:0-:hosts,barrier:0-:hosts"
    for apart in ("all", "none"):
        for name in ("hosts", "relay"):
            env = {**PATIENT, "APART": apart, "NEXAR_COLL_TUNE": tune.format(name)}
            process = job(script, "-n", "3", env=env)
            assert process.wait() == 0, process.stderr
            assert process.stdout.count("right") == 3


FAILURES = """
    import os
    import numpy as np, pynexar as nx

    os.environ["NEXAR_GROUP"] = "ABBA"[int(os.environ["NEXAR_RANK"])] if os.environ["MIXED"] else "AABB"[
        int(os.environ["NEXAR_RANK"])]
    def fails(call, kind):
        try:
            call()
        except kind as error:
            return error
        raise ValueError(f"rank {comm.rank}: no {kind}")

    with nx.init() as comm:
        for dtype in ("i4", "f4"):
            for count in (1, 100_000):
                x = np.ones(count, dtype)
                with comm.dup() as c:  # one of them calls another thing
                    fails(lambda: c.all_reduce(x[: count - (c.rank == 2)]), nx.Mismatch)
                    comm.barrier()  # who is slow would hear that others have closed it
                with comm.dup() as c:  # one does not come
                    if c.rank != 1 and count > 1:
                        error = fails(lambda: c.all_reduce(x, timeout=1), nx.Timeout)
                        assert "rank 1" in str(error), error
                    comm.barrier()
                with comm.dup() as c:  # one gives up
                    if c.rank == 3:
                        c.abort("had enough")
                    error = fails(lambda: [c.all_reduce(x) for _ in range(2)], nx.NexarError)
                    assert "had enough" in str(error), error
                    comm.barrier()
                assert comm.all_reduce(x)[0] == 4
        print("all failed as they should", flush=True)
"""


@pytest.mark.parametrize("mixed", ["", "yes"])
def test_mismatch_timeout_and_abort(job: Start, mixed: str) -> None:
    process = job(FAILURES, "-n", "4", env={**PATIENT, "MIXED": mixed})
    assert process.wait() == 0, process.stderr
    assert process.stdout.count("all failed as they should") == 4
