"""all_reduce in fewer bytes: a training that converges, results bit for bit by numpy, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx

Cluster = Callable[[int], nx.LocalCluster]
Array = np.ndarray[Any, Any]
Make = Callable[[], "nx.Compression | None"]

RANKS = (1, 2, 3, 5, 7, 8)


def bytes_sent(comm: nx.Comm) -> int:
    return int(sum(transport["bytes_sent"] for transport in comm.stats()["transports"].values()))


def vector(rank: int, count: int, seed: int = 0) -> Array:
    """Of very different magnitudes, so that sums must be rounded."""
    rng = np.random.default_rng((rank, seed))
    return (rng.standard_normal(count) * 10.0 ** rng.integers(-6, 6, count)).astype("f4")


# ------------------------------------------------------------------------------------------------------------- training
INPUTS, OUTPUTS, ROWS, STEPS, RATE = 20, 450, 100, 200, 0.05


def training(comm: nx.Comm, make: Make) -> tuple[float, int]:
    """Least squares by gradient descent; each rank has data of its own, which wants other weights than the others'.

    Returns the loss over the data of all ranks, beside which that of the best weights is 1, and the bytes sent.
    """
    rng = np.random.default_rng(comm.rank)
    x = rng.standard_normal((ROWS, INPUTS)).astype("f4")
    y = (x @ rng.standard_normal((INPUTS, OUTPUTS)) + rng.standard_normal((ROWS, OUTPUTS))).astype("f4")
    weights = np.zeros((INPUTS, OUTPUTS), "f4")
    compression = make()
    before = bytes_sent(comm)
    for _ in range(STEPS):
        gradient = x.T @ (x @ weights - y) / ROWS
        weights -= RATE * comm.all_reduce(gradient, "avg", compression=compression)
    sent = bytes_sent(comm) - before
    everybody = comm.all_gather(weights)
    assert (everybody == weights).all()  # the same bits
    all_x, all_y = (comm.all_gather(part).reshape(-1, part.shape[1]).astype("f8") for part in (x, y))
    best = np.linalg.lstsq(all_x, all_y, rcond=None)[0]
    loss = ((all_x @ weights - all_y) ** 2).mean() / ((all_x @ best - all_y) ** 2).mean()
    return float(loss), sent


@pytest.fixture(scope="module")
def plain() -> tuple[float, int]:
    """Loss and bytes without compression, in messages, as few of them as of compressed vectors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXAR_COLL_TUNE", "all_reduce:0-:direct")
        with nx.local_cluster(4, nx.Config(transports="quic")) as cluster:
            loss, sent = cluster.run(training, lambda: None)[0]
    assert 1 <= loss < 1.0005
    return float(loss), int(sent)


# Of each: by how much its loss may be worse, and which part of the bytes it sends.  The values of random_k are so few
# that they go to all ranks at once, in one round, which doubles their bytes.
CONVERGE: list[tuple[str, Make, float, float]] = [
    ("bfloat16", nx.BFloat16, 1e-4, 0.5),
    ("float8", nx.Float8, 1e-3, 0.255),
    ("int8", nx.Int8, 1e-3, 0.255),
    ("top_k 10 %", lambda: nx.TopK(0.1), 5e-3, 0.4),
    ("random_k 10 %", lambda: nx.RandomK(0.1, seed=5), 5e-4, 0.2),
]


@pytest.mark.parametrize(("make", "worse", "part"), [row[1:] for row in CONVERGE], ids=[row[0] for row in CONVERGE])
def test_training_converges_with_fewer_bytes(
    cluster: Cluster, plain: tuple[float, int], make: Make, worse: float, part: float
) -> None:
    for loss, sent in cluster(4).run(training, make):
        assert abs(loss / plain[0] - 1) < worse
        assert sent == pytest.approx(part * plain[1], rel=0.03)


def test_training_by_the_greatest_alone_does_not_converge(cluster: Cluster, plain: tuple[float, int]) -> None:
    loss, _ = cluster(4).run(training, lambda: nx.TopK(0.1, feedback=False))[0]
    assert loss > 1.1 * plain[0]


# ------------------------------------------------------------------------------------------------------ bits by numpy
def bfloat16(x: Array) -> Array:
    return x.astype(pytest.importorskip("ml_dtypes").bfloat16).astype("f4")


