"""A rank of a job whose ranks come and go: elastic.py FOLDER.

It checks every element of what it gets, with data that depends on process, index and round, and says who is in the job
each time that this changes.  It ends when there is a file FOLDER/stop, leaves when there is FOLDER/leave-NAME, and goes
on without those that are lost.  NAME is its own, a number.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

import pynexar as nx

Array = np.ndarray[Any, Any]


def array_of(name: int, turn: int, count: int) -> Array:
    values: Array = (np.arange(count) * 3 + name * 1000 + turn) % 8191
    return values.astype(np.float64)


def check(got: Array, expected: Array, what: str) -> None:
    assert np.array_equal(got, expected), f"{what}: {got[:5]} instead of {expected[:5]}"


def one_round(comm: nx.Comm, me: int, turn: int) -> list[int]:
    """Who is in it, by rank."""
    count = (1, 1000, 20_001)[turn % 3]
    members = [int(name) for name in comm.all_gather(np.array([me]))[:, 0]]
    assert members[comm.rank] == me, members
    total = np.sum([array_of(name, turn, count) for name in members], axis=0)
    check(comm.all_reduce(array_of(me, turn, count)), total, "all_reduce")
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    got = np.empty(count)
    comm.sendrecv(array_of(me, turn, count), right, got, left)
    check(got, array_of(members[left], turn, count), "sendrecv")
    root = turn % comm.size
    x = array_of(me, turn, count)
    comm.broadcast(x, root)
    check(x, array_of(members[root], turn, count), "broadcast")
    if turn % 4 == 0:
        with comm.split_by_host() as part, comm.dup() as copy:
            check(part.all_reduce(np.full(3, 1.0)), np.full(3, float(part.size)), "part")
            check(copy.all_reduce(array_of(me, turn, count)), total, "copy")
            assert comm.call(right, "echo", b"%d" % turn) == b"%d" % turn
            copy.barrier()  # nobody closes it while it is called
    comm.barrier()
    return members


def new(comm: nx.Comm) -> nx.Comm:
    comm.register("echo", lambda payload: payload)
    comm.barrier()
    return comm


def recover(comm: nx.Comm, turn: int) -> tuple[nx.Comm, int]:
    while True:
        left = comm.shrink()
        comm.close()
        comm = left
        try:
            return new(comm), int(comm.all_reduce(np.array([turn]), "max")[0])
        except nx.QuorumLost:
            raise
        except nx.PeerLost:
            continue


def main(folder: Path, me: int) -> None:
    comm = nx.init(elastic=True)
    print(f"in: {comm.rank} of {comm.size}", flush=True)
    turn, members, fresh = 0, [], True
    try:
        while True:
            try:
                if fresh:  # somebody has come or gone; who is lost meanwhile is no reason to end either
                    turn = comm.hand_over({"turn": turn})["turn"]
                    new(comm)
                    fresh = False
                now = one_round(comm, me, turn)
                turn += 1
                stop = comm.all_reduce(np.array([(folder / "stop").exists()], np.uint8), "max")[0]
                if now != members:
                    print("members:", *now, flush=True)
                    members = now
                if stop:
                    break
                if (folder / f"leave-{me}").exists():
                    comm.leave()
                    print("left", flush=True)
                    return
                changed = comm.elastic_checkpoint()
                fresh = changed is not comm
                comm = changed
            except nx.QuorumLost:
                raise
            except nx.PeerLost:
                comm, turn = recover(comm, turn)
                fresh = False
    finally:
        comm.close()
    print("done:", comm.size, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ.get("NAME", os.getpid())))
