"""How nexar bench measures: rows of calls back to back, timed as a whole on the clock that all ranks of a host share.

A sample is the time from the first rank's start of a row to the last rank's end of it, divided by the calls; a row
takes at least 20 ms, so that stalls count.  On several hosts, whose clocks differ, it is the time of the slowest rank.
What the ranks must agree on they compute from the same numbers, which are exchanged outside of what is timed.
"""

from __future__ import annotations

import itertools
import json
import math
from time import perf_counter as clock

from .cases import CASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .cases import Case
    from .faces import Call

ROW = 0.02  # seconds
CALLS_MOST = 1 << 20
ROWS = (5, 200)  # at least, at most


def measure(face: Any, name: str, nbytes: int, seconds: float) -> dict[str, Any]:
    """One line of the result; the same on all ranks."""
    case = CASES[name][0](face, nbytes)
    wrong = int(face.tell([case.check()]).sum())
    roots = [case.call(root) for root in range(face.size)]  # in turn, so that no rank runs ahead
    calls, took = calls_of_row(case, roots)
    rows = min(max(ROWS[0], int(seconds / (calls * took))), ROWS[1])
    times = sorted(row(case, roots, calls) * case.share * 1e6 for _ in range(rows))
    p50 = times[len(times) // 2]
    algbw = case.nbytes / (p50 * 1e3)
    return {
        "case": name,
        "ranks": face.size,
        "bytes": case.nbytes,
        "dtype": case.dtype,
        "transport": face.transport(),
        "n": len(times),
        "p50_us": round(p50, 3),
        "p99_us": round(times[math.ceil(0.99 * len(times)) - 1], 3),
        "algbw_GBps": round(algbw, 6),
        "busbw_GBps": round(algbw * case.bus, 6),
        "wrong": wrong,
        "face": "python",
        "calls": calls,
    }


def row(case: Case, roots: Sequence[Call], calls: int) -> float:
    """Seconds of one call."""
    face = case.face
    face.barrier()
    began = clock()
    for call in itertools.islice(itertools.cycle(roots), calls):
        call()
    case.finish()
    ended = clock()
    face.barrier()
    times = face.tell([began, ended, ended - began])[: 2 if case.pair else None]
    took = times[:, 1].max() - times[:, 0].min() if face.one_host else times[:, 2].max()
    return float(took) / calls


def calls_of_row(case: Case, roots: Sequence[Call]) -> tuple[int, float]:
    """As many as take long enough, and what one of them takes."""
    row(case, roots, 2)
    calls = 2
    while True:
        took = row(case, roots, calls)
        if took > ROW:
            return 1, took
        if took * calls >= ROW or calls >= CALLS_MOST:
            return calls, took
        calls = min(max(calls + 1, min(int(ROW * 1.3 / took) + 1, calls * 20)), CALLS_MOST)


def supports(face: Any, name: str) -> bool:
    """Whether the library can do it."""
    return hasattr(face, CASES[name][0].needs) and face.size >= CASES[name][0].ranks_least


HEADER = "       bytes       n      p50 us      p99 us  algbw GB/s  busbw GB/s  wrong"
LINE = "{bytes:12} {n:7} {p50_us:11.1f} {p99_us:11.1f} {algbw_GBps:11.3f} {busbw_GBps:11.3f} {wrong:6}"


def measure_all(face: Any, cases: Sequence[tuple[str, Sequence[int]]], seconds: float, *, as_json: bool) -> int:
    """Prints on rank 0; exit status 1 if anything was wrong."""
    all_wrong = 0
    for name, sizes in cases:
        for nbytes in sizes if name != "barrier" else [0]:
            if supports(face, name):
                result = measure(face, name, nbytes, seconds)
                all_wrong += result["wrong"]
                if face.rank == 0:
                    print(json.dumps(result) if as_json else LINE.format(**result), flush=True)
    return 1 if all_wrong else 0