def scaled(x: Array, block: int, most: float, codes: Callable[[Array], Array]) -> Array:
    """By blocks from the begin on: what the codes stand for."""
    result = np.empty_like(x)
    for begin in range(0, len(x), block):
        part = x[begin : begin + block]
        scale = np.abs(part).max() / np.float32(most)
        result[begin : begin + block] = codes(part / scale if scale else part) * scale
    return result


def float8(block: int) -> Callable[[Array], Array]:
    def codes(x: Array) -> Array:
        return np.clip(x, -448, 448).astype(pytest.importorskip("ml_dtypes").float8_e4m3fn).astype("f4")

    return lambda x: scaled(x, block, 448, codes)


def int8(block: int) -> Callable[[Array], Array]:
    return lambda x: scaled(x, block, 127, lambda y: np.clip(np.rint(y), -127, 127) + np.float32(0))


DENSE: list[tuple[Make, Callable[[Array], Array]]] = [
    (nx.BFloat16, bfloat16),
    (nx.Float8, float8(256)),
    (lambda: nx.Float8(block=20), float8(20)),
    (nx.Int8, int8(256)),
    (lambda: nx.Int8(64), int8(64)),
]


@pytest.mark.parametrize("op", ["sum", "avg"])
@pytest.mark.parametrize(("make", "code"), DENSE, ids=lambda value: "" if callable(value) else None)
@pytest.mark.parametrize("n", RANKS)
def test_dense_by_numpy(cluster: Cluster, n: int, make: Make, code: Callable[[Array], Array], op: str) -> None:
    """Each vector rounded once, added by rank, the sum rounded once more; avg divides in the end."""

    def each(comm: nx.Comm) -> None:
        for count in (0, 1, 5, 257, 10_007):
            want = code(vector(0, count))
            for rank in range(1, n):
                want = want + code(vector(rank, count))
            want = code(want) / np.float32(n if op == "avg" else 1)
            x = vector(comm.rank, count)
            got = comm.all_reduce(x, op, compression=make())
            assert got.tobytes() == want.tobytes()
            assert comm.nb.all_reduce(x, op, x, make()).wait() is x
            assert x.tobytes() == want.tobytes()

    cluster(n).run(each)


