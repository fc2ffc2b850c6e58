"""nexar bench --tune: which algorithm is the fastest for which sizes, as a value of NEXAR_COLL_TUNE."""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Times = dict[str, list[float]]  # by algorithm, of each size

ROUNDS = 3  # the algorithms take turns, so that a busy moment hits them all
BETTER = 0.9  # of the time of the one that is chosen for the smaller sizes: else it stays


class TuneError(Exception):
    """A job failed; it has said why."""


def tune(cases: Sequence[str], ranks: int, sizes: Sequence[int]) -> int:
    """Prints NEXAR_COLL_TUNE=... for so many ranks on this machine; what it measures goes to standard error."""
    sizes = sorted(set(sizes))
    rules = []
    try:
        for case in cases:
            names = algorithms().get(case, [])
            if len(names) > 1:
                times = measure(case, names, ranks, sizes)
                show(case, times, sizes)
                rules += rules_of(case, choose(times), sizes)
    except TuneError as error:
        print(f"nexar bench: {error}", file=sys.stderr)
        return 1
    print("NEXAR_COLL_TUNE=" + ",".join(rules))
    return 0


def algorithms() -> dict[str, list[str]]:
    """Names by collective: all that there are, or with NEXAR_REPRODUCIBLE=1 those that sum in the order of ranks."""
    from pynexar._ffi import _api, lib
    from pynexar.config import environment

    by_rank = any(
        row["variable"] == "NEXAR_REPRODUCIBLE" and row["value"] != "0" for row in environment()[0]["settings"]
    )
    found: dict[str, list[str]] = {}
    entry = _api.nexar_algorithm()
    for number in itertools.count():
        if lib.nexar_coll_algorithm(number, entry) != _api.NEXAR_OK:
            break
        if entry.by_rank or not by_rank:
            found.setdefault((entry.collective or b"").decode(), []).append((entry.name or b"").decode())
    return found


def measure(case: str, names: Sequence[str], ranks: int, sizes: Sequence[int]) -> Times:
    """Median microseconds."""
    rounds: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            rounds[name].append(once(case, name, ranks, sizes))
    return {name: [statistics.median(of_size) for of_size in zip(*each)] for name, each in rounds.items()}


def once(case: str, name: str, ranks: int, sizes: Sequence[int]) -> list[float]:
    """One job."""
    command = [sys.executable, "-m", "pynexar", "bench", case, "-n", str(ranks), "--json"]
    command += ["--sizes", ",".join(map(str, sizes))]
    environment = {**os.environ, "NEXAR_COLL_TUNE": f"{case}:0-:{name}"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise TuneError(f"{case} by {name}: exit status {done.returncode}")
    return [float(json.loads(line)["p50_us"]) for line in done.stdout.splitlines()]


def choose(times: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """For each size the fastest, where it is so much better that it is no noise."""
    chosen = None
    for i in range(len(next(iter(times.values())))):
        best = min(times, key=lambda name: times[name][i])
        if chosen is None or times[best][i] < BETTER * times[chosen][i]:
            chosen = best
        yield chosen


def rules_of(case: str, chosen: Iterator[str], sizes: Sequence[int]) -> list[str]:
    """Ranges end in the middle, by ratio, between two sizes that were measured."""
    rules: list[str] = []
    begin, name = 0, next(chosen)
    for smaller, larger, following in zip(sizes, sizes[1:], chosen):
        if following != name:
            end = max(smaller, math.isqrt(smaller * larger))
            rules.append(f"{case}:{begin}-{end}:{name}")
            begin, name = end + 1, following
    return [*rules, f"{case}:{begin}-:{name}"]


def show(case: str, times: Mapping[str, Sequence[float]], sizes: Sequence[int]) -> None:
    print(f"{case}, us" + "".join(f"{name:>12}" for name in times), file=sys.stderr)
    for i, size in enumerate(sizes):
        print(f"{size:>{len(case) + 4}}" + "".join(f"{each[i]:12.1f}" for each in times.values()), file=sys.stderr)
