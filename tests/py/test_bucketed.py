"""all_reduce_bucketed: every array by numpy, in every way to call; what is refused, and ranks that disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from oracle import DTYPES, elements, equal, reduction

Cluster = Callable[[int], nx.LocalCluster]
Array = np.ndarray[Any, Any]
Shapes = list[tuple[str, tuple[int, ...]]]

RANKS = (1, 2, 3, 5, 7, 8)
BUCKET = 4 << 20

LISTS: list[Shapes] = [
    [],
    [("float32", (0,))],
    [("float32", (3, 4)), ("float32", ()), ("float32", (0, 7)), ("float32", (1000,))],
    [(dtype, (i * 37, 2)) for i, dtype in enumerate(DTYPES) if dtype != "bool"],
    [("float64", (9,)), ("int8", (5,)), ("float64", (20_000,)), ("int8", (1,))],
]


def mine(shapes: Shapes, rank: int) -> list[Array]:
    return [elements(rank, shape, dtype).copy() for dtype, shape in shapes]


def check(comm: nx.Comm, shapes: Shapes, op: str, *, nb: bool) -> None:
    arrays = mine(shapes, comm.rank)
    if nb:
        assert comm.nb.all_reduce_bucketed(arrays, op).wait() is arrays
    else:
        assert comm.all_reduce_bucketed(arrays, op) is arrays
    for array, (dtype, shape) in zip(arrays, shapes):
        equal(array, reduction(comm.size, shape, op, dtype), f"rank {comm.rank} of {comm.size}: {op} of {dtype}{shape}")


@pytest.mark.parametrize("nb", [False, True])
@pytest.mark.parametrize("op", ["sum", "max", "avg"])
@pytest.mark.parametrize("n", RANKS)
def test_every_array_by_numpy(cluster: Cluster, n: int, op: str, nb: bool) -> None:
    def each(comm: nx.Comm) -> None:
        for shapes in LISTS:
            for _ in range(2):
                check(comm, shapes, op, nb=nb)

    cluster(n).run(each)


@pytest.mark.parametrize("n", [2, 3])
def test_more_buckets_than_are_under_way_at_once(cluster: Cluster, n: int) -> None:
    """Each array has the bits of all_reduce."""

    def each(comm: nx.Comm) -> None:
        rng = np.random.default_rng(comm.rank)
        lengths = [BUCKET // 4 - 1, 3 * BUCKET // 2, 5, 11 * BUCKET // 4]
        arrays: list[Array] = [rng.standard_normal(length).astype("f4") for length in lengths]
        arrays.insert(1, rng.integers(-9, 9, BUCKET + 1).astype("i1"))
        expected = [comm.all_reduce(array) for array in arrays]
        comm.all_reduce_bucketed(arrays)
        for got, want in zip(arrays, expected):
            assert got.tobytes() == want.tobytes()

    cluster(n).run(each)


def test_several_at_once(cluster: Cluster) -> None:
    def each(comm: nx.Comm) -> None:
        lists = [[np.full(i, comm.rank + 1.0), np.full(2 * i, i, "i4")] for i in range(30)]
        ops = [comm.nb.all_reduce_bucketed(arrays) for arrays in lists]
        for i, arrays in reversed(list(enumerate(nx.wait_all(ops)))):
            assert (arrays[0] == 6).all()
            assert (arrays[1] == 3 * i).all()

    cluster(3).run(each)


def test_other_containers(cluster: Cluster) -> None:
    def each(comm: nx.Comm) -> None:
        data = bytearray(b"\x01\x02")
        whole = np.arange(10.0)
        arrays = (data, whole[:5], whole[5:])
        assert comm.all_reduce_bucketed(arrays) is arrays
        assert data == b"\x02\x04"
        assert whole.tolist() == [2.0 * i for i in range(10)]

    cluster(2).run(each)


def read_only() -> Array:
    x = np.ones(3)
    x.flags.writeable = False
    return x


SAME = np.ones(8)

WRONG: list[tuple[Any, str, str]] = [
    (np.ones(3), "sum", "arrays is ndarray; it must be a list of arrays"),
    (None, "sum", "arrays is NoneType"),
    ({"x": np.ones(3)}, "sum", "arrays is dict"),
    ([np.ones(3), None], "sum", "arrays[1] is NoneType"),
    ([np.ones(3), 1.5], "sum", "arrays[1] is float"),
    ([np.ones(3), [1, 2]], "sum", "arrays[1] is list"),
    ([np.ones(3), read_only()], "sum", "arrays[1] is read-only"),
    ([b"bytes"], "sum", "arrays[0] is read-only"),
    ([np.ones((3, 3)).T], "sum", "arrays[0] is not contiguous"),
    ([np.ones(6)[::2]], "sum", "arrays[0] is not contiguous"),
    ([np.ones(3, ">f4")], "sum", "arrays[0] has dtype >f4, which is not in this machine's byte order"),
    ([np.ones(3, "c8")], "sum", "arrays[0] has dtype complex64; it must be one of"),
    ([np.array(["a"])], "sum", "arrays[0] has dtype <U1; it must be one of"),
    ([np.array([None])], "sum", "objects cannot be sent"),
    ([np.ones(3), np.ones(3, bool)], "sum", "array 1: sum of bool does not exist"),
    ([np.ones(3, "i4"), np.ones(3, "f4")], "band", "array 1: band of float32 does not exist"),
    ([np.ones(3)], "median", "op is 'median'"),
    ([SAME, np.ones(2), SAME], "sum", "overlap; they must be apart"),
    ([SAME[4:], SAME[:5]], "sum", "array 1 and array 0 overlap"),
    ([SAME, SAME.view("i8")], "sum", "overlap"),
]


@pytest.mark.parametrize(("arrays", "op", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_arguments_are_found_before_anything_is_sent(cluster: Cluster, arrays: Any, op: str, words: str) -> None:
    comm = cluster(3)[2]
    before = comm.stats()["transports"]
    for call in (comm.all_reduce_bucketed, comm.nb.all_reduce_bucketed):
        with pytest.raises(nx.UsageError) as error:
            call(arrays, op)
        assert words in str(error.value)
    assert comm.stats()["transports"]["quic"]["bytes_sent"] == before["quic"]["bytes_sent"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("float32", (4,))], [("float32", (5,))]),
        ([("float32", (4,))], [("int32", (4,))]),
        ([("float32", (4,)), ("float32", (2,))], [("float32", (2,)), ("float32", (4,))]),
        ([("float32", (4,)), ("float32", (0,))], [("float32", (4,))]),
        ([], [("float32", (0,))]),
    ],
)
def test_lists_that_differ(pair: nx.LocalCluster, one: Shapes, other: Shapes) -> None:
    def each(comm: nx.Comm) -> None:
        with pytest.raises(nx.Mismatch, match=r"all_reduce_bucketed #1: rank . called all_reduce_bucketed\("):
            comm.all_reduce_bucketed(mine(one if comm.rank == 0 else other, comm.rank))

    pair.run(each)


def test_timeout_and_cancel(pair: nx.LocalCluster) -> None:
    x = [np.ones(100_000), np.ones(3, "i2")]
    op = pair[0].nb.all_reduce_bucketed(x)
    op.cancel()
    with pytest.raises(nx.Cancelled):
        op.wait(60)
    with pytest.raises(nx.Timeout):
        pair[0].all_reduce_bucketed(x, timeout=0.05)
