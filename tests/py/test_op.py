"""Ops: waiting, cancelling, being dropped, being closed under; memory stays as long as C has it."""

from __future__ import annotations

import functools
import gc
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from pynexar._ffi import lib

Cluster = Callable[[int], nx.LocalCluster]


def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0)


def test_done_wait_result(pair: nx.LocalCluster) -> None:
    out = np.zeros(3)
    op = pair[0].nb.recv(out, 1)
    assert not op.done
    assert "recv" in repr(op)
    assert "rank 1" in repr(op)
    with pytest.raises(nx.Timeout, match="goes on") as caught:
        op.wait(timeout=0.05)
    assert caught.value.op == "wait"
    with pytest.raises(nx.Timeout):
        op.wait(timeout=0)
    assert not op.done
    pair[1].send(np.arange(3.0), 0)
    until(lambda: op.done)
    assert op.result == op.wait() == op.wait(timeout=0) == nx.Status(1, 0, 24)
    assert out.tolist() == [0, 1, 2]
    op.cancel()  # too late, and harmless
    assert op.result.nbytes == 24
    assert "done" in repr(op)


def test_result_waits(pair: nx.LocalCluster) -> None:
    thread = threading.Thread(target=pair[1].barrier)
    op = pair[0].nb.barrier()
    thread.start()
    assert op.result is None
    thread.join()


@pytest.mark.parametrize("timeout", ["1", -1, True, float("nan"), [1]])
def test_wait_checks_its_timeout(pair: nx.LocalCluster, timeout: Any) -> None:
    op = pair[0].nb.barrier()
    with pytest.raises(nx.UsageError, match="timeout is"):
        op.wait(timeout=timeout)
    op.cancel()


def test_cancel(pair: nx.LocalCluster) -> None:
    out = np.zeros(3)
    op = pair[0].nb.recv(out, 1, tag=1)
    op.cancel()
    for _ in range(2):
        with pytest.raises(nx.Cancelled):
            op.wait(timeout=30)
        with pytest.raises(nx.Cancelled):
            _ = op.result
    assert op.done
    # The message that it did not take is for the next one.
    pair[1].send(np.arange(3.0), 0, tag=1)
    assert pair[0].recv(out, 1, tag=1).nbytes == 24


def test_a_cancelled_collective_fails_on_all(pair: nx.LocalCluster) -> None:
    op = pair[0].nb.all_reduce(np.zeros(100_000))
    op.cancel()
    with pytest.raises(nx.Cancelled):
        op.wait(timeout=30)
    with pytest.raises(nx.NexarError) as caught:
        pair[1].all_reduce(np.zeros(100_000), timeout=30)
    assert not isinstance(caught.value, nx.Timeout)


def test_deadline_of_an_op(pair: nx.LocalCluster) -> None:
    op = pair[0].nb.recv(bytearray(1), 1, timeout=0.1)
    with pytest.raises(nx.Timeout) as caught:
        op.wait(timeout=30)
    assert caught.value.op == "recv"
    assert op.done


def test_large_send_that_nobody_takes_ends_at_its_deadline(pair: nx.LocalCluster) -> None:
    """It is taken back: nobody receives it any more, and its memory is free as soon as QUIC has let go of it."""
    late = r"not taken after|has begun to leave"  # the second if the bytes that nobody wants take long
    x = np.arange(4 << 20)
    died = weakref.ref(x)
    began = time.monotonic()
    with pytest.raises(nx.Timeout, match=rf"send to rank 1 .*tag 1.*({late})") as caught:
        pair[0].send(x, 1, tag=1, timeout=0.2)
    assert caught.value.hint
    ops = [pair[0].nb.send(x, 1, tag=2, timeout=0.2), pair[0].nb.sendrecv(x, 1, bytearray(1), 1, 3, timeout=0.2)]
    for op in ops:
        with pytest.raises(nx.Timeout, match=late):
            op.wait()
        until(functools.partial(getattr, op, "done"), "the end of the op")
    assert nx.wait_any(ops) == 0
    with pytest.raises(nx.Timeout, match=late):
        nx.wait_all(ops)
    assert time.monotonic() - began < 20
    del x, op, ops, caught

    def swept() -> bool:
        pair[0].nb.recv(bytearray(1), 1, timeout=0.001).cancel()  # any call looks after what was dropped
        gc.collect()
        return died() is None

    until(swept, "the end of the memory")
    out = np.zeros(4 << 20, np.int64)
    for tag in (3, 1, 2):
        with pytest.raises(nx.Timeout):
            pair[1].recv(out, 0, tag, timeout=0.05)
    again = pair[0].nb.send(np.arange(4 << 20), 1, tag=1)
    assert pair[1].recv(out, 0, 1).nbytes == out.nbytes
    assert (out == np.arange(4 << 20)).all()
    again.wait()