def top_k(x: Array, k: int) -> Array:
    """Where the k greatest are, of equals the first ones."""
    chosen: Array = np.sort(np.argsort(-np.abs(x), kind="stable")[:k])
    return chosen


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("n", RANKS)
def test_top_k_by_numpy(cluster: Cluster, n: int, feedback: bool) -> None:
    def each(comm: nx.Comm) -> None:
        for count in (1, 10, 999):
            k = -(-count * 3 // 20)
            compression = nx.TopK(0.15, feedback)
            left = np.zeros((n, count), "f4")
            for step in range(3):
                want = np.zeros(count, "f4")
                for rank in range(n):
                    whole = np.round(vector(rank, count, step), 1) + left[rank]
                    chosen = top_k(whole, k)
                    want[chosen] += whole[chosen]
                    if feedback:
                        left[rank] = whole
                        left[rank, chosen] = 0
                x = np.round(vector(comm.rank, count, step), 1)
                got = comm.all_reduce(x, out=x if step == 1 else None, compression=compression)
                assert got.tobytes() == want.tobytes()
                if feedback:
                    assert compression.residual.tobytes() == left[comm.rank].tobytes()
                else:
                    assert compression.residual is None

    cluster(n).run(each)


@pytest.mark.parametrize("n", RANKS)
def test_random_k_sends_each_element_in_turn_and_loses_nothing(cluster: Cluster, n: int) -> None:
    """Whole numbers, whose sums are exact: what came and what was left behind are what was given."""

    def each(comm: nx.Comm) -> None:
        compression = nx.RandomK(0.1, seed=9)
        x = np.arange(1000, dtype="f4") % 97 + 1 + comm.rank
        came = np.zeros(1000)
        seen = np.zeros(1000, bool)
        for step in range(1, 60):
            y = comm.all_reduce(x, compression=compression)
            assert np.count_nonzero(y) <= 100
            came += y
            seen |= y != 0
            left = comm.all_reduce(compression.residual)
            assert (came + left == step * comm.all_reduce(x)).all()
            assert compression.step == step
        assert seen.mean() > 0.99

    cluster(n).run(each)


def test_c4_elements_are_added_once(cluster: Cluster) -> None:
    """Top 1 of 4 ranks, each another one."""

    def each(comm: nx.Comm) -> None:
        x = np.eye(4, dtype="f4")[comm.rank]
        assert comm.all_reduce(x, compression=nx.TopK(0.25)).tolist() == [1, 1, 1, 1]

    cluster(4).run(each)


def test_what_is_not_a_number(cluster: Cluster) -> None:
    def each(comm: nx.Comm) -> None:
        x = np.array([np.nan, np.inf, 1, -np.inf], "f4")
        with np.errstate(invalid="ignore"):
            assert np.isnan(comm.all_reduce(x, compression=nx.BFloat16())).tolist() == [True, False, False, False]
        for make in (nx.Float8, nx.Int8):
            assert np.isnan(comm.all_reduce(x, compression=make())).tolist() == [True, True, False, True]
        y = comm.all_reduce(x, compression=nx.TopK(0.25))
        assert np.isnan(y[0])
        assert (y[1:] == 0).all()

    cluster(3).run(each)


# --------------------------------------------------------------------------------------------- what an object remembers
@pytest.mark.parametrize("make", [lambda: nx.TopK(0.5), lambda: nx.RandomK(0.5, 3)])
def test_an_object_belongs_to_one_tensor(cluster: Cluster, make: Callable[[], Any]) -> None:
    def each(comm: nx.Comm) -> None:
        compression = make()
        assert compression.residual is None
        comm.all_reduce(np.ones((2, 3), "f4"), compression=compression)
        assert compression.residual.shape == (2, 3)
        with pytest.raises(nx.UsageError, match=r"x has shape \(6,\), and what .* has left behind \(2, 3\)"):
            comm.all_reduce(np.ones(6, "f4"), compression=compression)
        compression.reset()
        assert compression.residual is None
        comm.all_reduce(np.ones(6, "f4"), compression=compression)
        compression.residual = np.arange(4)
        assert compression.residual.dtype == "f4"
        comm.all_reduce(np.ones(4, "f4"), compression=compression)
        assert getattr(compression, "step", 2) == 2

    cluster(2).run(each)


def test_an_object_has_one_operation_at_a_time(pair: nx.LocalCluster) -> None:
    compression = nx.TopK(0.5)
    x = np.ones(8, "f4")
    first = pair[0].nb.all_reduce(x, compression=compression)
    for use in (
        lambda: pair[0].nb.all_reduce(x, compression=compression),
        compression.reset,
        lambda: setattr(compression, "residual", None),
    ):
        with pytest.raises(nx.UsageError, match="is in use by an operation that nobody has waited for"):
            use()
    assert pair[1].all_reduce(x, compression=nx.TopK(0.5)).tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    first.wait()
    assert compression.residual.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    compression.reset()


@pytest.mark.parametrize("make", [lambda: nx.TopK(0.5), lambda: nx.RandomK(0.5, 3)])
def test_failure_leaves_what_was_left_behind(pair: nx.LocalCluster, make: Callable[[], Any]) -> None:
    compression = make()
    compression.residual = np.arange(8)
    with pytest.raises(nx.Timeout):
        pair[0].all_reduce(np.ones(8, "f4"), compression=compression, timeout=0.05)
    assert compression.residual.tolist() == list(range(8))


def test_refused_calls_leave_an_object_as_it_was(cluster: Cluster) -> None:
    def each(comm: nx.Comm) -> None:
        compression = nx.RandomK(0.5)
        with pytest.raises(nx.UsageError):
            comm.all_reduce(np.ones(8, "f4"), "max", compression=compression)
        assert compression.residual is None
        assert compression.step == 0
        comm.all_reduce(np.ones((2, 2), "f4"), compression=compression)

    cluster(2).run(each)


# -------------------------------------------------------------------------------------------------------- what is wrong
WRONG: list[tuple[Callable[[nx.Comm], Any], str]] = [
    (lambda c: c.all_reduce(np.ones(3), compression=nx.Int8()), "x has dtype float64; sum and avg of float32 can"),
    (
        lambda c: c.all_reduce(np.ones(3, "i4"), compression=nx.TopK(0.5)),
        "x has dtype int32; sum and avg of float32 can",
    ),
    (lambda c: c.all_reduce(np.ones(3, "f2"), compression=nx.BFloat16()), "x has dtype float16"),
    (lambda c: c.all_reduce(np.ones(3, "f4"), "max", compression=nx.Int8()), "max of float32 cannot be compressed"),
    (lambda c: c.all_reduce(np.ones(3, "f4"), "prod", compression=nx.TopK(0.5)), "prod of float32 cannot"),
    (lambda c: c.all_reduce(np.ones(3, "f4"), "most", compression=nx.Int8()), "op is 'most'"),
    (
        lambda c: c.all_reduce(np.ones(3, "f4"), compression="int8"),
        "compression is 'int8'; it must be nexar.BFloat16()",
    ),
    (lambda c: c.all_reduce(np.ones(3, "f4"), compression=nx.Int8), "it must be nexar.BFloat16()"),
    (lambda c: c.all_reduce(np.ones(3, "f4"), "sum", np.ones(4, "f4"), nx.Int8()), "out has shape (4,)"),
    (lambda c: c.all_reduce(np.ones(3, "f4"), "sum", np.ones(3), nx.Int8()), "out has dtype float64"),
    (lambda c: c.all_reduce("text", compression=nx.Int8()), "x is str"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_c5_wrong_arguments_are_found_before_anything_is_sent(
    cluster: Cluster, call: Callable[[nx.Comm], Any], words: str
) -> None:
    comm = cluster(3)[1]
    before = bytes_sent(comm)
    with pytest.raises(nx.UsageError) as error:
        call(comm)
    assert words in str(error.value)
    assert bytes_sent(comm) == before


WRONGLY_MADE: list[tuple[Callable[[], Any], str]] = [
    (lambda: nx.TopK(0), "ratio is 0; it must be a number above 0, at most 1"),
    (lambda: nx.TopK(1.01), "ratio is 1.01"),
    (lambda: nx.TopK(float("nan")), "ratio is nan"),
    (lambda: nx.TopK("1"), "ratio is '1'"),  # type: ignore[arg-type]
    (lambda: nx.RandomK(True), "ratio is True"),
    (lambda: nx.RandomK(0.1, -1), "seed is -1"),
    (lambda: nx.RandomK(0.1, 1.5), "seed is 1.5"),  # type: ignore[arg-type]
    (lambda: nx.Int8(0), "block is 0; it must be a multiple of 4"),
    (lambda: nx.Int8(6), "block is 6; it must be a multiple of 4"),
    (lambda: nx.Float8(-4), "block is -4"),
    (lambda: nx.Float8(1 << 40), "block is"),
]


@pytest.mark.parametrize(("make", "words"), WRONGLY_MADE, ids=[words for _, words in WRONGLY_MADE])
def test_wrong_parameters(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(nx.UsageError) as error:
        make()
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (nx.Int8, lambda: None, "all_reduce_compressed(8 x float32, sum, int8"),
        (nx.Int8, nx.Float8, "float8"),
        (lambda: nx.Int8(8), lambda: nx.Int8(16), "int8"),
        (lambda: nx.TopK(0.25), lambda: nx.TopK(0.5), "top_k"),
        (lambda: nx.RandomK(0.25, 1), lambda: nx.RandomK(0.25, 2), "random_k"),
    ],
)
def test_ranks_that_disagree(pair: nx.LocalCluster, one: Make, other: Make, words: str) -> None:
    def each(comm: nx.Comm) -> None:
        with pytest.raises(nx.Mismatch) as error:
            comm.all_reduce(np.ones(8, "f4"), compression=one() if comm.rank == 0 else other())
        assert words in str(error.value)

    pair.run(each)


def test_repr() -> None:
    made = [nx.BFloat16(), nx.Float8(), nx.Int8(8), nx.TopK(0.01), nx.RandomK(0.5, 7, feedback=False)]
    assert str(made) == (
        "[BFloat16(), Float8(block=256), Int8(block=8), TopK(0.01), RandomK(0.5, seed=7, feedback=False)]"
    )
