"""Every collective x type x operator x number of ranks x blocking or not x in place or not, each element by numpy.

By default a sample that has every type, operator, size and way of every collective; all with --full.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import pynexar as nx
from oracle import DTYPES, Array, elements, equal, identity, numpy_type, ops_of, reduction

Cluster = Callable[[int], nx.LocalCluster]

FULL = bool(os.environ.get("NX_TEST_FULL"))
RANKS = (1, 2, 3, 5, 7, 8)
LENGTHS = (0, 1, 3, 1_003, 20_011)  # of one rank's block; small, gathered, and over 64 KiB
SAMPLE = 7  # one of so many: shares no factor with the ways to call with one dtype and op, so that all of them come


class Case(NamedTuple):
    """One call on one rank."""

    comm: nx.Comm
    dtype: str
    op: str
    length: int
    nb: bool
    in_place: bool
    root: int

    @property
    def n(self) -> int:
        return self.comm.size

    @property
    def rank(self) -> int:
        return self.comm.rank

    def mine(self, *shape: int) -> Array:
        return elements(self.rank, shape, self.dtype).copy()

    def all(self, *shape: int) -> list[Array]:
        return [elements(rank, shape, self.dtype) for rank in range(self.n)]

    def reduced(self, *shape: int, ranks: int | None = None) -> Array:
        return reduction(self.n if ranks is None else ranks, shape, self.op, self.dtype)

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        if self.nb:
            return getattr(self.comm.nb, name)(*arguments, **named).wait()
        return getattr(self.comm, name)(*arguments, **named)

    def check(self, got: Any, expected: Array | None, out: Any = None) -> None:
        if expected is None:
            assert got is None
            return
        assert out is None or got is out
        equal(got, expected, str(self))

    def __str__(self) -> str:
        ways = ["blocking", "nb"][self.nb] + [", new", ", in place"][self.in_place]
        return f"rank {self.rank} of {self.n}, root {self.root}: {self.op} of {self.length} {self.dtype}, {ways}"


def all_reduce(case: Case) -> None:
    x = case.mine(case.length)
    out = x if case.in_place else None
    case.check(case.call("all_reduce", x, case.op, out=out), case.reduced(case.length), out)
    if not case.in_place:
        equal(x, case.mine(case.length), f"{case}, what was given")


def reduce(case: Case) -> None:
    x = case.mine(case.length)
    out = x if case.in_place and case.rank == case.root else None
    expected = case.reduced(case.length) if case.rank == case.root else None
    case.check(case.call("reduce", x, case.op, case.root, out=out), expected, out)


def scan(case: Case) -> None:
    x = case.mine(case.length)
    out = x if case.in_place else None
    case.check(case.call("scan", x, case.op, out=out), case.reduced(case.length, ranks=case.rank + 1), out)


def exclusive_scan(case: Case) -> None:
    x = case.mine(case.length)
    out = x if case.in_place else None
    if case.rank == 0:
        expected = np.full(case.length, identity(case.op, case.dtype)).astype(numpy_type(case.dtype))
    else:
        expected = case.reduced(case.length, ranks=case.rank)
    case.check(case.call("exclusive_scan", x, case.op, out=out), expected, out)


def reduce_scatter(case: Case) -> None:
    x = case.mine(case.n, case.length)
    out = x[case.rank] if case.in_place else None
    expected = case.reduced(case.n, case.length)[case.rank]
    case.check(case.call("reduce_scatter", x, case.op, out), expected, out)


def broadcast(case: Case) -> None:
    x = case.mine(case.length)
    case.check(case.call("broadcast", x, case.root), elements(case.root, (case.length,), case.dtype), x)


def all_gather(case: Case) -> None:
    expected = np.stack(case.all(case.length))
    x, out = case.mine(case.length), None
    if case.in_place:
        out = np.zeros_like(expected)
        out[case.rank] = x
        x = out[case.rank]
    case.check(case.call("all_gather", x, out), expected, out)


def gather(case: Case) -> None:
    expected = np.stack(case.all(case.length))
    x, out = case.mine(case.length), None
    if case.in_place and case.rank == case.root:
        out = np.zeros_like(expected)
        out[case.rank] = x
        x = out[case.rank]
    case.check(case.call("gather", x, case.root, out), expected if case.rank == case.root else None, out)


def scatter(case: Case) -> None:
    whole = elements(case.root, (case.n, case.length), case.dtype)
    x = whole.copy() if case.rank == case.root else None
    out = x[case.rank] if case.in_place and x is not None else np.zeros(case.length, numpy_type(case.dtype))
    case.check(case.call("scatter", x, case.root, out), whole[case.rank], out)


def all_to_all(case: Case) -> None:
    expected = np.stack([x[case.rank] for x in case.all(case.n, case.length)])
    out = np.zeros_like(expected) if case.in_place else None  # into memory of the caller; there is no in place
    case.check(case.call("all_to_all", case.mine(case.n, case.length), out), expected, out)


def ragged(case: Case) -> None:
    """The forms with unequal counts, zeros among them."""
    counts = [case.length * ((3 * rank + case.root) % 4) // 3 for rank in range(case.n)]
    begin = sum(counts[: case.rank])
    mine = slice(begin, begin + counts[case.rank])
    parts = [elements(rank, (rows,), case.dtype) for rank, rows in enumerate(counts)]
    whole = np.concatenate(parts)
    case.check(case.call("all_gather", parts[case.rank], counts=counts), whole)
    gathered = case.call("gather", parts[case.rank], case.root, counts=counts)
    case.check(gathered, whole if case.rank == case.root else None)
    given = whole if case.rank == case.root else None
    out = np.zeros(counts[case.rank], whole.dtype)
    case.check(case.call("scatter", given, case.root, out, counts=counts), parts[case.rank], out)
    reduced = case.call("reduce_scatter", case.mine(sum(counts)), case.op, counts=counts)
    case.check(reduced, case.reduced(sum(counts))[mine])
    rows = [[case.length * ((a + 2 * b) % 3) // 2 for b in range(case.n)] for a in range(case.n)]  # from a to b
    sent = elements(case.rank, (sum(rows[case.rank]),), case.dtype)
    received = []
    for rank in range(case.n):
        first = sum(rows[rank][: case.rank])
        theirs = elements(rank, (sum(rows[rank]),), case.dtype)
        received.append(theirs[first : first + rows[rank][case.rank]])
    counted = {"send_counts": rows[case.rank], "recv_counts": [len(x) for x in received]}
    case.check(case.call("all_to_all", sent, **counted), np.concatenate(received))


REDUCING = (all_reduce, reduce, scan, exclusive_scan, reduce_scatter, ragged)
MOVING = (broadcast, all_gather, gather, scatter, all_to_all)


def cases(n: int, call: Callable[[Case], None]) -> list[tuple[str, str, int, bool, bool, int]]:
    """(dtype, op, length, nb, in place, root)"""
    roots = {0, n // 2, n - 1}
    found = [
        (dtype, op, *rest)
        for dtype in DTYPES
        for op in (ops_of(dtype) if call in REDUCING else ["sum"])
        if op != "avg" or call not in (scan, exclusive_scan)
        for rest in itertools.product(LENGTHS, [False, True], [False, True], roots)
    ]
    step = 1 if FULL else SAMPLE if n == 1 or call in MOVING else 5 * SAMPLE
    return found[n % step :: step]


@pytest.mark.timeout(900 if FULL else 120)
@pytest.mark.parametrize("call", [*REDUCING, *MOVING])
@pytest.mark.parametrize("n", RANKS)
def test_matrix(cluster: Cluster, n: int, call: Callable[[Case], None]) -> None:
    def body(comm: nx.Comm) -> None:
        for case in cases(n, call):
            call(Case(comm, *case))

    cluster(n).run(body)


@pytest.mark.parametrize("call", [*REDUCING, *MOVING])
def test_the_sample_has_everything(call: Callable[[Case], None]) -> None:
    for n in RANKS:
        for axis, values in enumerate([DTYPES, None, LENGTHS, (False, True), (False, True), {0, n // 2, n - 1}]):
            if values is not None:
                assert {case[axis] for case in cases(n, call)} == set(values), (n, axis)
        pairs = {case[:2] for case in cases(n, call)}
        assert call not in REDUCING or len(pairs) > 70, n
