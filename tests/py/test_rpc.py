"""Calls of functions of other ranks: sizes, directions, nesting, deadlines, cancellation, errors, lost ranks."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from ranks import Ranks

Cluster = Callable[[int], nx.LocalCluster]


def with_functions(**functions: Callable[[bytes], Any]) -> Callable[[nx.Comm], None]:
    def body(comm: nx.Comm) -> None:
        for name, fn in functions.items():
            comm.register(name, fn)
        comm.barrier()

    return body


def echo(payload: bytes) -> bytes:
    return payload


@pytest.mark.parametrize("nbytes", [0, 1, 20, 4_100, 16_384, 65_500, 65_536, 1 << 20, (20 << 20) + 3])
def test_sizes(cluster: Cluster, nbytes: int) -> None:
    payload = (np.arange(nbytes) % 251).astype(np.uint8).tobytes()

    def body(comm: nx.Comm) -> None:
        with_functions(echo=echo)(comm)
        for dest in range(comm.size):  # oneself as well, and both directions at once
            assert comm.call(dest, "echo", payload) == payload
        comm.barrier()

    cluster(2).run(body)


def test_payloads_and_answers_are_buffers(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        with_functions(array=lambda payload: memoryview(bytearray(payload)))(comm)
        x = np.arange(1000)
        assert np.array_equal(np.frombuffer(comm.call(1 - comm.rank, "array", x), x.dtype), x)
        comm.barrier()

    cluster(2).run(body)


def test_numbers_are_not_names(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        comm.register(0, lambda _: b"number")
        comm.register(65_535, lambda _: b"last")
        comm.register("0", lambda _: b"name")
        comm.barrier()
        other = 1 - comm.rank
        assert [comm.call(other, name) for name in (0, 65_535, "0")] == [b"number", b"last", b"name"]
        comm.barrier()

    cluster(2).run(body)


def test_a_function_is_replaced_and_taken_back(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        comm.register("f", lambda _: b"old")
        comm.register("f", lambda _: b"new")
        comm.barrier()
        assert comm.call(1 - comm.rank, "f") == b"new"
        comm.barrier()
        comm.register("f", None)
        comm.barrier()
        with pytest.raises(nx.RemoteError, match="no such function"):
            comm.call(1 - comm.rank, "f")
        comm.barrier()

    cluster(2).run(body)


def test_p_nested_calls(cluster: Cluster) -> None:
    """A function calls back, as often as there are threads for it."""

    def body(comm: nx.Comm) -> None:
        def down(payload: bytes) -> bytes:
            left = payload[0]
            return b"." if left == 0 else b"." + comm.call(1 - comm.rank, "down", bytes([left - 1]))

        with_functions(down=down)(comm)
        if comm.rank == 0:
            assert comm.call(1, "down", bytes([6])) == b"." * 7
        comm.barrier()

    cluster(2).run(body)


def test_p_a_function_changes_what_is_registered(cluster: Cluster) -> None:
    """Also itself, while it runs: the reference holds its lock meanwhile."""

    def body(comm: nx.Comm) -> None:
        def once(payload: bytes) -> bytes:
            comm.register("once", None)
            comm.register("next", lambda more: payload + more)
            return b"once"

        with_functions(once=once)(comm)
        other = 1 - comm.rank
        assert comm.call(other, "once", b"kept ") == b"once"
        assert comm.call(other, "next", b"and used") == b"kept and used"
        with pytest.raises(nx.RemoteError, match="no such function"):
            comm.call(other, "once")
        comm.barrier()

    cluster(2).run(body)


def test_p2_each_communicator_has_functions_of_its_own(cluster: Cluster) -> None:
    """P2: calls in a parent and its child at the same time each get their own answers."""

    def body(comm: nx.Comm) -> None:
        with comm.split(0, -comm.rank) as child:
            comm.register("who", lambda payload: b"parent" + payload)
            child.register("who", lambda payload: b"child" + payload)
            child.barrier()
            ops = []
            for i in range(50):
                tag = bytes([i])
                ops.append((comm.nb.call(1 - comm.rank, "who", tag), b"parent" + tag))
                ops.append((child.nb.call(1 - child.rank, "who", tag), b"child" + tag))
            assert [op.wait() for op, _ in ops] == [wanted for _, wanted in ops]
            child.barrier()

    cluster(2).run(body)


def test_64_callers_at_once(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        with_functions(echo=echo)(comm)
        wrong: list[Any] = []

        def calls(k: int) -> None:
            for i in range(20):
                payload = bytes([k, i]) * (1 + 700 * (i % 3))
                if comm.call((comm.rank + k) % comm.size, "echo", payload) != payload:
                    wrong.append((k, i))

        threads = [threading.Thread(target=calls, args=(k,)) for k in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        comm.barrier()

    cluster(2).run(body)


def test_a_call_can_be_awaited(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        with_functions(echo=echo)(comm)

        async def gather() -> list[bytes]:
            return list(await asyncio.gather(*(comm.nb.call(1 - comm.rank, "echo", bytes([i])) for i in range(10))))

        assert asyncio.run(gather()) == [bytes([i]) for i in range(10)]
        comm.barrier()

    cluster(2).run(body)


# --------------------------------------------------------------------------------------------------------------- errors
def test_p_what_a_function_raises_reaches_the_caller(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        def unlucky(payload: bytes) -> bytes:
            raise ValueError("no luck: " + payload.decode())

        with_functions(unlucky=unlucky, text=lambda _: "text", long=lambda _: 1 / 0, echo=echo)(comm)
        for dest in range(2):
            with pytest.raises(nx.RemoteError, match="ValueError: no luck: today") as caught:
                comm.call(dest, "unlucky", b"today")
            assert caught.value.peer == dest
            assert "in unlucky" in caught.value.traceback
            assert "Traceback" in caught.value.traceback
            assert caught.value.code_name == "EREMOTE"
            with pytest.raises(nx.RemoteError, match="returned str; it must return bytes"):
                comm.call(dest, "text")
            with pytest.raises(nx.RemoteError, match="ZeroDivisionError"):
                comm.call(dest, "long")
            assert comm.call(dest, "echo", b"still there") == b"still there"
        comm.barrier()

    cluster(2).run(body)


def test_p_unknown_names_are_errors_at_once(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        for dest in range(2):
            for name in ("nobody", 9):
                with pytest.raises(nx.RemoteError, match="there is no such function on that rank") as caught:
                    comm.call(dest, name)
                assert caught.value.peer == dest
                assert caught.value.traceback == ""
        comm.barrier()

    cluster(2).run(body)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((2, "f"), "dest is 2"),
        ((-1, "f"), "dest is -1"),
        ((0, ""), "name is ''"),
        ((0, "x" * 121), "120 bytes"),
        ((0, "a\0b"), "120 bytes"),
        ((0, 65_536), "name is 65536"),
        ((0, True), "name is True"),
        ((0, None), "name is None"),
        ((0, "f", 3), "payload"),
        ((0, "f", "text"), "payload"),
        ((0, "f", b"", -1.0), "must not be below 0"),
        ((0, "f", np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), ((1 << 30) + 1,), (0,))), "payload"),
    ],
)
def test_wrong_arguments(cluster: Cluster, arguments: tuple[Any, ...], words: str) -> None:
    comm = cluster(2)[0]
    with pytest.raises(nx.UsageError, match=words):
        comm.call(*arguments)


def test_wrong_functions(cluster: Cluster) -> None:
    comm = cluster(2)[0]
    for name, fn in (("", echo), ("x" * 121, echo), (70_000, echo), ("f", 3)):
        with pytest.raises(nx.UsageError):
            comm.register(name, fn)  # type: ignore[arg-type]


def test_p_a_function_that_hangs_ends_at_the_deadline_of_its_caller(cluster: Cluster) -> None:
    """Its other threads go on meanwhile, and it sees that nobody waits any more."""
    saw = threading.Event()

    def body(comm: nx.Comm) -> None:
        def hang(_: bytes) -> bytes:
            request = nx.current_request()
            assert request is not None
            assert request.caller == 0
            assert request.name == "hang"
            assert 0 < request.left <= 0.5
            while not request.cancelled:
                pass
            saw.set()
            return b"too late"

        with_functions(hang=hang, echo=echo)(comm)
        if comm.rank == 0:
            op = comm.nb.call(1, "hang", timeout=0.5)
            assert comm.call(1, "echo", b"meanwhile") == b"meanwhile"
            with pytest.raises(nx.Timeout, match=r'"hang" on rank 1.*: no answer after') as caught:
                op.wait()
            assert caught.value.peer == 1
            assert saw.wait(20)
        comm.barrier()
        assert nx.current_request() is None

    cluster(2).run(body)


def test_p_cancelling_reaches_the_function(cluster: Cluster) -> None:
    began, saw = threading.Event(), threading.Event()

    def body(comm: nx.Comm) -> None:
        def wait(_: bytes) -> bytes:
            request = nx.current_request()
            assert request is not None
            assert request.left > 100
            began.set()
            while not request.cancelled:
                pass
            saw.set()
            return b""

        with_functions(wait=wait)(comm)
        if comm.rank == 0:
            op = comm.nb.call(1, "wait")
            assert began.wait(20)
            op.cancel()
            with pytest.raises(nx.Cancelled):
                op.wait()
            assert saw.wait(20)
        comm.barrier()

    cluster(2).run(body)


def test_p_calls_that_nobody_waits_for_any_more_leave_nothing() -> None:
    """In the reference a caller that is cancelled leaves its place in a table for ever."""
    hold = threading.Event()

    def body(comm: nx.Comm) -> None:
        with_functions(hold=lambda payload: bytes(hold.wait(60)) + payload, echo=echo)(comm)
        blocks = []
        for _ in range(20):
            hold.clear()
            if comm.rank == 0:
                ops = [comm.nb.call(1, "hold", bytes(100)) for _ in range(200)]
                for op in ops:
                    op.cancel()
                    with pytest.raises(nx.Cancelled):
                        op.wait()
                del ops, op
            comm.barrier()
            hold.set()
            assert comm.call(1 - comm.rank, "echo", b"behind them") == b"behind them"
            comm.barrier()
            gc.collect()
            blocks.append(comm.stats()["memory"]["blocks"])
        assert blocks[-1] < blocks[1] + 1500, blocks  # some are still on their way; 3600 calls more were made

    with nx.local_cluster(2, config=nx.Config(rpc_threads=4)) as comms:
        comms.run(body)


def test_calls_beyond_the_queue_wait_and_come() -> None:
    """With one thread, and room for two calls, the others are held back at their callers, and none is lost."""
    hold = threading.Event()

    def slow(payload: bytes) -> bytes:
        hold.wait(60)
        return payload

    def body(comm: nx.Comm) -> None:
        with_functions(slow=slow)(comm)
        if comm.rank == 0:
            ops = [comm.nb.call(1, "slow", bytes([i])) for i in range(100)]
            hold.set()
            assert [op.wait() for op in ops] == [bytes([i]) for i in range(100)]
        comm.barrier()

    with nx.local_cluster(2, config=nx.Config(rpc_threads=1, rpc_queue=2)) as comms:
        comms.run(body)


# ---------------------------------------------------------------------------------------------------------------- ends
def test_a_call_ends_when_the_communicator_is_closed() -> None:
    def body(comm: nx.Comm) -> None:
        hold = threading.Event()
        with comm.dup() as child:
            child.register("hold", lambda _: bytes(hold.wait(20)))
            child.barrier()
            op = child.nb.call(1 - child.rank, "hold")
            comm.barrier()
        with pytest.raises((nx.Closed, nx.RemoteError)):
            op.wait()
        hold.set()
        with pytest.raises(nx.Closed):
            child.register("f", echo)
        with pytest.raises(nx.Closed):
            child.call(0, "f")
        comm.barrier()

    with nx.local_cluster(2) as comms:
        comms.run(body)


def test_abort_ends_calls() -> None:
    def body(comm: nx.Comm) -> None:
        hold = threading.Event()
        child = comm.dup()
        child.register("hold", lambda _: bytes(hold.wait(20)))
        child.barrier()
        op = child.nb.call(1 - child.rank, "hold")
        comm.barrier()
        if comm.rank == 1:
            child.abort("enough")
        with pytest.raises(nx.Closed):
            op.wait()
        comm.barrier()  # no answer overtakes the abort
        hold.set()
        child.close()
        comm.barrier()

    with nx.local_cluster(2) as comms:
        comms.run(body)


def test_p_a_callee_that_dies(ranks: Ranks) -> None:
    """The call fails with PeerLost, which names the rank; other calls go on."""
    with nx.Seed("127.0.0.1:0", 3) as seed:
        who = [ranks.start(f"rank {i}", NEXAR_JOIN=seed.join_string, NEXAR_RANK=str(i)) for i in range(3)]
        for rank in who:
            rank.begin("comm = nx.init()")
        for rank in who:
            rank.end()
    for rank in who:
        rank.do("import threading; comm.register('hang', lambda _: bytes(threading.Event().wait()))")
        rank.do("comm.register('echo', lambda payload: payload)")
    for rank in who:
        rank.begin("comm.barrier()")
    for rank in who:
        rank.end()
    who[0].do("op = comm.nb.call(1, 'hang')")
    who[0].do("comm.call(1, 'echo', b'it has come')")
    who[1].kill()
    who[0].do("try:\n    op.wait()\n    said = None\nexcept nx.PeerLost as error:\n    said = (error.peer, str(error))")
    peer, text = who[0].do("said")
    assert peer == 1
    assert "hang" in text
    assert who[0].do("comm.call(2, 'echo', b'fine')") == b"fine"
    who[0].do("del op")


@pytest.mark.parametrize("last", [False, True])
def test_a_function_closes_its_own_communicator(last: bool) -> None:
    """It does not wait for itself; its caller is told."""
    closed = threading.Event()

    def body(comm: nx.Comm) -> None:
        child = comm.dup()

        def close(_: bytes) -> bytes:
            child.close()
            closed.set()
            return b"nobody gets this"

        child.register("close", close)
        child.barrier()
        if comm.rank == 1 and last:
            comm.close()
        if comm.rank == 0:
            with pytest.raises((nx.RemoteError, nx.PeerLost)):
                child.call(1, "close", timeout=60)
            child.close()
        assert closed.wait(60)
        if not last:
            comm.barrier()

    with nx.local_cluster(2) as comms:
        comms.run(body)


def test_closing_does_not_wait_for_a_function_that_hangs() -> None:
    hold = threading.Event()
    began = threading.Event()

    def hang(_: bytes) -> bytes:
        began.set()
        hold.wait(60)
        return b"late"

    def body(comm: nx.Comm) -> None:
        child = comm.dup()
        child.register("hang", hang)
        child.barrier()
        if comm.rank == 0:
            op = child.nb.call(1, "hang", timeout=60)
            with pytest.raises(nx.RemoteError, match="the communicator is closed on that rank"):
                op.wait()
        else:
            assert began.wait(60)
            child.close()
        comm.barrier()
        child.close()

    with nx.local_cluster(2) as comms:
        comms.run(body)
        assert not hold.is_set()
        hold.set()
