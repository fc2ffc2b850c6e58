"""A thousand operations at once: waited for in any order, dropped, awaited; nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from pynexar._ffi import lib

Cluster = Callable[[int], nx.LocalCluster]
MANY = 1_000


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0)


def start_many(comm: nx.Comm, outs: list[np.ndarray[Any, Any]]) -> list[nx.Op]:
    """Receives, sends, both, collectives, objects: the same on both ranks of a pair."""
    other = 1 - comm.rank
    ops: list[nx.Op] = []
    for i in range(MANY // 5):
        size = (1, 100, 3_000, 20_000)[i % 4]
        outs.append(np.zeros(size))
        ops.append(comm.nb.recv(outs[-1], other, tag=i))
        ops.append(comm.nb.send(np.full(size, float(i)), other, tag=i))
        outs.append(np.zeros(3))
        ops.append(comm.nb.sendrecv(np.full(3, float(i)), other, outs[-1], other, 10_000 + i, 10_000 + i))
        ops.append(comm.nb.all_reduce(np.full(size, float(i))))
        ops.append(comm.nb.barrier() if i % 2 else comm.nb.recv_object(other, i))
        if i % 2 == 0:
            comm.nb.send_object([i, np.full(size, float(i))], other, i)  # dropped: it goes on
    return ops


def check_result(number: int, result: Any) -> None:
    i, kind = divmod(number, 5)
    if kind == 3:
        assert (result == 2 * i).all()
    elif kind == 4 and i % 2 == 0:
        assert result[0] == i
        assert (result[1] == i).all()
    elif kind in (0, 2):
        assert result.tag % 10_000 == i


@pytest.mark.parametrize("order", ["as started", "backwards", "shuffled", "whichever is done", "all"])
def test_a_thousand_at_once(cluster: Cluster, order: str) -> None:
    def body(comm: nx.Comm) -> None:
        outs: list[np.ndarray[Any, Any]] = []
        ops = start_many(comm, outs)
        assert len(ops) == MANY
        numbers = list(range(MANY))
        if order == "all":
            for number, result in enumerate(nx.wait_all(ops, timeout=100)):
                check_result(number, result)
        elif order == "whichever is done":
            while numbers:
                # Of a window: of all of them it would be a million looks.
                position = nx.wait_any([ops[number] for number in numbers[:20]], timeout=100)
                number = numbers.pop(position)
                assert ops[number].done
                check_result(number, ops[number].result)
        else:
            if order == "backwards":
                numbers.reverse()
            elif order == "shuffled":
                random.Random(comm.rank).shuffle(numbers)
            for number in numbers:
                check_result(number, ops[number].wait(timeout=100))
        for i, out in enumerate(outs):
            assert (out == i // 2).all()

    cluster(2).run(body)


def until_empty(comm: nx.Comm) -> None:
    until(lambda: bool(comm.stats()["pool"]["live_bytes"] == 0), "the end of the library's buffers")


def test_nothing_of_them_stays(pair: nx.LocalCluster) -> None:
    died: list[weakref.ref[Any]] = []

    def turn(comm: nx.Comm) -> None:
        outs: list[np.ndarray[Any, Any]] = []
        ops = start_many(comm, outs)
        died.extend(weakref.ref(out) for out in (*outs, *ops))
        nx.wait_all(ops, timeout=100)
        comm.barrier()

    for _ in range(2):
        pair.run(turn)
    gc.collect()
    before = [comm.stats()["memory"]["blocks"] for comm in pair]
    for _ in range(3):
        pair.run(turn)
    gc.collect()
    assert not any(ref() is not None for ref in died)
    for comm, blocks in zip(pair, before):
        assert not comm._in_use
        assert not comm._dropped
        assert comm.stats()["memory"]["blocks"] < blocks + MANY  # stocks that grow a little; 3 000 ops of each rank
        until_empty(comm)


def test_a_thousand_that_are_dropped(pair: nx.LocalCluster) -> None:
    """C writes into memory that only it knows; afterwards that memory is given back, by the calls that follow."""
    died = []
    for i in range(MANY):
        out = np.zeros(1_000)
        died.append(weakref.ref(out))
        pair[0].nb.recv(out, 1, tag=i)
    del out
    gc.collect()
    assert sum(ref() is not None for ref in died) == MANY
    assert len(pair[0]._dropped) == MANY
    # Memory of the same size that must not be touched.
    others = [np.full(1_000, 3.0) for _ in range(MANY)]
    for i in random.Random(1).sample(range(MANY), MANY):
        pair[1].send(np.full(1_000, 1.0), 0, tag=i)
    pair.run(lambda comm: comm.barrier())

    def freed() -> bool:
        pair[0].nb.recv(bytearray(1), 1, timeout=0.001).cancel()
        return not any(ref() is not None for ref in died)

    until(freed, "the end of the buffers")
    assert all((other == 3.0).all() for other in others)


def test_dropped_unfinished_when_the_communicator_is_closed() -> None:
    died = []
    with nx.local_cluster(2) as comms:
        for i in range(100):
            out = np.zeros(10_000)
            died.append(weakref.ref(out))
            comms[0].nb.recv(out, 1, tag=i)
            del out
        x = np.zeros(3_000_000)
        died.append(weakref.ref(x))
        comms[0].nb.send(x, 1, tag=5_000)
        del x
        comms[0].nb.recv_object(1)
        gc.collect()
        assert all(ref() is not None for ref in died)
    gc.collect()
    assert not any(ref() is not None for ref in died)


# ------------------------------------------------------------------------------------------------ several communicators
def test_ops_of_several_jobs_and_ranks_are_waited_for_together(cluster: Cluster) -> None:
    two, three = cluster(2), cluster(3)
    outs = [np.zeros(1, np.int64) for _ in range(5)]
    ops = [two[0].nb.recv(outs[0], 1), two[1].nb.recv(outs[1], 0)]
    ops += [three[rank].nb.recv(outs[2 + rank], (rank + 1) % 3) for rank in range(3)]
    with pytest.raises(nx.Timeout):
        nx.wait_any(ops, timeout=0.05)
    senders: list[Callable[[], None]] = [
        lambda: two[1].send(np.array([10]), 0),
        lambda: two[0].send(np.array([11]), 1),
        *(lambda rank=rank: three[(rank + 1) % 3].send(np.array([12 + rank]), rank) for rank in range(3)),
    ]
    for number in (3, 0, 4, 1, 2):
        pending = [i for i in range(5) if not ops[i].done]
        thread = threading.Thread(target=senders[number])
        thread.start()
        assert pending[nx.wait_any([ops[i] for i in pending], timeout=30)] == number
        thread.join()
    assert [status.nbytes for status in nx.wait_all(ops, timeout=30)] == [8] * 5
    assert [int(out[0]) for out in outs] == [10, 11, 12, 13, 14]


def test_collectives_of_several_jobs_at_once(cluster: Cluster) -> None:
    """One thread, five ranks of two jobs: nobody waits for one before all have begun."""
    comms = [*cluster(2), *cluster(3)]
    for count in (1, 200_000):
        ops = [comm.nb.all_reduce(np.full(count, comm.rank + 1)) for comm in comms]
        for comm, y in zip(comms, nx.wait_all(ops, timeout=60)):
            assert (y == (3 if comm.size == 2 else 6)).all()


# -------------------------------------------------------------------------------------------------------------- asyncio
@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """Calls of C that can block, by name and thread."""
    counted: Counter[tuple[str, int]] = Counter()

    def watched(name: str) -> Callable[..., int]:
        real = getattr(lib, name)

        def call(*arguments: Any) -> int:
            counted[name, threading.get_ident()] += 1
            result: int = real(*arguments)
            return result

        return call

    for name in ("nexar_op_wait", "nexar_op_wait_any", "nexar_probe", "nexar_recv", "nexar_sendrecv"):
        monkeypatch.setattr(lib, name, watched(name))
    return counted


def eventfds() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += "eventfd" in os.readlink(entry)
        except OSError:
            continue
    return count


def test_loop_never_waits_in_c(cluster: Cluster, calls: Counter[tuple[str, int]]) -> None:
    """While 64 MiB are reduced again and again, the loop calls nothing that blocks, and its heart beats."""
    comms = cluster(2)
    arrays = [np.full((64 << 20) // 4, comm.rank + 1, np.float32) for comm in comms]
    worst = 0.0

    async def heart(stop: asyncio.Event) -> None:
        nonlocal worst
        while not stop.is_set():
            began = time.thread_time()
            await asyncio.sleep(0.001)
            worst = max(worst, time.thread_time() - began)

    async def rank(comm: nx.Comm) -> None:
        x = arrays[comm.rank]
        for _ in range(3):
            y = await comm.nb.all_reduce(x, out=x)
            assert y is x
            other = 1 - comm.rank
            status, _ = await asyncio.gather(
                wait_for(comm.nb.recv(bytearray(1_000_000), other)), wait_for(comm.nb.send(bytes(1_000_000), other))
            )
            assert status.nbytes == 1_000_000

    async def main() -> None:
        stop = asyncio.Event()
        beating = asyncio.create_task(heart(stop))
        await asyncio.gather(*(rank(comm) for comm in comms))
        stop.set()
        await beating
        assert not [name for (name, thread) in calls if thread == threading.get_ident()]

    asyncio.run(main())
    assert worst < 0.05  # of processor time, which others that run beside do not take from us; about 0.001
    assert all((x == 12).all() for x in arrays)


async def wait_for(op: nx.Op) -> Any:
    return await op


def test_one_descriptor_and_no_thread(pair: nx.LocalCluster) -> None:
    async def burst(comm: nx.Comm) -> None:
        other = 1 - comm.rank
        receives = [wait_for(comm.nb.recv(bytearray(8), other, tag)) for tag in range(MANY // 2)]
        sends = [wait_for(comm.nb.send(bytes(8), other, tag)) for tag in reversed(range(MANY // 2))]
        results = await asyncio.gather(*receives, *sends)
        assert [status.tag for status in results[: MANY // 2]] == list(range(MANY // 2))

    async def main() -> None:
        threads = threading.active_count()
        before = eventfds()
        await asyncio.gather(*(burst(comm) for comm in pair))
        assert eventfds() <= before + 2  # each node's, which we duplicate
        for _ in range(3):
            await asyncio.gather(*(burst(comm) for comm in pair))
        assert eventfds() <= before + 2
        assert threading.active_count() == threads
        assert not [comm for comm in pair if comm._in_use]

    before = eventfds()
    asyncio.run(main())
    assert eventfds() <= before + 2


def test_first_done_of_many(cluster: Cluster) -> None:
    """asyncio.wait and as_completed, with objects and arrays."""

    async def main() -> None:
        a, b = cluster(2)
        tasks = {asyncio.ensure_future(wait_for(a.nb.recv_object(1, tag))): tag for tag in range(20)}
        for tag in (13, 2, 7):
            await b.nb.send_object({"tag": tag}, 0, tag)
            done, _ = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert [(tasks[task], task.result()) for task in done] == [(tag, {"tag": tag})]
            del tasks[done.pop()]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await b.nb.send_object("the next", 0, 5)
        assert await a.nb.recv_object(1, 5) == "the next"  # the cancelled ones took nothing

    asyncio.run(main())
