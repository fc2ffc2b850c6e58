"""Collectives on ranks of one process: every element of every combination, against numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from oracle import FLOATS, INTEGERS, UFUNCS, average, numpy_type, ops_of

Cluster = Callable[[int], nx.LocalCluster]

DTYPES = ("float32", "float64", "int32", "int64")
COUNTS = (0, 1, 2, 3, 5, 16, 1_000, 65_537)
RANKS = (1, 2, 3, 5)


def array_of(rank: int, count: int, dtype: str) -> np.ndarray[Any, Any]:
    """Small whole numbers, so that sums and products of five ranks are exact in every type and order."""
    values = np.arange(count, dtype=np.int64)
    result: np.ndarray[Any, Any] = ((values * 7 + rank * 13 + values // 5) % 5 - 2).astype(dtype)
    return result


def expected_of(size: int, count: int, dtype: str, op: str) -> np.ndarray[Any, Any]:
    result = array_of(0, count, dtype)
    for rank in range(1, size):
        result = UFUNCS[op](result, array_of(rank, count, dtype))
    return result


@pytest.mark.parametrize("face", ["blocking", "nb"])
@pytest.mark.parametrize("op", UFUNCS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", RANKS)
def test_all_reduce(cluster: Cluster, n: int, dtype: str, op: str, face: str) -> None:
    def body(comm: nx.Comm) -> None:
        for count in COUNTS:
            expected = expected_of(n, count, dtype, op)
            x = array_of(comm.rank, count, dtype)
            before = x.copy()
            out = np.full(count, 99, dtype)
            if face == "nb":
                ops = [comm.nb.all_reduce(x, op), comm.nb.all_reduce(x, op, out=out)]
                y, z = nx.wait_all(ops)
                np.testing.assert_array_equal(x, before)
                w = comm.nb.all_reduce(x, op, out=x).wait()
            else:
                y = comm.all_reduce(x, op)
                z = comm.all_reduce(x, op, out=out)
                np.testing.assert_array_equal(x, before)
                w = comm.all_reduce(x, op, out=x)
            assert z is out
            assert w is x
            assert y.dtype == x.dtype
            for result in (y, z, w):
                np.testing.assert_array_equal(result, expected)

    cluster(n).run(body)


def any_bits(rank: int, count: int, dtype: str) -> np.ndarray[Any, Any]:
    """Whatever the type can hold: subnormals, infinities and NaN among the floats."""
    kind = numpy_type(dtype)
    rng = np.random.default_rng([rank, count])
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    bits = rng.bytes(count * kind.itemsize)
    result: np.ndarray[Any, Any] = np.frombuffer(bits, kind).copy()
    if dtype in FLOATS:
        result[: count // 2] = rng.standard_normal(count // 2).astype(kind)
    return result


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_all_reduce_of_every_type(cluster: Cluster, n: int, dtype: str) -> None:
    """C13, C14: every operator against numpy, over any bits and in the order of ranks; small and large."""
    ufuncs = ops_of(dtype)

    def expected_of(op: str, count: int) -> np.ndarray[Any, Any]:
        result = any_bits(0, count, dtype)
        for rank in range(1, n):
            result = ufuncs[op](result, any_bits(rank, count, dtype))
        return average(result, n, dtype) if op == "avg" else result

    def body(comm: nx.Comm) -> None:
        for op, count in itertools.product(ufuncs, (1, 1_003, 40_000)):
            x = any_bits(comm.rank, count, dtype)
            y = comm.all_reduce(x, op)
            assert y.dtype == x.dtype
            with np.errstate(all="ignore"):  # they are right to warn of NaN
                expected = expected_of(op, count)
                if dtype in FLOATS:  # numpy's test knows NaN in its own types alone
                    y, expected = y.astype("f8"), expected.astype("f8")
            np.testing.assert_array_equal(y, expected, f"{op}, {count} elements")

    cluster(n).run(body)


@pytest.mark.parametrize(
    ("dtype", "op", "words"),
    [
        (
            "float32",
            "band",
            "band of float32 does not exist; float32 takes sum, prod, min, max, avg, and band is for int8",
        ),
        ("bfloat16", "bxor", "bxor of bfloat16 does not exist"),
        (
            "bool",
            "sum",
            "sum of bool does not exist; bool takes prod, min, max, band, bor, bxor, and sum is for float32",
        ),
        ("bool", "avg", "avg of bool does not exist"),
    ],
)
def test_operators_that_a_type_does_not_have(cluster: Cluster, dtype: str, op: str, words: str) -> None:
    def body(comm: nx.Comm) -> None:
        with pytest.raises(nx.UsageError, match=words) as caught:
            comm.all_reduce(np.ones(3, numpy_type(dtype)), op)
        assert caught.value.code_name == "EINVAL"

    cluster(2).run(body)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_results_have_the_same_bits_on_all_ranks(cluster: Cluster, n: int) -> None:
    """Of numbers whose sum depends on the order."""

    def body(comm: nx.Comm, count: int) -> bytes:
        x = np.random.default_rng(comm.rank).standard_normal(count, np.float32)
        result: bytes = comm.all_reduce(x).tobytes()
        return result

    for count in (3, 1_000, 300_001):
        assert len(set(cluster(n).run(body, count))) == 1


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", [(), (1, 1), (2, 0), (3, 4, 5)])
def test_shapes(cluster: Cluster, n: int, shape: tuple[int, ...]) -> None:
    def body(comm: nx.Comm) -> None:
        y = comm.all_reduce(np.full(shape, comm.rank + 1, np.int64))
        assert y.shape == shape
        assert (y == n * (n + 1) // 2).all()

    cluster(n).run(body)


def test_inputs_that_must_be_copied(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        x = np.arange(24.0).reshape(4, 6) + comm.rank
        for view in (x[:, ::2], x.T, x[::-1], x.astype(">f8")):
            np.testing.assert_array_equal(comm.all_reduce(view), np.asarray(view, "f8") * 2 - comm.rank * 2 + 1)

    cluster(2).run(body)


def test_other_containers(cluster: Cluster) -> None:
    import array

    def body(comm: nx.Comm) -> None:
        x = array.array("d", [1.0, float(comm.rank)])
        y = comm.all_reduce(x)
        assert isinstance(y, np.ndarray)
        assert y.tolist() == [2.0, 1.0]
        comm.all_reduce(x, "max", out=x)
        assert x.tolist() == [1.0, 1.0]
        assert comm.all_reduce(np.float64(comm.rank)).tolist() == 1.0

    cluster(2).run(body)


@pytest.mark.parametrize("n", RANKS)
def test_broadcast(cluster: Cluster, n: int) -> None:
    def body(comm: nx.Comm) -> None:
        for root in range(n):
            for dtype in ("float32", "int64", "uint8", "bool", "complex128", "M8[s]"):
                for count in (0, 1, 7, 1_000, 100_003):
                    pattern = (np.arange(count) % 2).astype("i8").astype(dtype)
                    x = pattern.copy() if comm.rank == root else np.ones(count, "i8").astype(dtype)
                    assert comm.broadcast(x, root) is x
                    np.testing.assert_array_equal(x, pattern)

    cluster(n).run(body)


def test_broadcast_of_what_the_root_may_only_read(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        x: Any = b"from rank 1" if comm.rank == 1 else bytearray(11)
        comm.broadcast(x, root=1)
        assert x == b"from rank 1"
        y = np.arange(10)[::2] if comm.rank == 0 else np.zeros(5, np.int64)
        comm.nb.broadcast(y).wait()
        assert y.tolist() == [0, 2, 4, 6, 8]

    cluster(2).run(body)


@pytest.mark.parametrize("n", RANKS)
def test_barrier(cluster: Cluster, n: int) -> None:
    entered: list[int] = []

    def body(comm: nx.Comm) -> None:
        for turn in range(20):
            entered.append(turn)
            comm.barrier()
            assert entered.count(turn) == n
            comm.nb.barrier().wait()

    cluster(n).run(body)


def test_many_at_once(cluster: Cluster) -> None:
    """Non-blocking ones may overlap, and be waited for in any order."""

    def body(comm: nx.Comm) -> None:
        ops = [comm.nb.all_reduce(np.full(1_000 + i, comm.rank + i)) for i in range(40)]
        for i in reversed(range(40)):
            assert (ops[i].wait() == 3 * i + 3).all()

    cluster(3).run(body)


def test_from_several_threads(cluster: Cluster) -> None:
    """p2p beside collectives: each thread has tags of its own, one thread the collectives."""
    import threading

    def body(comm: nx.Comm) -> None:
        other = 1 - comm.rank
        failures: list[BaseException] = []

        def messages(tag: int) -> None:
            try:
                for i in range(50):
                    y = np.zeros(10 + tag, np.int64)
                    comm.sendrecv(np.full(10 + tag, i), other, y, other, tag, tag)
                    assert (y == i).all()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=messages, args=(tag,)) for tag in range(1, 4)]
        for thread in threads:
            thread.start()
        for i in range(50):
            assert comm.all_reduce(np.array([i])) == [2 * i]
        for thread in threads:
            thread.join()
        assert not failures

    cluster(2).run(body)


# --------------------------------------------------------------------------------------------------------- wrong calls
def overlapping(comm: nx.Comm) -> object:
    x = np.zeros(10)
    return comm.all_reduce(x[:8], out=x[2:])


WRONG: list[tuple[Callable[[nx.Comm], object], str]] = [
    (lambda comm: comm.all_reduce(np.zeros(3), "mean"), "all_reduce: op is 'mean'"),
    (lambda comm: comm.all_reduce(np.zeros(3), None), "op is None"),
    (lambda comm: comm.all_reduce([1.0]), "x is list"),
    (lambda comm: comm.all_reduce(np.zeros(3, np.complex64)), "x has dtype complex64"),
    (lambda comm: comm.all_reduce(np.zeros(3), out=np.zeros(4)), "shape"),
    (lambda comm: comm.all_reduce(np.zeros(3), out=np.zeros(3, "f4")), "dtype"),
    (lambda comm: comm.all_reduce(np.zeros(3), out=np.zeros((3, 2))[:, 0]), "out is not contiguous"),
    (lambda comm: comm.all_reduce(np.zeros(3), out=b"x" * 24), "out is read-only"),
    (lambda comm: comm.all_reduce(np.zeros((3, 2))[:, 0], out=np.zeros((3, 2))[:, 0]), "out is not contiguous"),
    (lambda comm: comm.all_reduce(np.zeros(3), timeout="1"), "timeout is '1'"),  # type: ignore[arg-type]
    (lambda comm: comm.all_reduce(np.zeros(3), timeout=-1), "timeout is -1"),
    (lambda comm: comm.all_reduce(np.zeros(3), timeout=float("nan")), "timeout is nan"),
    (lambda comm: comm.all_reduce(np.zeros(3), timeout=True), "timeout is True"),
    (overlapping, "overlap"),
    (lambda comm: comm.broadcast(np.zeros(3), root=3), "broadcast: root is 3; it must be 0 to 2"),
    (lambda comm: comm.broadcast(np.zeros(3), root=-1), "root is -1"),
    (lambda comm: comm.broadcast(np.zeros(3), root=1.0), "root is 1.0"),  # type: ignore[arg-type]
    (lambda comm: comm.broadcast(np.zeros(3), root=True), "root is True"),
    (lambda comm: comm.broadcast(b"xyz", root=(comm.rank + 1) % 3), "x is read-only"),
    (lambda comm: comm.barrier(timeout=[]), "timeout is"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_arguments_are_found_before_anything_is_sent(
    cluster: Cluster, call: Callable[[nx.Comm], object], words: str
) -> None:
    """C10, and: nothing was sent, so that the communicator goes on as if nothing had been."""

    def body(comm: nx.Comm) -> None:
        before = comm.stats()["transports"]["quic"]["messages_sent"]
        with pytest.raises(nx.UsageError, match=words):
            call(comm)
        assert comm.stats()["transports"]["quic"]["messages_sent"] == before
        comm.barrier()
        assert comm.all_reduce(np.array([1])) == [3]

    comms = cluster(3)
    comms.run(lambda comm: comm.barrier())
    comms.run(body)


def test_c10_wrong_root_does_not_hang(cluster: Cluster) -> None:
    for root in (2, 1 << 31, (1 << 32) - 1, 1 << 40):
        with pytest.raises(nx.UsageError, match="root"):
            cluster(2)[0].broadcast(np.zeros(1), root=root)


def test_mismatch_names_both_calls(pair: nx.LocalCluster) -> None:
    """C8, C9: ranks that call different things get an error, never a wrong sum and never a hang."""

    def body(comm: nx.Comm) -> nx.Mismatch:
        with pytest.raises(nx.Mismatch) as caught:
            comm.all_reduce(np.zeros(3 + comm.rank, np.float32))
        with pytest.raises(nx.Mismatch):
            comm.barrier()  # nor anything else
        return caught.value

    for error in pair.run(body):
        assert "float32" in str(error)
        assert "3" in str(error)
        assert "4" in str(error)
        assert error.op == "all_reduce"


def test_timeout_names_who_did_not_come(pair: nx.LocalCluster) -> None:
    with pytest.raises(nx.Timeout) as caught:
        pair[0].all_reduce(np.zeros(3), timeout=0.2)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.op, error.peer, error.comm) == ("all_reduce", 1, pair[0].id)
    assert error.seq is not None
    assert 0.15 < error.elapsed < 5
    assert "rank 1" in str(error)


def test_l1_nothing_is_left_behind(cluster: Cluster) -> None:
    """L1: the reference keeps 9 kB of each all_reduce for ever."""

    def body(comm: nx.Comm) -> None:
        x = np.ones(4, np.float32)
        for _ in range(200):
            comm.all_reduce(x, out=x)
        comm.barrier()
        before = comm.stats()["memory"]["allocations"]
        for _ in range(500):
            comm.all_reduce(x, "max", out=x)
        comm.barrier()
        assert comm.stats()["memory"]["allocations"] - before <= 50

    cluster(3).run(body)


def test_stats(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        before = comm.stats()
        comm.all_reduce(np.zeros(1_000))
        comm.barrier()
        after = comm.stats()
        assert (after["rank"], after["size"]) == (comm.rank, 2)
        assert after["ops"]["all_reduce"] == before["ops"]["all_reduce"] + 1
        assert after["ops"]["barrier"] == before["ops"]["barrier"] + 1
        sent = [sum(way["bytes_sent"] for way in stats["transports"].values()) for stats in (before, after)]
        assert sent[1] >= sent[0] + 4_000
        assert {"pool", "copies"} <= after.keys()

    cluster(2).run(body)
