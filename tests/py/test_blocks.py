"""Collectives of blocks, and those that reduce to one rank or along the ranks: every element, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx

Array = np.ndarray[Any, Any]
Cluster = Callable[[int], nx.LocalCluster]
RANKS = [1, 2, 3, 5, 7, 8]
DTYPES = ["float32", "float64", "int8", "int64", "uint16", "bool"]


def array(rank: int, shape: tuple[int, ...], dtype: str = "float32") -> Array:
    """Small whole numbers that depend on rank and index: exact in every type and order."""
    values = np.arange(int(np.prod(shape)), dtype=np.int64)
    return ((values * 7 + rank * 11 + values // 3) % 5).astype(dtype).reshape(shape)


def counts_of(n: int, seed: int = 0) -> list[int]:
    """Unequal, some of them 0."""
    return [(5 * r + 3 + seed) % 4 for r in range(n)]


def run(comms: nx.LocalCluster, body: Callable[[nx.Comm], None]) -> None:
    """Twice in a row."""
    for _ in range(2):
        comms.run(body)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", RANKS)
def test_gathers(cluster: Cluster, n: int, dtype: str) -> None:
    def body(comm: nx.Comm) -> None:
        for shape in [(), (0,), (1,), (3, 2), (1_001,)]:
            expected = np.stack([array(r, shape, dtype) for r in range(n)])
            x = array(comm.rank, shape, dtype)
            np.testing.assert_array_equal(comm.all_gather(x), expected, strict=True)
            out = np.empty_like(expected)
            out[comm.rank] = x
            assert comm.all_gather(out[comm.rank : comm.rank + 1].reshape(shape), out) is out
            np.testing.assert_array_equal(out, expected)
            root = n // 2
            result = comm.gather(x, root)
            if comm.rank == root:
                np.testing.assert_array_equal(result, expected, strict=True)
            else:
                assert result is None

    run(cluster(n), body)


@pytest.mark.parametrize("n", RANKS)
def test_gathers_of_rows(cluster: Cluster, n: int) -> None:
    def body(comm: nx.Comm) -> None:
        for seed in range(3):
            counts = counts_of(n, seed)
            parts = [array(r, (rows, 3), "int32") for r, rows in enumerate(counts)]
            expected = np.concatenate(parts)
            x = parts[comm.rank]
            np.testing.assert_array_equal(comm.all_gather(x, counts=counts), expected, strict=True)
            result = comm.nb.gather(x, n - 1, counts=counts).wait()
            if comm.rank == n - 1:
                np.testing.assert_array_equal(result, expected, strict=True)
            else:
                assert result is None

    run(cluster(n), body)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", RANKS)
def test_scatter(cluster: Cluster, n: int, dtype: str) -> None:
    def body(comm: nx.Comm) -> None:
        for root in {0, n - 1}:
            for shape in [(), (0, 2), (5,), (2, 3), (1_001,)]:
                x = array(9, (n, *shape), dtype)
                given = x if comm.rank == root else None
                np.testing.assert_array_equal(comm.scatter(given, root), x[comm.rank], strict=True)
                out = np.empty(shape, dtype)
                # Ranks that know the shape and ranks that do not take part in the same call.
                result = comm.scatter(given, root, out if comm.rank % 2 == 0 else None)
                np.testing.assert_array_equal(result, x[comm.rank], strict=True)
                assert comm.nb.scatter(given, root, out).wait() is out
                np.testing.assert_array_equal(out, x[comm.rank])
            counts = counts_of(n)
            x = array(8, (sum(counts), 3), dtype)
            begin = sum(counts[: comm.rank])
            result = comm.scatter(x if comm.rank == root else None, root, counts=counts)
            np.testing.assert_array_equal(result, x[begin : begin + counts[comm.rank]], strict=True)

    run(cluster(n), body)


@pytest.mark.parametrize("n", RANKS)
def test_all_to_all(cluster: Cluster, n: int) -> None:
    def body(comm: nx.Comm) -> None:
        for shape in [(), (0,), (3,), (4, 2), (2_003,)]:
            expected = np.stack([array(r, (n, *shape))[comm.rank] for r in range(n)])
            np.testing.assert_array_equal(comm.all_to_all(array(comm.rank, (n, *shape))), expected, strict=True)
        rows = [[(3 * a + 2 * b) % 4 for b in range(n)] for a in range(n)]  # from a to b
        x = array(comm.rank, (sum(rows[comm.rank]), 2), "int16")
        parts = []
        for r in range(n):
            begin = sum(rows[r][: comm.rank])
            parts.append(array(r, (sum(rows[r]), 2), "int16")[begin : begin + rows[r][comm.rank]])
        received = [rows[r][comm.rank] for r in range(n)]
        result = comm.all_to_all(x, send_counts=rows[comm.rank], recv_counts=received)
        np.testing.assert_array_equal(result, np.concatenate(parts), strict=True)

    run(cluster(n), body)


UFUNCS: dict[str, Any] = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}
IDENTITIES = {"sum": 0, "prod": 1, "min": np.inf, "max": -np.inf}


@pytest.mark.parametrize("op", [*UFUNCS, "avg"])
@pytest.mark.parametrize("n", RANKS)
def test_reduce_and_reduce_scatter(cluster: Cluster, n: int, op: str) -> None:
    """C3: rank i gets block i."""

    def total(shape: tuple[int, ...], dtype: str) -> Array:
        arrays = [array(r, shape, dtype) for r in range(n)]
        result: Array = UFUNCS.get(op, np.add).reduce(arrays, dtype=dtype)
        return result / np.asarray(n, dtype) if op == "avg" else result

    def body(comm: nx.Comm) -> None:
        for length in [0, 1, 3, 1_001]:
            for root in {0, n - 1}:
                result = comm.reduce(array(comm.rank, (length,), "float64"), op, root)
                if comm.rank == root:
                    np.testing.assert_array_equal(result, total((length,), "float64"), strict=True)
                else:
                    assert result is None
            expected = total((n, length), "float64")[comm.rank]
            result = comm.reduce_scatter(array(comm.rank, (n, length), "float64"), op)
            np.testing.assert_array_equal(result, expected, strict=True)
        counts = counts_of(n)
        begin = sum(counts[: comm.rank])
        result = comm.reduce_scatter(array(comm.rank, (sum(counts), 3)), op, counts=counts)
        expected = total((sum(counts), 3), "float32")[begin : begin + counts[comm.rank]]
        np.testing.assert_array_equal(result, expected, strict=True)

    run(cluster(n), body)


@pytest.mark.parametrize("op", UFUNCS)
@pytest.mark.parametrize("n", RANKS)
def test_scans(cluster: Cluster, n: int, op: str) -> None:
    """O5 and C16 are about these."""

    def body(comm: nx.Comm) -> None:
        for length in [0, 1, 3, 1_001]:
            arrays = [array(r, (length,), "float64") for r in range(n)]
            expected = UFUNCS[op].reduce(arrays[: comm.rank + 1])
            x = arrays[comm.rank]
            np.testing.assert_array_equal(comm.scan(x, op), expected, strict=True)
            if comm.rank == 0:
                expected = np.full(length, IDENTITIES[op], "float64")
            else:
                expected = UFUNCS[op].reduce(arrays[: comm.rank])
            assert comm.exclusive_scan(x, op, out=x) is x
            np.testing.assert_array_equal(x, expected, strict=True)

    run(cluster(n), body)


WRONG = [
    ("all_gather", ("text",), "x is str"),
    ("all_gather", (np.zeros(3), np.zeros((3, 3))), r"out has shape (3, 3); it must be (2, 3)"),
    ("all_gather", (np.zeros(3), np.zeros((2, 3), "f4")), "out has dtype float32"),
    ("all_gather", (np.zeros(3), np.zeros((3, 2)).T), "out is not contiguous"),
    ("all_gather", (np.zeros(3), None, [3]), "counts has 1 numbers; there are 2 ranks"),
    ("all_gather", (np.zeros(3), None, [4, 4]), "x has shape (3,); counts["),
    ("all_gather", (np.zeros(3), None, [3, -1]), "counts[1] is -1"),
    ("all_gather", (np.zeros(3), None, 3), "counts is 3; it must be a list of 2 numbers of rows"),
    ("gather", (np.zeros(3), 2), "root is 2; it must be 0 to 1"),
    ("gather", (np.zeros(3), 0.0), "root is 0.0; it must be an int"),
    ("scatter", (np.zeros(3), 5), "root is 5"),
    ("reduce_scatter", (np.zeros(3),), "its first axis must be 2"),
    ("reduce_scatter", (np.zeros((2, 3)), "avrg"), "op is 'avrg'"),
    ("reduce_scatter", (np.zeros((2, 3), "S2"),), "x has dtype |S2"),
    ("reduce_scatter", (np.zeros((4, 3)), "sum", None, [1, 2]), "the sum of counts says 3 rows"),
    ("reduce_scatter", (np.zeros((2, 3)), "band"), "band"),
    ("all_to_all", (np.zeros(3),), "its first axis must be 2"),
    ("all_to_all", (np.zeros(2), None, [1, 1]), "send_counts and recv_counts must be given together"),
    ("reduce", (np.zeros(3), "sum", -1), "root is -1"),
    ("scan", (np.zeros(3), "avg"), "avg"),
    ("exclusive_scan", (np.zeros(3), "sum", np.zeros(4)), "out has shape (4,)"),
]


@pytest.mark.parametrize(
    ("call", "arguments", "words"), WRONG, ids=lambda value: value if value in dir(nx.Comm) else ""
)
def test_wrong_arguments(cluster: Cluster, call: str, arguments: tuple[Any, ...], words: str) -> None:
    """Found before anything is sent; the communicator goes on."""

    def body(comm: nx.Comm) -> None:
        before = comm.stats()["transports"]["quic"]["messages_sent"]
        with pytest.raises(nx.UsageError) as caught:
            getattr(comm, call)(*arguments)
        assert words in str(caught.value)
        assert comm.stats()["transports"]["quic"]["messages_sent"] == before
        comm.barrier()

    cluster(2).run(body)


def test_ranks_disagree() -> None:
    """Counts, roots and shapes that differ are a Mismatch on every rank, never wrong blocks."""
    cases: list[Callable[[nx.Comm], Any]] = [
        lambda c: c.all_gather(np.zeros(3 + c.rank)),
        lambda c: c.all_gather(np.zeros(c.rank + 1), counts=[1, 2] if c.rank else [1, 3]),
        lambda c: c.reduce_scatter(np.zeros((2, 3)), "sum" if c.rank else "max"),
        lambda c: c.all_to_all(np.zeros((2, 3 + c.rank))),
        lambda c: c.reduce_scatter(np.zeros((2, 3))) if c.rank else c.all_to_all(np.zeros((2, 3))),
        lambda c: c.gather(np.zeros(3), c.rank),
    ]
    for case in cases:
        with nx.local_cluster(2) as comms:

            def body(comm: nx.Comm, case: Callable[[nx.Comm], Any] = case) -> None:
                with pytest.raises(nx.Mismatch):
                    (case(comm), comm.barrier())  # a rank that only sends may be done before it could know

            comms.run(body)
