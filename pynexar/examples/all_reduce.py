"""The main job: real arrays, reduced over all ranks, every element checked.

nexar run -n 4 -m pynexar.examples.all_reduce
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

import pynexar as nx

DTYPES = (np.float32, np.float64, np.int32, np.int64)
OPS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}
COUNTS = (0, 1, 2, 3, 4, 5, 1_000, 65_537, 1_048_583)


def array_of(rank: int, count: int, dtype: Any) -> np.ndarray[Any, Any]:
    """What a rank brings: small whole numbers, so that sums and products are exact in every type and order."""
    values = np.arange(count, dtype=np.int64)
    return ((values * 7 + rank * 13 + values // 5) % 5 - 2).astype(dtype)


def check(comm: nx.Comm, count: int, dtype: Any, op: str) -> tuple[int, float]:
    """One all_reduce; how many elements are wrong, and the seconds it took."""
    x = array_of(comm.rank, count, dtype)
    expected = array_of(0, count, dtype)
    for rank in range(1, comm.size):
        expected = OPS[op](expected, array_of(rank, count, dtype))
    began = time.perf_counter()
    y = comm.all_reduce(x, op)
    seconds = time.perf_counter() - began
    wrong = int((y != expected).sum())
    comm.all_reduce(x, op, out=x)  # in place
    return wrong + int((x != expected).sum()), seconds


def main() -> int:
    began = time.perf_counter()
    with nx.init() as comm:
        calls = elements = wrong = 0
        slowest = 0.0
        for count in COUNTS:
            for dtype in DTYPES:
                for op in OPS:
                    errors, seconds = check(comm, count, dtype, op)
                    calls += 2
                    elements += 2 * count
                    wrong += errors
                    slowest = max(slowest, seconds)
        print(f"rank {comm.rank} of {comm.size}: {calls} all_reduces, {elements} elements, {wrong} wrong", flush=True)

        all_wrong = int(comm.all_reduce(np.array(wrong, np.int64)))
        if comm.rank == 0:
            verdict = "every element is right" if all_wrong == 0 else f"{all_wrong} elements are WRONG"
            print(f"{comm.size} ranks over QUIC in {time.perf_counter() - began:.2f} s: {verdict}; "
                  f"the slowest all_reduce took {slowest * 1e3:.1f} ms")  # fmt: skip
        return 1 if all_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
