"""nexar bench --compare, --transports: the same work by several libraries in turn, and the ratios of their medians.

Each round runs all of them, one after the other, so that whatever else the machine does slows down all of them; a ratio
is that of two runs of one round, then the median of these.
"""

from __future__ import annotations

import json
import sys
from statistics import median

from .peers import CannotRunError, Runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .peers import Result, Work

    Key = tuple[str, int, int]  # case, bytes, ranks


def ours(transports: str | None, own_memory: bool) -> list[Runner]:
    """nexar as it is, or once by each transport."""
    if transports is None:
        return [Runner("nexar", "nexar", own_memory=own_memory)]
    return [Runner(f"nexar-{name}", "nexar", {"NEXAR_TRANSPORTS": name}, own_memory) for name in transports.split(",")]


def installed(peers: Iterable[Runner], face: str) -> list[Runner]:
    """Those that can be run; says why the others cannot."""
    found = []
    for peer in peers:
        reason = peer.missing(face)
        if reason is None:
            found.append(peer)
        else:
            print(f"nexar bench: {peer.name} is left out: {reason}", file=sys.stderr)
    return found


def measure(runners: Sequence[Runner], ranks: int, face: str, work: Work, seconds: float, rounds: int) -> list[Result]:
    """All results of all rounds.

    Raises:
        CannotRunError: a job failed.
    """
    results = []
    for number in range(rounds):
        for runner in runners:
            results += [{**result, "round": number} for result in runner.run(ranks, face, work, seconds)]
    return results


def times(results: Iterable[Result], library: str) -> dict[Key, dict[int, float]]:
    """Median microseconds by round."""
    found: dict[Key, dict[int, float]] = {}
    for result in results:
        if result["library"] == library:
            key = (result["case"], result["bytes"], result["ranks"])
            found.setdefault(key, {})[result["round"]] = result["p50_us"]
    return found


def ratios(results: Sequence[Result], own: str, peer: str) -> dict[Key, tuple[float, float, float]]:
    """Median, least and most of own time / the peer's, of the rounds that have both."""
    first, second = times(results, own), times(results, peer)
    found = {}
    for key, by_round in first.items():
        each = [took / second[key][number] for number, took in by_round.items() if number in second.get(key, {})]
        if each:
            found[key] = (median(each), min(each), max(each))
    return found


def ratio_lines(results: Sequence[Result], own: Sequence[Runner], peers: Sequence[Runner]) -> list[dict[str, Any]]:
    """One object for each pair and size."""
    return [
        {
            "case": case,
            "bytes": nbytes,
            "ranks": ranks,
            "library": mine.name,
            "peer": peer.name,
            "ratio": round(ratio, 4),
            "ratio_least": round(least, 4),
            "ratio_most": round(most, 4),
        }
        for mine in own
        for peer in peers
        for (case, nbytes, ranks), (ratio, least, most) in ratios(results, mine.name, peer.name).items()
    ]


def table(results: Sequence[Result], own: Sequence[Runner], peers: Sequence[Runner]) -> list[str]:
    """Microseconds of each library, then ratios with their range."""
    columns = [*own, *peers]
    pairs = [(mine, peer) for mine in own for peer in peers]
    head = f"{'bytes':>12}" + "".join(f"{runner.name:>16}" for runner in columns)
    head += "".join(f"  {f'{mine.name} / {peer.name}':>26}" for mine, peer in pairs)
    medians = {runner.name: times(results, runner.name) for runner in columns}
    compared = {(mine.name, peer.name): ratios(results, mine.name, peer.name) for mine, peer in pairs}
    lines = [head]
    for key in dict.fromkeys(key for by_key in medians.values() for key in by_key):
        line = f"{key[1]:12}"
        for runner in columns:
            rounds = medians[runner.name].get(key)
            line += f"{median(rounds.values()):16.2f}" if rounds else f"{'-':>16}"
        for mine, peer in pairs:
            of_pair = compared[mine.name, peer.name].get(key)
            text = f"{of_pair[0]:.2f} ({of_pair[1]:.2f} - {of_pair[2]:.2f})" if of_pair else "-"
            line += f"  {text:>26}"
        lines.append(line)
    return lines


def run(options: Any) -> int:
    """What `nexar bench` does when it starts several jobs."""
    own = ours(options.transports, options.alloc)
    peers = installed(options.compare or [], options.face)
    work = [(options.case, options.sizes)]
    try:
        results = measure([*own, *peers], options.n, options.face, work, options.seconds, options.rounds)
    except CannotRunError as error:
        print(f"nexar bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        for line in [*results, *ratio_lines(results, own, peers)]:
            print(json.dumps(line), flush=True)
    else:
        said = f"{options.case}, {options.n} ranks, from {'C' if options.face == 'c' else 'Python'}"
        print(f"{said}: median microseconds of {options.rounds} rounds; ratios with their range")
        print("\n".join(table(results, own, peers)))
    if options.plot is not None:
        from . import plot

        plot.draw(options.plot, results)
    wrong = sum(result["wrong"] for result in results)
    if wrong:
        print(f"nexar bench: {wrong} elements are WRONG", file=sys.stderr)
    return 1 if wrong else 0