def test_small_send_whose_turn_does_not_come_ends_by_itself(pair: nx.LocalCluster) -> None:
    ops = [pair[0].nb.send(np.zeros(100_000), 1, tag=1, timeout=0.3) for _ in range(300)]
    assert ops[-1].wait is not None
    with pytest.raises(nx.Timeout, match="not taken after"):
        ops[-1].wait()
    assert ops[-1].done


def test_wait_all_and_wait_any(pair: nx.LocalCluster) -> None:
    outs = [np.zeros(1, np.int64) for _ in range(4)]
    ops = [pair[0].nb.recv(out, 1, tag=tag) for tag, out in enumerate(outs)]
    for wait in (nx.wait_all, nx.wait_any):
        with pytest.raises(nx.Timeout):
            wait(ops, timeout=0.05)
        with pytest.raises(nx.Timeout):
            wait(ops, timeout=0)
        with pytest.raises(nx.UsageError, match="timeout is"):
            wait(ops, timeout=-1)
    for tag in (2, 0, 3, 1):
        pair[1].send(np.array([tag]), 0, tag)
        assert ops[nx.wait_any(ops, timeout=30)].done
        ops[tag].wait(timeout=30)
    assert [status.tag for status in nx.wait_all(ops, timeout=30)] == [0, 1, 2, 3]
    assert [int(out[0]) for out in outs] == [0, 1, 2, 3]
    assert nx.wait_all([]) == []
    with pytest.raises(nx.UsageError, match="at least one op"):
        nx.wait_any([])


def test_wait_any_finds_the_one_that_is_done(pair: nx.LocalCluster) -> None:
    ops = [pair[0].nb.recv(bytearray(8), 1, tag=tag) for tag in range(3)]
    ops.append(pair[0].nb.sendrecv(b"x", 0, bytearray(1), 1, sendtag=50, recvtag=9))
    pair[1].send(b"x", 0, tag=9)
    assert nx.wait_any(ops, timeout=30) == 3
    thread = threading.Thread(target=lambda: pair[1].send(b"x", 0, tag=1))
    thread.start()
    assert nx.wait_any(ops[:3], timeout=30) == 1
    thread.join()
    for op in ops:
        op.cancel()


def test_wait_all_raises_what_failed(pair: nx.LocalCluster) -> None:
    ops = [pair[0].nb.recv(bytearray(1), 1, tag=1, timeout=0.05), pair[0].nb.recv(bytearray(1), 1, tag=2)]
    with pytest.raises(nx.Timeout) as caught:
        nx.wait_all(ops, timeout=30)
    assert caught.value.op == "recv"
    assert not ops[1].done
    pair[1].send(b"x", 0, tag=2)
    assert ops[1].wait(timeout=30).tag == 2


def test_pair_of_send_and_receive_is_cancelled_together(pair: nx.LocalCluster) -> None:
    op = pair[0].nb.sendrecv(b"x", 1, bytearray(1), 1)
    with pytest.raises(nx.Timeout):
        op.wait(timeout=0.05)
    assert not op.done
    assert "sendrecv" in repr(op)
    op.cancel()
    with pytest.raises(nx.Cancelled):
        op.wait(timeout=30)
    assert op.done


def test_sendrecv_that_cannot_receive_reports_it(pair: nx.LocalCluster) -> None:
    with pytest.raises(nx.Timeout):
        pair[0].sendrecv(b"x", 1, bytearray(1), 1, timeout=0.1)
    pair[1].send(b"too long", 0)
    with pytest.raises(nx.UsageError, match="8"):
        pair[0].sendrecv(b"x", 1, bytearray(1), 1)
    out = bytearray(8)
    pair[0].recv(out, 1)
    assert out == b"too long"


def test_several_threads_wait_for_one(pair: nx.LocalCluster) -> None:
    op = pair[0].nb.recv(np.zeros(2), 1)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(op.wait())) for _ in range(4)]
    for thread in threads:
        thread.start()
    pair[1].send(np.ones(2), 0)
    for thread in threads:
        thread.join(30)
    assert results == [nx.Status(1, 0, 16)] * 4


# -------------------------------------------------------------------------------------------------- dropped and closed
def test_dropped_unfinished_receive_goes_on_with_its_buffer(pair: nx.LocalCluster) -> None:
    out = np.zeros(1_000)
    died = weakref.ref(out)
    pair[0].nb.recv(out, 1, tag=1)
    gc.collect()
    pair[1].send(np.ones(1_000), 0, tag=1)
    until(lambda out=out: bool(out[999] == 1), "the message")  # type: ignore[misc]
    assert out.sum() == 1_000
    del out
    assert died() is not None  # parked, with the op
    pair[0].nb.barrier().cancel()  # the next call looks after what is parked
    gc.collect()
    assert died() is None


def test_dropped_unfinished_send_arrives(pair: nx.LocalCluster) -> None:
    for tag in range(50):
        pair[0].nb.send(np.full(50_000, tag), 1, tag)
    gc.collect()
    out = np.zeros(50_000, np.int64)
    for tag in reversed(range(50)):
        pair[1].recv(out, 0, tag)
        assert (out == tag).all()


