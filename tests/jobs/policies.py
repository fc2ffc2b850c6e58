"""A rank with a recovery policy: `nexar run -n 5 --keep-going policies.py POLICY LEFT` ends when LEFT are left.

Its loop has one collective a turn, and what it is told of ranks that are gone is printed.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
from collections.abc import Callable

import numpy as np

import pynexar as nx


def healing(comm: nx.Comm, me: int, until: int) -> None:
    """The calls of all line up again after each loss, whatever they were: each raises PeerLost once."""
    comm.register("who", lambda payload: payload + bytes([me]))
    lost, turn, members = 0, 0, list(range(comm.size))
    end = 0
    while end < 50:
        try:
            if turn % 3 == 2:
                all_said = comm.nb.all_gather(np.array([me, turn])).wait()
            else:
                all_said = comm.all_gather(np.array([me, turn]))
            now = [int(who) for who in all_said[:, 0]]
            assert now == sorted(now), now
            assert len(now) == comm.size, now
            assert now[comm.rank] == me, now
            turn = int(all_said[:, 1].max()) + 1  # some have one more
            if now != members:
                members = now
                print("members:", *members, flush=True)
                right = (comm.rank + 1) % comm.size
                assert comm.call(right, "who", b"x") == b"x" + bytes([members[right]])
            end += comm.size == until
        except nx.QuorumLost:
            raise
        except nx.PeerLost:
            lost += 1
    print(f"done: {comm.size} ranks, PeerLost {lost} times", flush=True)
    comm.barrier()


def lost_in(call: Callable[[], object]) -> nx.PeerLost:
    try:
        call()
    except nx.PeerLost as error:
        return error
    raise AssertionError("it did not raise")


def until_lost(comm: nx.Comm) -> None:
    while True:
        comm.all_reduce(np.ones(100))


def aborting(comm: nx.Comm) -> None:
    first = lost_in(functools.partial(until_lost, comm))
    x = np.ones(3)
    for call in (comm.barrier, functools.partial(comm.all_reduce, x), comm.nb.barrier, comm.dup):
        error = lost_in(call)
        assert error.peer == first.peer, error
        assert "has ended with a rank" in str(error), error
    print("done: lost", first.peer, flush=True)


async def follow(comm: nx.Comm, told: list[int]) -> None:
    async for failure in comm.failure_events():
        told.append(failure.rank)
        if len(told) == 2:
            return


def watching(comm: nx.Comm) -> None:
    """Two ranks are killed: each way of being told tells of both, each once; one after the fact, too."""
    told: list[nx.Failure] = []
    both = threading.Event()

    def tell(failure: nx.Failure) -> None:
        told.append(failure)
        if len(told) == 2:
            both.set()
        if len(told) == 1:
            raise RuntimeError("as any thread's")  # is printed, and ends nothing

    with comm.on_failure(tell):
        print("watching", flush=True)
        followed: list[int] = []
        asyncio.run(asyncio.wait_for(follow(comm, followed), 60))
        assert both.wait(60)
    assert sorted(failure.rank for failure in told) == sorted(followed), (told, followed)
    assert not any(failure.left for failure in told)
    late: list[int] = []
    done = threading.Event()

    def again(failure: nx.Failure) -> None:
        late.append(failure.rank)
        if len(late) == 2:
            done.set()

    watch = comm.on_failure(again)
    assert done.wait(60)
    watch.close()
    watch.close()
    with comm.shrink() as left:
        left.barrier()  # until here nobody leaves, which would be told, too
    forgotten = comm.on_failure(repr)  # ends with the communicator
    print("done:", *sorted(followed), flush=True)
    comm.close()
    forgotten._thread.join(60)
    assert not forgotten._thread.is_alive()


def main(policy: str, until: int) -> None:
    recovery = None if policy == "watch" else policy
    comm = nx.init(config=nx.Config(recovery=recovery))
    me = comm.rank
    print("works:", os.getpid(), flush=True)
    comm.barrier()
    if policy == "watch":
        watching(comm)
    elif policy == "abort":
        aborting(comm)
    else:
        healing(comm, me, until)
    comm.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
