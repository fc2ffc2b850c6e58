"""Ops in asyncio: awaited, cancelled, from several loops; no thread and no polling."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import pynexar as nx

Cluster = Callable[[int], nx.LocalCluster]


def test_await(cluster: Cluster) -> None:
    async def rank(comm: nx.Comm) -> None:
        y = await comm.nb.all_reduce(np.full(1_000, comm.rank + 1))
        assert (y == 6).all()
        x = np.full(3, comm.rank)
        assert await comm.nb.broadcast(x, root=2) is x
        assert x.tolist() == [2, 2, 2]
        await comm.nb.barrier()
        out = np.zeros(2, np.int64)
        right, left = (comm.rank + 1) % 3, (comm.rank - 1) % 3
        status = await comm.nb.sendrecv(np.full(2, comm.rank), right, out, left)
        assert status == nx.Status(left, 0, 16)
        assert out.tolist() == [left, left]

    async def main() -> None:
        threads = threading.active_count()
        await asyncio.gather(*(rank(comm) for comm in cluster(3)))
        assert threading.active_count() == threads

    asyncio.run(main())


def test_loop_is_free_meanwhile(pair: nx.LocalCluster) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        out = bytearray(1)
        receiving = asyncio.ensure_future(wait_for(pair[0].nb.recv(out, 1)))
        while ticks < 5:
            await asyncio.sleep(0)
        assert not receiving.done()
        await pair[1].nb.send(b"x", 0)
        assert (await receiving).nbytes == 1
        ticking.cancel()

    asyncio.run(main())


async def wait_for(op: nx.Op) -> nx.Status:
    status: nx.Status = await op
    return status


def test_errors_come_out_of_await(pair: nx.LocalCluster) -> None:
    async def main() -> None:
        with pytest.raises(nx.Timeout) as caught:
            await pair[0].nb.recv(bytearray(1), 1, timeout=0.05)
        assert caught.value.op == "recv"
        op = pair[0].nb.recv(bytearray(1), 1)
        op.cancel()
        with pytest.raises(nx.Cancelled):
            await op

    asyncio.run(main())


def test_await_twice_and_await_what_is_done(pair: nx.LocalCluster) -> None:
    async def main() -> None:
        op = pair[0].nb.recv(bytearray(4), 1)
        waiting = [asyncio.ensure_future(wait_for(op)) for _ in range(3)]
        await asyncio.sleep(0)
        await pair[1].nb.send(b"abcd", 0)
        for future in waiting:
            assert (await future).nbytes == 4
        assert (await op).nbytes == 4
        assert op.wait(timeout=0).nbytes == 4

    asyncio.run(main())


def test_cancelled_task_cancels_the_op_and_waits_for_its_buffer(pair: nx.LocalCluster) -> None:
    async def main() -> None:
        out = np.zeros(4)
        op = pair[0].nb.recv(out, 1, tag=1)
        task = asyncio.ensure_future(wait_for(op))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert op.done
        with pytest.raises(nx.Cancelled):
            op.wait()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait_for(pair[0].nb.recv(out, 1, tag=1)), 0.05)
        await pair[1].nb.send(np.ones(4), 0, tag=1)
        assert (await pair[0].nb.recv(out, 1, tag=1)).nbytes == 32
        assert out.tolist() == [1, 1, 1, 1]

    asyncio.run(main())


def test_large_send_that_nobody_takes(pair: nx.LocalCluster) -> None:
    async def main() -> None:
        x = np.zeros(4 << 20)
        began = time.monotonic()
        with pytest.raises(nx.Timeout, match=r"not taken after|begun to leave"):
            await pair[0].nb.send(x, 1, tag=1, timeout=0.2)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait_for(pair[0].nb.send(x, 1, tag=2)), 0.1)
        assert time.monotonic() - began < 10
        out = np.ones(4 << 20)
        for tag in (2, 1):  # taken back
            with pytest.raises(nx.Timeout):
                await pair[1].nb.recv(out, 0, tag, timeout=0.05)
        again = pair[0].nb.send(x, 1, tag=2)
        await pair[1].nb.recv(out, 0, 2)
        assert not out.any()
        await again

    asyncio.run(main())


def test_many_at_once(cluster: Cluster) -> None:
    async def main() -> None:
        comms = cluster(2)
        outs = [np.zeros(1, np.int64) for _ in range(300)]
        receiving = [wait_for(comms[0].nb.recv(out, 1, tag)) for tag, out in enumerate(outs)]
        gathered = asyncio.gather(*receiving)
        for tag in reversed(range(300)):
            await comms[1].nb.send(np.array([tag]), 0, tag)
        assert [status.tag for status in await gathered] == list(range(300))
        assert [int(out[0]) for out in outs] == list(range(300))

    asyncio.run(main())


def test_one_loop_after_another(cluster: Cluster) -> None:
    """A loop that has ended leaves nothing behind that a new one could stumble over."""
    for i in range(5):

        async def main(i: int = i) -> None:
            comms = cluster(2)
            results = await asyncio.gather(*(wait_for(comm.nb.all_reduce(np.array([i]))) for comm in comms))
            assert [int(y[0]) for y in results] == [2 * i, 2 * i]

        asyncio.run(main())


def test_loops_of_several_threads_share_a_communicator(cluster: Cluster) -> None:
    """Whichever wakes first hands on what belongs to the others."""
    comms = cluster(2)
    failures: list[BaseException] = []

    async def exchange(base: int) -> None:
        for i in range(100):
            out = np.zeros(1, np.int64)
            recv = comms[0].nb.recv(out, 1, tag=base)
            await comms[1].nb.send(np.array([base + i]), 0, tag=base)
            await recv
            assert out[0] == base + i

    def run(base: int) -> None:
        try:
            asyncio.run(exchange(base))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(base,)) for base in (1_000, 2_000, 3_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures


def test_one_op_awaited_by_two_loops(pair: nx.LocalCluster) -> None:
    op = pair[0].nb.recv(bytearray(1), 1)
    results: list[nx.Status] = []
    waiting = threading.Barrier(3)

    async def main() -> None:
        future = asyncio.ensure_future(wait_for(op))
        await asyncio.sleep(0)
        waiting.wait(30)
        results.append(await future)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    waiting.wait(30)
    pair[1].send(b"x", 0)
    for thread in threads:
        thread.join(30)
    assert results == [nx.Status(1, 0, 1)] * 2


def test_close_wakes_those_who_await(pair: nx.LocalCluster) -> None:
    async def main() -> None:
        futures = [asyncio.ensure_future(wait_for(pair[0].nb.recv(bytearray(1), 1, tag))) for tag in range(3)]
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, pair[0].close)
        for future in futures:
            with pytest.raises(nx.Closed):
                await asyncio.wait_for(future, 30)
        await asyncio.sleep(0.01)  # the loop still works, and watches nothing that is closed

    asyncio.run(main())


def test_loop_that_is_closed_while_an_op_is_awaited(pair: nx.LocalCluster) -> None:
    out = np.zeros(1)

    async def main() -> None:
        future = asyncio.ensure_future(wait_for(pair[0].nb.recv(out, 1)))
        await asyncio.sleep(0)
        assert not future.done()

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_until_complete(task)
    pending = asyncio.all_tasks(loop)
    loop.close()
    pair[1].send(np.ones(1), 0)

    async def other() -> None:
        await asyncio.gather(*(wait_for(comm.nb.barrier()) for comm in pair))

    asyncio.run(other())
    for left in pending:  # asyncio would complain that nobody has waited for it
        left._log_destroy_pending = False  # type: ignore[attr-defined]


def test_no_processor_time_while_waiting(pair: nx.LocalCluster) -> None:
    async def main() -> None:
        future = asyncio.ensure_future(wait_for(pair[0].nb.recv(bytearray(1), 1)))
        await asyncio.sleep(0.05)
        before = time.process_time()
        await asyncio.sleep(1)
        used = time.process_time() - before
        await pair[1].nb.send(b"x", 0)
        await future
        assert used < 0.25

    asyncio.run(main())
