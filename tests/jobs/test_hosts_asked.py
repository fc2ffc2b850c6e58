"""Ranks on several hosts: sums by host where they are asked for, the bytes that by-host schedules save, and a rank that
is killed.  What is chosen without being asked for is in test_hosts_collectives.py.

A host is what NEXAR_GROUP says: its ranks share memory, and TCP is between hosts.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pynexar as nx
from jobkit import Process, Start

MIB = 1 << 20
EVERYCALL = Path(__file__).parents[1] / "py" / "everycall.py"
PATH = {"PYTHONPATH": ":".join(filter(None, sys.path))}
PATIENT = {"NEXAR_PEER_TIMEOUT": "20s", "NEXAR_JOIN_TIMEOUT": "60s"}  # that one gets no core for a while is no news
BY_HOST = ("all_reduce", "reduce", "reduce_scatter", "reduce_scatter_v", "all_gather", "all_gather_v", "broadcast")
# The schedules that know no hosts, for vectors of 1 MiB.
FLAT = "all_reduce:direct reduce:direct reduce_scatter:direct all_gather:flat broadcast:scatter barrier:dissemination"

Grouped = Callable[..., list[Process]]

pytestmark = pytest.mark.timeout(300)


def tune(names: str) -> dict[str, str]:
    """Of "collective:algorithm ..."."""
    rules = [name.replace(":", ":0-:") for name in names.split()]
    return {"NEXAR_COLL_TUNE": ",".join(rules)}


@pytest.fixture
def grouped(start: Start) -> Iterator[Grouped]:
    """grouped("aab", "script or path", arguments...): a rank for each letter, which is its host."""
    seeds = []

    def begin(layout: str, *command: str, **environment: str) -> list[Process]:
        seed = nx.Seed("127.0.0.1:0", len(layout))
        seeds.append(seed)
        return [
            start(
                sys.executable,
                *command,
                env={
                    **PATH,
                    **PATIENT,
                    "NEXAR_JOIN": seed.join_string,
                    "NEXAR_RANK": str(rank),
                    "NEXAR_WORLD_SIZE": str(len(layout)),
                    "NEXAR_GROUP": host,
                    "NEXAR_TRANSPORTS": "shm,tcp",
                    **environment,
                },
            )
            for rank, host in enumerate(layout)
        ]

    yield begin
    for seed in seeds:
        seed.close()


def finished(processes: list[Process]) -> list[str]:
    """What each rank has printed; all have ended well."""
    failed = [rank for rank, process in enumerate(processes) if process.wait(250) != 0]
    assert not failed, "\n".join(f"rank {rank}: {processes[rank].stderr}" for rank in failed)
    return [process.stdout for process in processes]


# ------------------------------------------------------------------------------------------------------------- results
@pytest.mark.parametrize("layout", ["aabcc", "abba"])
def test_every_collective_by_host(grouped: Grouped, layout: str) -> None:
    """Forced, so that the order of float sums shows that it is in use."""
    rules = tune(" ".join(f"{name}:hosts" for name in (*BY_HOST, "barrier")))
    assert all("is through" in said for said in finished(grouped(layout, str(EVERYCALL), "hosts", **rules)))


# ------------------------------------------------------------------------------------------------------------- traffic
TRAFFIC = """
    import json
    import numpy as np, pynexar as nx

    S = 1 << 20

    def between(comm):
        return sum(way["bytes_sent"] for name, way in comm.stats()["transports"].items() if name != "shm")

    with nx.init() as comm:
        n, sent = comm.size, {}
        x, floats, block = np.ones(S // 4, np.int32), np.ones(S // 4, np.float32), np.ones(S // n // 4, np.int32)
        rows = np.ones((n, len(block)), np.int32)
        calls = {
            "all_reduce": lambda: comm.all_reduce(x),
            "all_reduce of floats": lambda: comm.all_reduce(floats),
            "reduce": lambda: comm.reduce(x, root=1),
            "reduce_scatter": lambda: comm.reduce_scatter(rows),
            "all_gather": lambda: comm.all_gather(block),
            "broadcast": lambda: comm.broadcast(x, 1),
        }
        for name, call in calls.items():
            before = between(comm)
            call()
            comm.barrier()  # what others still send is not this rank's
            sent[name] = between(comm) - before
        print(json.dumps(sent), flush=True)
"""


def traffic(grouped: Grouped, layout: str, **environment: str) -> dict[str, float]:
    """MiB between hosts, by call."""
    said = [json.loads(text) for text in finished(grouped(layout, "-c", textwrap.dedent(TRAFFIC), **environment))]
    return {name: sum(rank[name] for rank in said) / MIB for name in said[0]}


@pytest.mark.parametrize("k", [2, 3])
def test_what_passes_between_two_hosts(grouped: Grouped, k: int) -> None:
    """Of k ranks on each and 1 MiB: a host's sum, or each of its blocks, goes once to the other."""
    layout = "a" * k + "b" * k
    by_host, flat = traffic(grouped, layout), traffic(grouped, layout, **tune(FLAT))
    slack = 0.02  # what is rounded up, and barriers
    expected = {
        "all_reduce": (2, 2 * k),
        "all_reduce of floats": (2, 2 * k),
        "reduce": (1, k + 0.5),
        "reduce_scatter": (2 / 2, k),
        "all_gather": (1, k),
    }
    for name, (few, many) in expected.items():
        assert few - slack < by_host[name] < few + slack, (name, by_host)
        assert many - slack < flat[name] < many + slack, (name, flat)
    assert 1 - slack < by_host["broadcast"] < 1 + slack
    assert flat["broadcast"] > 1.5


# ------------------------------------------------------------------------------------------------------------ failures
STREAM = """
    import os, signal
    import numpy as np, pynexar as nx

    with nx.init() as comm:
        whole, floats, block = np.ones(50_000, np.int32), np.ones(50_000, np.float32), np.ones(1_000)
        comm.barrier()
        print("works", flush=True)
        try:
            while True:
                for op in [comm.nb.all_reduce(whole), comm.nb.all_reduce(floats), comm.nb.broadcast(block, 1)]:
                    op.wait()
                comm.all_gather(block)
                comm.barrier()
        except nx.PeerLost as error:
            print("lost", error.peer, str(error), flush=True)
            signal.pause()  # who leaves is lost to others, too
"""


@pytest.mark.parametrize("victim", [1, 3])
def test_killed_rank_is_named_on_all_hosts(grouped: Grouped, victim: int) -> None:
    """One of several of its host, and the first of it.  Who has still to send to it may hear of it last: what it lends
    to its TCP link comes back when the link is given up, after the peer timeout."""
    processes = grouped("aaabb", "-c", textwrap.dedent(STREAM), NEXAR_PEER_TIMEOUT="6s")
    for process in processes:
        process.until_printed("works")
    os.kill(processes[victim].popen.pid, signal.SIGKILL)
    survivors = [process for rank, process in enumerate(processes) if rank != victim]
    for process in survivors:
        process.until_printed("lost")
    said = [process.stdout for process in survivors]
    assert all(re.search(rf"^lost {victim} .*rank {victim}\b", text, re.MULTILINE) for text in said), said
