"""Python objects between ranks: any size, never mixed, copied once; what cannot be unpickled hurts nobody."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx

Cluster = Callable[[int], nx.LocalCluster]


@dataclasses.dataclass
class Pair:
    name: str
    array: np.ndarray[Any, Any]


class Refuses:
    """Pickles well, and fails where it is unpickled."""

    def __init__(self, payload: Any = None) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, (self.payload,)


def _refuse(payload: Any) -> None:
    del payload
    raise LookupError("not on this rank")


def lock_inside() -> Any:
    return {"big": np.ones(1 << 20), "lock": threading.Lock()}


def same(a: Any, b: Any) -> bool:
    """Type, value, and of arrays all that numpy tells."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and (a.dtype, a.shape, a.flags.f_contiguous, a.flags.writeable)
            == (b.dtype, b.shape, b.flags.f_contiguous, b.flags.writeable)
            and (a.tolist() == b.tolist() if a.dtype.hasobject else a.tobytes() == b.tobytes())
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Pair):
        return isinstance(b, Pair) and a.name == b.name and same(a.array, b.array)
    return type(a) is type(b) and bool(a == b)


def read_only(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    x.flags.writeable = False
    return x


OBJECTS: list[Any] = [
    None,
    "text",
    b"",
    bytes(3_000_000),
    bytearray(b"x" * 100_000),
    "\N{SNOWMAN}" * 500_000,
    (1, [2.5, {"three": {4}}]),
    np.arange(100_000.0),
    np.asfortranarray(np.arange(60_000).reshape(200, 300)),
    np.arange(60_000).reshape(200, 300)[:, ::2],
    read_only(np.arange(10_000)),
    np.arange(10_000, dtype=">i4"),
    np.array(3.5),
    np.zeros((0, 3)),
    np.zeros(1_000, [("a", "i4"), ("b", "f8", 3)]),
    np.array(["a", {"b": 1}], object),
    [np.full(i, i, np.int16) for i in range(300)],
    {"pair": Pair("name", np.ones(50_000, np.float32)), "again": [np.ones(5_000, np.uint8)] * 3},
]


@pytest.mark.parametrize("number", range(len(OBJECTS)))
@pytest.mark.parametrize("n", [1, 3])
def test_objects_come_as_they_went(cluster: Cluster, n: int, number: int) -> None:
    obj = OBJECTS[number]

    def body(comm: nx.Comm) -> None:
        left, right = (comm.rank - 1) % n, (comm.rank + 1) % n
        op = comm.nb.send_object(obj, right, tag=4)
        assert same(obj, comm.recv_object(left, tag=4))
        assert op.wait() is None
        for root in range(n):
            assert same(obj, comm.broadcast_object(obj if comm.rank == root else None, root))
            got = comm.gather_object((comm.rank, obj), root)
            assert got is None if comm.rank != root else same(got, [(rank, obj) for rank in range(n)])
            mine = comm.scatter_object([(rank, obj) for rank in range(n)] if comm.rank == root else None, root)
            assert same(mine, (comm.rank, obj))
        assert same(comm.all_gather_object((comm.rank, obj)), [(rank, obj) for rank in range(n)])

    cluster(n).run(body)


def test_own_object_is_no_copy(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        mine: list[int] = [comm.rank]
        assert comm.all_gather_object(mine)[comm.rank] is mine
        got = comm.gather_object(mine, root=1)
        assert comm.rank != 1 or (got is not None and got[1] is mine)
        all_of = [mine, mine]
        assert comm.scatter_object(all_of, root=comm.size - 1) is mine or comm.rank == 0
        assert comm.broadcast_object(mine, root=0) is mine or comm.rank == 1

    cluster(2).run(body)


def test_what_was_received_can_be_written_and_changes_nothing_else(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        x = np.zeros((2, 50_000))
        got = comm.broadcast_object([x, x[0]] if comm.rank == 0 else None)
        got[1][:] = 7
        assert comm.rank == 0 or got[0].sum() == 0
        y = np.zeros(10_000)
        comm.send_object(y, 1 - comm.rank)
        y[:] = 9  # it has left
        z = comm.recv_object(1 - comm.rank)
        assert z.sum() == 0
        z += 1

    cluster(2).run(body)


# ------------------------------------------------------------------------------------------------------------- matching
def test_order_per_tag_and_any(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        if comm.rank != 0:
            for i in range(30):
                comm.send_object((comm.rank, i, np.full(20_000 * (i % 3), i)), 0, tag=i % 2)
            return
        seen: dict[tuple[int, int], int] = {}
        for _ in range(60):
            (rank, i, x), status = comm.recv_object(nx.ANY, nx.ANY, with_status=True)
            assert (status.src, status.tag) == (rank, i % 2)
            assert status.nbytes > x.nbytes
            assert (x == i).all()
            assert seen.get((rank, i % 2), -1) < i
            seen[rank, i % 2] = i
        assert len(seen) == 4
        with pytest.raises(nx.Timeout):
            comm.recv_object(nx.ANY, nx.ANY, timeout=0)

    cluster(3).run(body)


def test_receives_get_messages_in_the_order_in_which_they_began(cluster: Cluster) -> None:
    """Whatever the sizes, and whichever is waited for first."""

    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            comm.barrier()
            for i in range(12):
                comm.send_object(np.full(1 + i % 3 * 100_000, i), 1, tag=3)
        else:
            keys = [(0, 3), (nx.ANY, 3), (0, nx.ANY), (nx.ANY, nx.ANY)]
            ops = [comm.nb.recv_object(*keys[i % 4]) for i in range(12)]
            comm.barrier()
            for i in reversed(range(12)):
                assert (ops[i].wait() == i).all()

    cluster(2).run(body)


def test_objects_and_arrays_never_meet(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            comm.send_object("object", 1, tag=5)
            comm.barrier()
            comm.send(b"array", 1, tag=5)
        else:
            out = bytearray(100)
            waiting = comm.nb.recv(out, nx.ANY, nx.ANY)
            comm.barrier()
            assert waiting.wait() == nx.Status(0, 5, 5)
            assert out[:5] == b"array"
            with pytest.raises(nx.Timeout):
                comm.probe(nx.ANY, nx.ANY, timeout=0)
            assert comm.recv_object(nx.ANY, nx.ANY) == "object"

    cluster(2).run(body)


def test_threads_that_receive_with_the_same_tag(cluster: Cluster) -> None:
    """Pieces of objects of many sizes, from three threads to three threads, at once: each comes whole, and once."""
    sizes = [0, 5, 3_000, 70_000, 400_000]
    seen: list[int] = []
    failures: list[BaseException] = []

    def checked(fn: Callable[..., None], *args: Any) -> threading.Thread:
        def run() -> None:
            try:
                fn(*args)
            except BaseException as error:
                failures.append(error)

        return threading.Thread(target=run)

    def send(comm: nx.Comm, base: int) -> None:
        for i in range(base, base + 20):
            comm.send_object({"number": i, "parts": [np.full(size, i) for size in sizes[i % 3 :]]}, 1, tag=1)

    def receive(comm: nx.Comm, key: tuple[int, int]) -> None:
        for _ in range(20):
            got = comm.recv_object(*key)
            assert [part.size for part in got["parts"]] == sizes[got["number"] % 3 :]
            assert all((part == got["number"]).all() for part in got["parts"])
            seen.append(got["number"])

    comms = cluster(2)
    threads = [checked(send, comms[0], 100 * i) for i in range(3)]
    threads += [checked(receive, comms[1], key) for key in ((0, 1), (nx.ANY, 1), (0, nx.ANY))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert sorted(seen) == [100 * i + k for i in range(3) for k in range(20)]


def test_await(cluster: Cluster) -> None:
    async def rank(comm: nx.Comm) -> None:
        op = comm.nb.recv_object(1 - comm.rank, with_status=True)
        await comm.nb.send_object({"from": comm.rank, "x": np.ones(100_000)}, 1 - comm.rank)
        got, status = await op
        assert got["from"] == status.src == 1 - comm.rank
        assert op.result[0] is got  # unpickled once

    async def main() -> None:
        await asyncio.gather(*(rank(comm) for comm in cluster(2)))

    asyncio.run(main())


def test_nb_receives_are_cancelled_and_dropped(cluster: Cluster) -> None:
    comms = cluster(2)
    op = comms[0].nb.recv_object(1, 8)
    op.cancel()
    with pytest.raises(nx.Cancelled):
        op.wait(timeout=30)
    comms[0].nb.recv_object(1, 8)  # goes on, and takes one
    gc.collect()
    comms[1].send_object("lost", 0, 8)
    comms[1].send_object("kept", 0, 8)
    assert comms[0].recv_object(1, 8) == "kept"


# -------------------------------------------------------------------------------------------------------- what is wrong
@pytest.mark.parametrize("bad", [lock_inside, lambda: lambda: 0, lambda: (i for i in ())], ids=["lock", "λ", "gen"])
@pytest.mark.parametrize(
    "call",
    [
        lambda comm, x: comm.send_object(x, 1),
        lambda comm, x: comm.nb.send_object(x, 1),
        lambda comm, x: comm.broadcast_object(x, comm.rank),
        lambda comm, x: comm.all_gather_object(x),
        lambda comm, x: comm.gather_object(x, 1 - comm.rank),
        lambda comm, x: comm.scatter_object([x, x], comm.rank),
    ],
    ids=["send", "nb", "broadcast", "all_gather", "gather", "scatter"],
)
def test_what_cannot_be_pickled_is_found_before_anything_is_sent(
    cluster: Cluster, call: Callable[[nx.Comm, Any], Any], bad: Callable[[], Any]
) -> None:
    def body(comm: nx.Comm) -> None:
        comm.barrier()
        before = comm.stats()["transports"]["quic"]["messages_sent"]
        with pytest.raises(nx.UsageError, match="_object: the object cannot be pickled: ") as caught:
            call(comm, bad())
        assert caught.value.__cause__ is not None
        assert comm.stats()["transports"]["quic"]["messages_sent"] == before
        assert comm.broadcast_object("fine" if comm.rank == 0 else None) == "fine"
        assert comm.nb._comm is comm

    cluster(2).run(body)


def test_what_cannot_be_unpickled_raises_there_and_leaves_the_rest_whole(cluster: Cluster) -> None:
    big = Refuses({"payload": np.ones(1 << 20)})

    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            for obj in (Refuses(), big, "good"):
                comm.send_object(obj, 1, tag=6)
        elif comm.rank == 1:
            for _ in range(2):
                with pytest.raises(nx.NexarError, match=r"recv_object: .* rank 0 .*LookupError: not on this") as caught:
                    comm.recv_object(0, 6)
                assert isinstance(caught.value.__cause__, LookupError)
                assert caught.value.peer == 0
            assert comm.recv_object(0, 6) == "good"
        for wrong in range(3):
            mine = big if comm.rank == wrong else comm.rank
            if comm.rank == wrong:
                assert comm.all_gather_object(mine)[(wrong + 1) % 3] == (wrong + 1) % 3
                assert comm.broadcast_object(mine, wrong) is mine
                comm.gather_object(mine, (wrong + 1) % 3)
            else:
                with pytest.raises(nx.NexarError, match="LookupError"):
                    comm.all_gather_object(mine)
                with pytest.raises(nx.NexarError, match="LookupError"):
                    comm.broadcast_object(None, wrong)
                if comm.rank == (wrong + 1) % 3:
                    with pytest.raises(nx.NexarError, match="LookupError"):
                        comm.gather_object(mine, comm.rank)
                else:
                    comm.gather_object(mine, (wrong + 1) % 3)
        assert comm.all_gather_object(comm.rank) == [0, 1, 2]
        assert comm.all_reduce(np.array([1])) == [3]

    cluster(3).run(body)


def test_error_of_an_nb_receive_is_the_same_each_time(cluster: Cluster) -> None:
    comms = cluster(2)
    comms[1].send_object(Refuses(), 0)
    op = comms[0].nb.recv_object(1)
    caught = []
    for _ in range(2):
        with pytest.raises(nx.NexarError, match="LookupError") as error:
            op.wait(timeout=30)
        caught.append(error.value)
    assert caught[0] is caught[1]


def test_interrupted_while_unpickling(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C inside of an object's own code: who asks again gets the object."""
    comms = cluster(2)
    comms[1].send_object("whole", 0)
    op = comms[0].nb.recv_object(1)
    assert nx.wait_any([op], timeout=30) == 0

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pynexar.objects.pickle.loads", interrupt)
    with pytest.raises(KeyboardInterrupt):
        op.wait()
    monkeypatch.undo()
    assert op.wait() == "whole"


WRONG: list[tuple[Callable[[nx.Comm], object], str]] = [
    (lambda comm: comm.send_object(1, 2), "send_object: dest is 2; it must be 0 to 1"),
    (lambda comm: comm.send_object(1, nx.ANY), "send_object: dest is 4294967295"),
    (lambda comm: comm.send_object(1, 0, tag=nx.ANY), "tag is 4294967295"),
    (lambda comm: comm.send_object(1, 0, tag="a"), "tag is 'a'"),  # type: ignore[arg-type]
    (lambda comm: comm.send_object(1, 0, timeout=-1), "send_object: timeout is -1"),
    (lambda comm: comm.recv_object(2), "recv_object: src is 2"),
    (lambda comm: comm.recv_object(0, -1), "recv_object: tag is -1"),
    (lambda comm: comm.recv_object(0, timeout=float("nan")), "timeout is nan"),
    (lambda comm: comm.broadcast_object(1, root=2), "broadcast_object: root is 2"),
    (lambda comm: comm.broadcast_object(1, timeout="1"), "timeout is '1'"),  # type: ignore[arg-type]
    (lambda comm: comm.all_gather_object(1, timeout=True), "all_gather_object: timeout is True"),
    (lambda comm: comm.gather_object(1, root=-1), "gather_object: root is -1"),
    (lambda comm: comm.gather_object(1, timeout=-1), "gather_object: timeout is -1"),
    (lambda comm: comm.scatter_object([1, 2], root=None), "scatter_object: root is None"),  # type: ignore[arg-type]
    (lambda comm: comm.scatter_object([1], root=comm.rank), "objs has 1 objects; it must have one for each of the 2"),
    (lambda comm: comm.scatter_object(None, root=comm.rank), "objs is NoneType"),
    (lambda comm: comm.scatter_object([1, 2], comm.rank, timeout=-2), "scatter_object: timeout is -2"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_arguments(cluster: Cluster, call: Callable[[nx.Comm], object], words: str) -> None:
    comm = cluster(2)[0]
    before = comm.stats()["transports"]["quic"]["messages_sent"]
    with pytest.raises(nx.UsageError, match=words):
        call(comm)
    assert comm.stats()["transports"]["quic"]["messages_sent"] == before


DISAGREE: list[tuple[Callable[[nx.Comm], object], Callable[[nx.Comm], object], str]] = [
    (
        lambda c: c.broadcast_object(1, 0),
        lambda c: c.broadcast_object(1, 1),
        r"rank 1 calls broadcast_object .root 1",
    ),
    (lambda c: c.gather_object(1, 0), lambda c: c.scatter_object(None, 0), r"rank 1 calls scatter_object \(root 0\)"),
    (
        lambda c: c.gather_object(1, 0),
        lambda c: c.all_gather_object(1),
        "rank 1 calls all_gather_object",
    ),
    (lambda c: c.all_gather_object(1), lambda c: c.all_gather(np.zeros(3, "i8")), "rank 1 calls all_gather, and"),
]


@pytest.mark.parametrize("number", range(len(DISAGREE)))
def test_ranks_that_call_different_things_are_told(pair: nx.LocalCluster, number: int) -> None:
    first, second, words = DISAGREE[number]

    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            with pytest.raises(nx.Mismatch, match=words):
                first(comm)
        else:
            with contextlib.suppress(nx.Mismatch):  # who receives a message may have all it needs
                second(comm)

    pair.run(body)


def test_call_that_differs_from_all_object_calls(pair: nx.LocalCluster) -> None:
    def body(comm: nx.Comm) -> None:
        with pytest.raises(nx.Mismatch):
            comm.barrier() if comm.rank == 0 else comm.all_gather_object(1)

    pair.run(body)


@pytest.mark.parametrize(
    "call",
    [
        lambda comm: comm.recv_object(1, timeout=0.2),
        lambda comm: comm.send_object(np.ones(8 << 20), 1, timeout=0.2),
        lambda comm: comm.broadcast_object(1, timeout=0.2),
        lambda comm: comm.broadcast_object(None, 1, timeout=0.2),
        lambda comm: comm.all_gather_object(1, timeout=0.2),
        lambda comm: comm.gather_object(1, timeout=0.2),
        lambda comm: comm.scatter_object(None, 1, timeout=0.2),
    ],
    ids=["recv", "send", "broadcast root", "broadcast", "all_gather", "gather", "scatter"],
)
def test_timeout(pair: nx.LocalCluster, call: Callable[[nx.Comm], object]) -> None:
    began = time.monotonic()
    with pytest.raises(nx.Timeout, match="rank 1"):
        call(pair[0])
    assert 0.15 < time.monotonic() - began < 5


def test_lost_rank(pair: nx.LocalCluster) -> None:
    op = pair[0].nb.recv_object(1)
    pair[1].close()
    with pytest.raises((nx.PeerLost, nx.Closed)):
        op.wait(timeout=30)
    with pytest.raises((nx.PeerLost, nx.Closed)):
        pair[0].broadcast_object(1)
