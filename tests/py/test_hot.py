"""Plain calls that are repeated on the same arrays take a short way.  Nobody may see that."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx

Array = np.ndarray[Any, Any]
Cluster = Callable[[int], nx.LocalCluster]


def warm(comm: nx.Comm, x: Array, out: Array) -> None:
    """So that all_reduce of these takes the short way."""
    for _ in range(4):
        assert comm.all_reduce(x, out=out) is out
    assert ("all_reduce", id(x), id(out), "sum") in comm.cache.found


def test_new_elements_are_seen(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        x, out = np.zeros(3), np.zeros(3)
        warm(comm, x, out)
        for step in range(50):
            x[:] = step + comm.rank
            assert comm.all_reduce(x, out=out) is out
            assert (out == 2 * step + 1).all()
            assert (comm.all_reduce(x, "max", out=out) == step + 1).all()

    cluster(2).run(body)


def test_another_shape_and_type(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    x, out = np.arange(6.0), np.zeros(6)
    warm(comm, x, out)
    x.shape = (2, 3)
    with pytest.raises(nx.UsageError, match="shape"):
        comm.all_reduce(x, out=out)
    out.shape = (2, 3)
    assert (comm.all_reduce(x, out=out) == x).all()
    x.dtype = np.int64
    with pytest.raises(nx.UsageError, match="dtype"):
        comm.all_reduce(x, out=out)


def test_read_only(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    x = np.zeros(3)
    warm(comm, x, x)
    x.flags.writeable = False
    with pytest.raises(nx.UsageError, match="read-only"):
        comm.all_reduce(x, out=x)


def test_other_memory(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    x, out = np.zeros(3), np.zeros(3)
    warm(comm, x, out)
    x.resize(100_000, refcheck=False)
    x.resize(3, refcheck=False)
    x[:] = 7
    assert (comm.all_reduce(x, out=out) == 7).all()
    warm(comm, x, out)
    out.resize(100_000, refcheck=False)
    with pytest.raises(nx.UsageError, match="shape"):
        comm.all_reduce(x, out=out)


@pytest.mark.parametrize(("op", "tag"), [("avrg", True), (["sum"], 0.0), (np.str_("summ"), np.float64(0)), (None, "0")])
def test_what_only_looks_the_same(cluster: Cluster, op: Any, tag: Any) -> None:
    comm = cluster(1)[0]
    x = np.zeros(3)
    warm(comm, x, x)
    with pytest.raises(nx.UsageError, match="op is"):
        comm.all_reduce(x, op, out=x)
    for _ in range(4):
        for number in (0, 1):
            comm.send(x, 0, number)
            comm.recv(x, 0, number)
    with pytest.raises(nx.UsageError, match="tag is"):
        comm.send(x, 0, tag)
    with pytest.raises(nx.UsageError, match="tag is"):
        comm.recv(x, 0, tag)


def test_calls_take_turns() -> None:
    """One of each name is at hand; the others are looked up, as is one whose arguments are equal and not the same."""
    arrays, out = [np.full(2, 1.0), np.full(2, 2.0)], np.zeros(2)
    with nx.local_cluster(1) as comms:
        comm = comms[0]
        for _ in range(5):
            for i, x in enumerate(arrays):
                for op in ("sum", "max", "".join(["s", "um"])):
                    out[:] = 0
                    assert comm.all_reduce(x, op, out=out) is out
                    assert (out == i + 1).all()
                for tag in (int("300"), int("301")):
                    comm.send(x, 0, tag)
                    out[:] = 0
                    assert comm.recv(out, 0, tag) == nx.Status(0, tag, 16)
                    assert (out == i + 1).all()
        assert len(comm.cache.found) == 2 * 2 + 2 * 2 + 2
        with pytest.raises(nx.Timeout):
            comm.recv(out, 0, 301, timeout=0.01)
        assert comm.cache.recv.a == id(out)
    assert comm.cache.recv.a is None
    with pytest.raises(nx.Closed):
        comm.recv(out, 0, 301)


def test_arrays_are_not_kept(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    x, out = np.zeros(3), np.zeros(3)
    warm(comm, x, out)
    for _ in range(4):
        comm.send(x, 0)
        comm.recv(out, 0)
    seen = [weakref.ref(x), weakref.ref(out)]
    del x, out
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


def test_new_arrays_in_old_places(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    for i in range(500):
        x = np.full((1 + i % 3, 2), float(i)) if i % 7 else np.full(6, i)
        assert (comm.all_reduce(x, out=x) == i).all()
        comm.send(x, 0)
        y: Any = np.zeros(x.shape) if i % 5 else bytearray(48)
        assert comm.recv(y, 0).nbytes == x.nbytes
        if i % 7 and i % 5:
            assert (y == i).all()


def test_many_arrays(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    arrays = [np.full(2, float(i)) for i in range(300)]
    for _ in range(3):
        for i, x in enumerate(arrays):
            assert (comm.all_reduce(x, out=x) == i).all()
    assert len(comm.cache.found) <= 64


def test_what_has_changed_is_remembered_anew() -> None:
    with nx.local_cluster(1) as comms:
        comm = comms[0]
        x, out = np.ones(3), np.zeros(3)
        cache = comm.cache
        for n in (3, 5, 4):
            x.resize(n, refcheck=False)
            out.resize(n, refcheck=False)
            before = (cache.all_reduce, cache.send, cache.recv)
            for _ in range(3):
                assert comm.all_reduce(x, out=out) is out
                comm.send(x, 0)
                assert comm.recv(out, 0).nbytes == 8 * n
            latest = (cache.all_reduce, cache.send, cache.recv)
            assert all(hot in cache.found.values() for hot in latest)
            assert all(hot is not old for hot, old in zip(latest, before))
            assert [hot.again(None) for hot in latest] == [True] * 3


def test_what_was_received(cluster: Cluster) -> None:
    """Also after a receive that had to wait for long, which ends in another way."""

    def body(comm: nx.Comm) -> None:
        other = 1 - comm.rank
        out = np.zeros(4)
        go = np.zeros(1)
        for step in range(60):
            nbytes = 8 * (1 + step // 3 % 4)
            if comm.rank == 0:
                comm.recv(go, other, 9)
                if step % 10 == 5:
                    comm.barrier()
                comm.send(np.full(nbytes // 8, float(step)), other, 1)
            else:
                comm.send(go, other, 9)
                if step % 10 == 5:
                    op = comm.nb.barrier()
                    deadline = time.monotonic() + 0.03
                    while time.monotonic() < deadline:
                        op.done  # noqa: B018
                    op.wait()
                assert comm.recv(out, other, 1) == nx.Status(other, 1, nbytes)
                assert out[0] == step

    cluster(2).run(body)


def late(comm: nx.Comm, x: Array, recv: Callable[[], Any]) -> Any:
    """What a receive returns that waits much longer than C does at a time."""
    waiting = threading.Event()

    def send() -> None:
        waiting.wait(20)
        deadline = time.monotonic() + 0.1
        while time.monotonic() < deadline:
            comm.stats()
        comm.send(x, 0, 5)

    thread = threading.Thread(target=send)
    thread.start()
    waiting.set()
    got = recv()
    thread.join()
    return got


def test_a_long_wait_between_short_ones(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    small, large, out = np.ones(1), np.ones(3), np.zeros(3)
    prepared = comm.prepare_recv(out, 0, 5)
    for recv in (prepared, lambda: comm.recv(out, 0, 5)):
        for _ in range(4):
            for x in (small, large):
                comm.send(x, 0, 5)
                assert recv().nbytes == x.nbytes
        for x in (small, large, small):
            assert late(comm, large, recv).nbytes == 24
            comm.send(x, 0, 5)
            assert recv().nbytes == x.nbytes


class InterruptedHereError(Exception):
    pass


def interrupted(seconds: float, call: Callable[[], Any]) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    call()


@pytest.mark.parametrize("prepared", [True, False])
def test_signals_interrupt(cluster: Cluster, *, prepared: bool) -> None:
    comm = cluster(1)[0]
    x, out = np.ones(2), np.zeros(2)
    recv = comm.prepare_recv(out, 0, 3) if prepared else lambda: comm.recv(out, 0, 3)
    for _ in range(4):
        comm.send(x, 0, 3)
        recv()

    def stop(*_: Any) -> None:
        raise InterruptedHereError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        for seconds in (0.001, 0.009, 0.05, 0.3):
            with pytest.raises(InterruptedHereError):  # also by a signal that comes before the receive
                interrupted(seconds, recv)
            x[:] = seconds
            comm.send(x, 0, 3)  # the receive that was interrupted does not take it
            assert recv() == nx.Status(0, 3, 16)
            assert (out == seconds).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("prepared", [True, False])
def test_timeout_and_closing(prepared: bool) -> None:
    with nx.local_cluster(1) as comms:
        comm = comms[0]
        x, out = np.ones(2), np.zeros(2)
        with pytest.raises(nx.Timeout, match="tag 3"):
            comm.prepare_recv(out, 0, 3, timeout=0.05)()
        recv = comm.prepare_recv(out, 0, 3) if prepared else lambda: comm.recv(out, 0, 3)
        for _ in range(4):
            comm.send(x, 0, 3)
            recv()
        errors: list[Exception] = []

        def wait() -> None:
            try:
                recv()
            except nx.Closed as error:
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 0.05
        while time.monotonic() < deadline:
            comm.stats()
    thread.join()
    assert len(errors) == 1
    assert not comm.cache.found
    with pytest.raises(nx.Closed):
        recv()


def test_several_threads_share_one(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    x = np.ones(2)
    send = comm.prepare_send(x, 0, 8)

    def work() -> None:
        for _ in range(200):
            send()
            comm.send(x, 0, 8)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    out = np.zeros(2)
    for _ in range(4 * 400):
        assert comm.recv(out, 0, 8).nbytes == 16
    for thread in threads:
        thread.join()
