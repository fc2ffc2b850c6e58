"""A rank that goes on when others are gone: `nexar run -n 5 --keep-going recover.py 2` ends when 2 are left.

It checks every element of what it gets in each communicator that it shrinks to, with data that depends on rank and
round, and says who is in it.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

import pynexar as nx

Array = np.ndarray[Any, Any]
LAST_ROUNDS = 20


def array_of(rank: int, turn: int, count: int) -> Array:
    values: Array = (np.arange(count) * 3 + rank * 1000 + turn) % 8191
    return values.astype(np.float64)


def check(got: Array, expected: Array, what: str) -> None:
    assert np.array_equal(got, expected), f"{what}: {got[:5]} instead of {expected[:5]}"


def one_round(comm: nx.Comm, me: int, turn: int) -> list[int]:
    """Who is in it, by their ranks in the job."""
    count = (1, 1000, 70_001)[turn % 3]
    members = [int(rank) for rank in comm.all_gather(np.array([me]))[:, 0]]
    assert members == sorted(members), members
    assert members[comm.rank] == me, members
    total = np.sum([array_of(rank, turn, count) for rank in members], axis=0)
    check(comm.all_reduce(array_of(me, turn, count)), total, "all_reduce")
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    got = np.empty(count)
    comm.sendrecv(array_of(me, turn, count), right, got, left)
    check(got, array_of(members[left], turn, count), "sendrecv")
    root = turn % comm.size
    x = array_of(me, turn, count)
    comm.broadcast(x, root)
    check(x, array_of(members[root], turn, count), "broadcast")
    if turn % 5 == 0:
        with comm.split_by_host() as part, comm.dup() as copy:
            check(part.all_reduce(np.full(3, 1.0)), np.full(3, float(part.size)), "part")
            check(copy.all_reduce(array_of(me, turn, count)), total, "copy")
    comm.barrier()
    return members


def rounds(comm: nx.Comm, me: int, until: int) -> None:
    turn = 0
    while comm.size > until or turn < LAST_ROUNDS:
        members = one_round(comm, me, turn)
        if turn == 0:
            print("members:", *members, flush=True)
        turn += 1


def main(until: int) -> None:
    if "HOSTS" in os.environ:
        os.environ["NEXAR_GROUP"] = os.environ["HOSTS"][int(os.environ["NEXAR_RANK"])]
    comm = nx.init()
    me = comm.rank
    print("works:", os.getpid(), flush=True)
    while True:
        try:
            rounds(comm, me, until)
            agreed = comm.agree(True)
            break
        except nx.PeerLost as error:
            began = time.monotonic()
            if isinstance(error, nx.QuorumLost):
                raise
            shrunk = comm.shrink()
            gone = [failure.rank for failure in comm.failures() if failure.out]
            assert shrunk.size == comm.size - len(gone), (shrunk.size, comm.size, gone)
            print(f"shrunk: {comm.size} to {shrunk.size} after {time.monotonic() - began:.3f} s", flush=True)
            comm.close()
            comm = shrunk
    assert agreed.value is True, agreed
    assert agreed.missing == [], agreed
    print("done:", comm.size, flush=True)
    comm.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