def test_dropped_op_keeps_a_temporary_alive(pair: nx.LocalCluster) -> None:
    """A buffer that nobody but the op knows; C writes into it after all names are gone."""
    for tag in range(20):
        pair[0].nb.recv(np.zeros(100_000), 1, tag)
    gc.collect()
    junk = [np.full(100_000, 7.0) for _ in range(20)]
    for tag in range(20):
        pair[1].send(np.zeros(100_000), 0, tag)
    pair[1].nb.barrier()
    pair[0].barrier()
    assert all((x == 7.0).all() for x in junk)


def test_close_ends_what_is_in_flight(pair: nx.LocalCluster) -> None:
    out = np.zeros(10)
    op, dropped = pair[0].nb.recv(out, 1), pair[0].nb.recv(np.zeros(10), 1, tag=2)
    del dropped
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            pair[0].recv(bytearray(1), 1, tag=3)
        except nx.NexarError as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: pair[0].nb.recv(bytearray(1), 1, tag=4, timeout=0.001).parts != (), "a call")
    pair[0].close()
    thread.join(30)
    with pytest.raises(nx.Closed):
        op.wait(timeout=30)
    assert [type(error) for error in failures] == [nx.Closed]


def test_use_after_close(pair: nx.LocalCluster) -> None:
    comm = pair[0]
    conn = comm.peer(1)
    comm.close()
    comm.close()
    assert comm.closed
    assert "closed" in repr(comm)
    assert (comm.rank, comm.size) == (0, 2)
    calls: list[Callable[[], object]] = [
        lambda: comm.all_reduce(np.zeros(1)),
        lambda: comm.broadcast(np.zeros(1)),
        comm.barrier,
        lambda: comm.send(b"x", 1),
        lambda: comm.recv(bytearray(1), 1),
        lambda: comm.sendrecv(b"x", 1, bytearray(1), 1),
        lambda: comm.probe(1),
        lambda: comm.send_object(1, 1),
        lambda: comm.recv_object(1),
        lambda: comm.broadcast_object(1),
        lambda: comm.gather_object(1),
        lambda: comm.peer(1),
        comm.stats,
        comm.nb.barrier,
        lambda: conn.send_raw(b"x"),
        lambda: conn.recv_raw(bytearray(1)),
        lambda: conn.remote_addr,
        lambda: conn.protocol,
    ]
    for call in calls:
        with pytest.raises(nx.Closed, match="closed"):
            call()


def test_the_others_learn_of_a_close(pair: nx.LocalCluster) -> None:
    op = pair[1].nb.recv(bytearray(1), 0)
    pair[0].close()
    with pytest.raises((nx.PeerLost, nx.Closed)) as caught:
        op.wait(timeout=30)
    assert caught.value.peer == 0


def test_op_outlives_its_communicator() -> None:
    with nx.local_cluster(2) as comms:
        ops = [comms[0].nb.recv(np.zeros(3), 1), comms[0].nb.send(np.zeros(3), 1)]
        out = np.zeros(3)
        comms[1].recv(out, 0)
    del comms
    gc.collect()
    with pytest.raises((nx.Closed, nx.PeerLost)):  # both close at the same time
        ops[0].wait(timeout=30)
    assert ops[1].wait(timeout=30) is None
    assert "done" in repr(ops[0])
    ops.clear()
    gc.collect()


def test_communicator_that_is_not_closed_is_warned_of_and_closed() -> None:
    comms = nx.local_cluster(2)
    ops = [comms[0].nb.recv(bytearray(3), 1)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del ops, comms
        gc.collect()
    assert len([warning for warning in caught if issubclass(warning.category, ResourceWarning)]) == 2


def test_close_from_several_threads(pair: nx.LocalCluster) -> None:
    threads = [threading.Thread(target=pair[0].close) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert pair[0].closed


def test_interrupted_blocking_call_frees_its_buffer(pair: nx.LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that comes out of the wait, as Ctrl-C does, cancels: afterwards C has nothing of ours."""
    real = lib.nexar_op_wait
    calls = []

    def interrupted(pointer: Any, span: int) -> int:
        calls.append(span)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(pointer, span)

    out = np.zeros(10)
    monkeypatch.setattr(lib, "nexar_op_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pair[0].recv(out, 1, tag=1)
    assert len(calls) >= 2
    monkeypatch.undo()
    pair[1].send(np.ones(10), 0, tag=1)
    assert pair[0].probe(1, 1, timeout=30).nbytes == 80  # nobody took it
    assert not out.any()


def test_empty_slice_of_a_wait_is_short(pair: nx.LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = []
    real = lib.nexar_op_wait

    def wait(pointer: Any, span: int) -> int:
        spans.append(span)
        return real(pointer, span)

    monkeypatch.setattr(lib, "nexar_op_wait", wait)
    with pytest.raises(nx.Timeout):
        pair[0].recv(bytearray(1), 1, timeout=0.45)
    assert 2 <= len(spans) <= 10
    assert max(spans) <= 200_000_000
