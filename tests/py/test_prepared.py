"""Prepared calls: the call repeated, on what the arrays hold by then.  Arrays of comm.alloc()."""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx

Array = np.ndarray[Any, Any]
Cluster = Callable[[int], nx.LocalCluster]


def arguments(comm: nx.Comm, call: str) -> tuple[Any, ...]:
    """Of each call, for float64; the first array is what it reads."""
    n, rank = comm.size, comm.rank
    last = n - 1
    return {
        "all_reduce": (np.zeros(5), "max", np.zeros(5)),
        "reduce": (np.zeros(5), "sum", last, np.zeros(5) if rank == last else None),
        "scan": (np.zeros(5),),
        "exclusive_scan": (np.zeros(5), "min"),
        "broadcast": (np.zeros(5), last),
        "all_gather": (np.zeros(5),),
        "gather": (np.zeros(5), last),
        "scatter": (np.zeros((n, 5)) if rank == last else None, last, np.zeros(5)),
        "reduce_scatter": (np.zeros((n, 5)), np.add),
        "all_to_all": (np.zeros((n, 5)),),
        "barrier": (),
    }[call]


CALLS = "all_reduce reduce scan exclusive_scan broadcast all_gather gather scatter reduce_scatter all_to_all barrier"


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("call", CALLS.split())
def test_collectives(cluster: Cluster, call: str, n: int) -> None:
    def body(comm: nx.Comm) -> None:
        given = arguments(comm, call)
        prepared = getattr(comm, f"prepare_{call}")(*given)
        seen = []
        for step in range(4):
            if given and given[0] is not None:
                given[0][...] = np.arange(given[0].size).reshape(given[0].shape) * (comm.rank + 1) + step
            x = None if not given or given[0] is None else given[0].copy()
            got = prepared() if step % 2 == 0 else prepared.nb().wait()
            fresh = (x, *(a.copy() if isinstance(a, np.ndarray) else a for a in given[1:])) if given else ()
            expected = getattr(comm.nb, call)(*fresh).wait()
            np.testing.assert_array_equal(got, expected)
            seen.append(got)
        assert all(each is seen[0] for each in seen)

    cluster(n).run(body)


def test_messages(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        other = 1 - comm.rank
        x, out = np.zeros(3), np.zeros(3)
        send, recv = comm.prepare_send(x, other, 4), comm.prepare_recv(out, nx.ANY, 4)
        for step in range(100):
            x[:] = step + comm.rank
            receiving = recv.nb()
            send()
            assert receiving.wait() == nx.Status(other, 4, 24)
            assert (out == step + other).all()

    cluster(2).run(body)


def test_the_arrays_live_as_long_as_the_call(cluster: Cluster) -> None:
    comm = cluster(1)[0]
    x = np.arange(4.0)
    seen = weakref.ref(x)
    prepared = comm.prepare_all_reduce(x)
    del x
    gc.collect()
    assert prepared().tolist() == [0, 1, 2, 3]
    del prepared
    gc.collect()
    assert seen() is None


WRONG = [
    ("all_reduce", (np.zeros((4, 4))[:, ::2],), "x is not contiguous"),
    ("all_reduce", (np.zeros(3, ">f4"),), "byte order"),
    ("all_reduce", (memoryview(bytes(8))[::2],), "x is not contiguous"),
    ("all_reduce", (np.zeros(3), "avrg"), "op is 'avrg'"),
    ("send", ([np.zeros(3)], 0), "x is a list"),
    ("send", (np.zeros(3), 9), "dest is 9"),
    ("recv", (np.zeros(3)[::2], 0), "out is not contiguous"),
    ("gather", (np.zeros(3), 7), "root is 7"),
]


@pytest.mark.parametrize(("call", "given", "words"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_arguments(cluster: Cluster, call: str, given: tuple[Any, ...], words: str) -> None:
    with pytest.raises(nx.UsageError, match=words):
        getattr(cluster(2)[0], f"prepare_{call}")(*given)


def test_closed() -> None:
    with nx.local_cluster(1) as comms:
        prepared = comms[0].prepare_all_reduce(np.zeros(3))
    with pytest.raises(nx.Closed):
        prepared()
    with pytest.raises(nx.Closed):
        comms[0].prepare_barrier()
    with pytest.raises(nx.Closed):
        comms[0].alloc(3)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((), "f8"), (0, "i4"), (5, "bool"), ((3, 1, 7), "float16"), ([2, 2], int)]
)
def test_alloc(cluster: Cluster, shape: Any, dtype: Any) -> None:
    def body(comm: nx.Comm) -> None:
        x = comm.alloc(shape, dtype)
        assert (x.shape, x.dtype) == (np.zeros(shape, dtype).shape, np.dtype(dtype))
        assert x.size == 0 or x.ctypes.data % mmap.PAGESIZE == 0
        assert not x.any()
        x[...] = 1
        assert (comm.all_reduce(x, "max", out=x) == 1).all()

    cluster(2).run(body)


@pytest.mark.parametrize(
    ("shape", "dtype", "error"),
    [
        (-1, "f4", nx.UsageError),
        (3, "object", nx.UsageError),
        (3, "no type", nx.UsageError),
        ("x", "f4", nx.UsageError),
    ],
)
def test_alloc_refuses(cluster: Cluster, shape: Any, dtype: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="alloc"):
        cluster(1)[0].alloc(shape, dtype)


def test_alloc_of_more_than_there_is(cluster: Cluster) -> None:
    with pytest.raises(nx.ResourceError, match="alloc"):
        cluster(1)[0].alloc(1 << 60)
