"""Ranks that call different things: each gets a Mismatch that names both calls, at once; never a wrong sum, never a
hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx

Call = Callable[[nx.Comm], Any]


def reduce(count: int, dtype: str = "float32", op: str = "sum") -> tuple[Call, str]:
    return lambda comm: comm.all_reduce(np.ones(count, dtype), op, timeout=20), f"all_reduce({count} x {dtype}, {op})"


def broadcast(count: int, dtype: str = "float32", root: int = 0) -> tuple[Call, str]:
    return (
        lambda comm: comm.broadcast(np.ones(count, dtype), root, timeout=20),
        f"broadcast({count} x {dtype}, root {root})",
    )


BARRIER: tuple[Call, str] = (lambda comm: comm.barrier(timeout=20), "barrier()")

# What most ranks call, and what one of them calls.
DIFFERENT = {
    "operator": (reduce(5), reduce(5, op="max")),
    "type": (reduce(5), reduce(5, "int32")),
    "type and count, same bytes": (reduce(4), reduce(2, "float64")),
    "one element more": (reduce(1000), reduce(1001)),
    "no elements": (reduce(5), reduce(0)),
    "another algorithm": (reduce(10), reduce(1_000_000)),
    "large": (reduce(3_000_000), reduce(3_000_000, op="min")),
    "root": (broadcast(5), broadcast(5, root=1)),
    "length": (broadcast(5), broadcast(6)),
    "type of what is sent": (broadcast(5), broadcast(5, "int32")),
    "large ones": (broadcast(2_000_000), broadcast(2_000_001)),
    "reduce, barrier": (reduce(5), BARRIER),
    "barrier, reduce": (BARRIER, reduce(5)),
    "broadcast, reduce": (broadcast(5), reduce(5)),
    "barrier, broadcast": (BARRIER, broadcast(1)),
    "broadcast, barrier": (broadcast(5), BARRIER),
}


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("case", DIFFERENT)
def test_c8_different_calls(case: str, n: int) -> None:
    (most, their_text), (other, my_text) = DIFFERENT[case]
    odd = n - 1

    def body(comm: nx.Comm) -> nx.Mismatch:
        def calls() -> None:
            (other if comm.rank == odd else most)(comm)
            comm.barrier(timeout=20)  # one that only sends may not hear of it before

        with pytest.raises(nx.Mismatch) as caught:
            calls()
        with pytest.raises(nx.Mismatch):
            comm.all_reduce(np.ones(1), timeout=20)  # nobody knows any more which call belongs to which
        return caught.value

    with nx.local_cluster(n) as comms:
        began = time.monotonic()
        errors = comms.run(body)
        assert time.monotonic() - began < 10
    for rank, error in enumerate(errors):
        assert their_text in str(error), (rank, str(error))
        assert my_text in str(error), (rank, str(error))
        assert error.comm is not None
        assert error.seq in (1, 2)
