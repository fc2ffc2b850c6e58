"""How jobs of many ranks form."""

from __future__ import annotations

import os
import random
import re
import sys

import pytest

import jobkit
import pynexar as nx
from jobkit import Start

JOIN = """
    import pynexar as nx
    with nx.init() as comm:
        comm.barrier()
        print("here", comm.size, flush=True)
"""


@pytest.mark.full
def test_many_ranks_form_beside_others_that_take_the_cores(job: Start, start: Start) -> None:
    """Each of the 630 connections takes its two ranks some milliseconds of a core."""
    n = 36
    for _ in range(2 * (os.cpu_count() or 1)):
        start(sys.executable, "-c", "while True: pass")
    # What is said of silence here is that of the barrier: forming does not ask for this.
    process = job(JOIN, "-n", str(n), env={"NEXAR_PEER_TIMEOUT": "20"})
    assert process.wait() == 0, process.stderr
    assert process.lines() == {str(rank): [f"here {n}"] for rank in range(n)}


WHO = """if True:
    import os
    import numpy as np, pynexar as nx
    with nx.init(timeout=60) as comm:
        mine, got = np.array([os.getpid()]), np.empty(1, np.int64)
        pids = comm.all_gather(mine)[:, 0].tolist()
        for step in range(comm.size):
            to, source = (comm.rank + step) % comm.size, (comm.rank - step) % comm.size
            comm.sendrecv(mine, to, got, source)
            assert got[0] == pids[source], (source, pids, got)
        comm.barrier()
        print("rank", comm.rank, "is", os.getpid(), *pids, flush=True)
"""


@pytest.mark.parametrize("given", [True, False], ids=["numbers given", "numbers by arrival"])
@pytest.mark.parametrize("ways", ["auto", "quic"])
def test_b5_ranks_that_arrive_in_any_order_are_who_they_say(start: Start, ways: str, given: bool) -> None:
    """The reference takes the order of arrival for that of ranks, and connects the wrong ones."""
    n = 6
    jobkit.draw_seed()
    order = random.sample(range(n), n)
    with nx.Seed("127.0.0.1:0", n) as seed:
        env = {"NEXAR_JOIN": seed.join_string, "NEXAR_TRANSPORTS": ways, "NEXAR_PEER_TIMEOUT": "20s"}
        ranks = {}
        for rank in order:
            number = {"NEXAR_RANK": str(rank), "NEXAR_WORLD_SIZE": str(n)} if given else {}
            ranks[rank] = start(sys.executable, "-c", WHO, env={**env, **number})
        for process in ranks.values():
            assert process.wait() == 0, process.stderr
    told = {}
    for rank, process in ranks.items():
        match = re.fullmatch(r"rank (\d) is (\d+) ([\d ]+)\n", process.stdout)
        assert match is not None, process.stdout
        assert int(match[2]) == process.popen.pid
        assert not given or int(match[1]) == rank
        told[int(match[1])] = [int(pid) for pid in match[3].split()]
        assert told[int(match[1])][int(match[1])] == process.popen.pid
    assert sorted(told) == list(range(n))
    assert all(pids == told[0] for pids in told.values()), told
