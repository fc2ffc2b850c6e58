"""Runs nexar-bench and the same work on bare MsQuic (nexar-yardstick) alternately, and prints the ratios.

Both run once in each round, so that whatever else the machine does slows down both; what is printed are medians over
the rounds.  A ratio is that of two runs of one round, then the median of these.  Of the yardstick's schemes the one
with the best median counts.  Only results decide the exit status, never times: 1 if an element was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Result = dict[str, Any]  # a line that a program printed
COLLECTIVES = ("all_reduce", "broadcast", "barrier")

# Ways to use MsQuic's threads and streams that are the fastest for something.
POLLED = "--caller"
POLLED_EACH = "--caller --each"
PINNED = "--poll 1000 --pin"
PINNED_EACH = "--poll 1000 --pin --each"
SLEEPING = "--poll 0"


@dataclass(frozen=True)
class Measure:
    """One line of the table."""

    name: str
    run: Callable[[Programs], Iterable[Result]]
    unit: str
    value: Callable[[Result], float]
    goal: str = ""  # "<= 1.25": of the ratio if there is a yardstick, else of the value
    more_is_better: bool = False
    yardstick: tuple[str, ...] = ()  # arguments; run once for each scheme
    schemes: tuple[str, ...] = ()
    more: tuple[str, ...] = ()  # fields that are told, too

    @property
    def key(self) -> str:
        return self.name.split(",")[0]


@dataclass(frozen=True)
class Programs:
    """Where they are, and how long and how large a run is."""

    build: Path
    seconds: float
    calls: int
    sizes: str
    ranks: int
    spin: str

    def job(self, ranks: int, *command: str, **variables: str) -> list[Result]:
        """Lines that a job prints."""
        environment = {**os.environ, "NEXAR_LIBRARY": str(self.build / "libnexar.so"), "NO_COLOR": "1", **variables}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return lines([sys.executable, "-m", "pynexar", "run", "-n", str(ranks), *command], environment)

    def nexar(self, ranks: int, *arguments: str, **variables: str) -> list[Result]:
        program = str(self.build / "bench" / "nexar-bench")
        return self.job(ranks, "--", program, *arguments, "--seconds", str(self.seconds), "--json", **variables)

    def pair(self, *arguments: str) -> list[Result]:
        """Two ranks that poll as long as the yardstick does, so that both get a core of a busy machine alike."""
        return self.nexar(2, *arguments, NEXAR_SPIN=self.spin)

    def yardstick(self, arguments: Iterable[str], scheme: str) -> Result:
        program = str(self.build / "bench" / "nexar-yardstick")
        return lines([program, *arguments, "--seconds", str(self.seconds), "--json", *scheme.split()])[0]


def lines(command: list[str], environment: dict[str, str] | None = None) -> list[Result]:
    """The JSON objects that a program prints; the rank's number may stand before each."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = [json.loads(line[line.index("{") :]) for line in done.stdout.splitlines() if "{" in line]
    if not found or (done.returncode != 0 and not any(result["wrong"] for result in found)):
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return found


def start_of_programs(programs: Programs) -> list[Result]:
    return programs.nexar(4, "start", "--since", str(time.monotonic_ns()))


def start_of_scripts(programs: Programs) -> list[Result]:
    return programs.job(4, str(ROOT / "bench" / "py" / "start.py"), str(time.monotonic_ns()))


def time_of(result: Result) -> float:
    return float(result["p50_us"])


def collectives(programs: Programs) -> Iterator[Measure]:
    """One for each collective and size, which share the runs of a round."""
    sizes = [size.strip() for size in programs.sizes.split(",")]
    for name in COLLECTIVES:
        for size in sizes if name != "barrier" else [""]:
            given = ("--sizes", size) if size else ()

            def run(programs: Programs, name: str = name, given: tuple[str, ...] = given) -> list[Result]:
                return programs.nexar(programs.ranks, name, *given)

            title = ", ".join(filter(None, (name, size, f"{programs.ranks} ranks")))
            yield Measure(title, run, "us", time_of)


def measures(programs: Programs) -> list[Measure]:
    return [
        Measure(
            "round-trip, 64 B",
            lambda p: p.pair("p2p", "--sizes", "64"),
            "us",
            lambda r: 2 * time_of(r),
            "<= 1.25",
            yardstick=("p2p", "--sizes", "64"),
            schemes=(POLLED, PINNED, SLEEPING),
        ),
        Measure(
            "one-way, 1 MiB",
            lambda p: p.pair("stream", "--sizes", "1m"),
            "GB/s",
            lambda r: float(r["algbw_GBps"]),
            ">= 0.9",
            more_is_better=True,
            yardstick=("stream", "--sizes", "1m"),
            schemes=(POLLED, POLLED_EACH, PINNED, PINNED_EACH),
        ),
        Measure(
            "rate, 64 B",
            lambda p: p.pair("stream", "--sizes", "64"),
            "messages/s",
            lambda r: 1e6 / time_of(r),
            ">= 0.8",
            more_is_better=True,
            yardstick=("stream", "--sizes", "64"),
            schemes=(POLLED, PINNED),
        ),
        Measure(
            "cross, 64 B against 16 MiB",
            lambda p: p.nexar(2, "cross"),
            "us",
            time_of,
            "< 1000",
            more=("p99_us", "round_trip_p50_us", "round_trip_p99_us", "cross_GBps"),
        ),
        Measure("start, C, 4 ranks", start_of_programs, "ms", lambda r: time_of(r) / 1e3, "< 600"),
        Measure("start, Python, 4 ranks", start_of_scripts, "ms", lambda r: float(r["ms"]), "< 600"),
        Measure(
            "allocations, all_reduce",
            lambda p: p.nexar(p.ranks, "allocations", "--calls", str(p.calls)),
            "of memory",
            lambda r: float(r["allocations_between"]),
            "<= 0",
        ),
        *collectives(programs),
    ]


@dataclass
class Samples:
    """What the rounds gave for one measure."""

    ours: list[float] = field(default_factory=list)
    theirs: dict[str, list[float]] = field(default_factory=dict)  # by scheme
    more: dict[str, list[float]] = field(default_factory=dict)  # by name
    wrong: int = 0

    def add(self, measure: Measure, programs: Programs) -> None:
        """One round: first nexar, then each scheme."""
        for result in measure.run(programs):
            self.ours.append(measure.value(result))
            for name in measure.more:
                self.more.setdefault(name, []).append(result[name])
            self.wrong += result["wrong"]
        for scheme in measure.schemes:
            result = programs.yardstick(measure.yardstick, scheme)
            self.theirs.setdefault(scheme, []).append(measure.value(result))
            self.wrong += result["wrong"]


def summary(measure: Measure, samples: Samples) -> Result:
    """One line of the table."""
    line: Result = {"measure": measure.name, "unit": measure.unit, "rounds": len(samples.ours)}
    line["nexar"] = median(samples.ours)
    decides = line["nexar"]
    if samples.theirs:
        choose = max if measure.more_is_better else min
        scheme = choose(samples.theirs, key=lambda name: median(samples.theirs[name]))
        ratios = [ours / theirs for ours, theirs in zip(samples.ours, samples.theirs[scheme])]
        decides = median(ratios)
        line.update(
            yardstick=median(samples.theirs[scheme]),
            scheme=scheme,
            schemes={name: median(values) for name, values in samples.theirs.items()},
            ratio=decides,
            ratio_least=min(ratios),
            ratio_most=max(ratios),
        )
    if measure.goal:
        line.update(goal=measure.goal, met=meets(decides, measure.goal))
    line.update({name: median(values) for name, values in samples.more.items()})
    return {**line, "wrong": samples.wrong}


def meets(value: float, goal: str) -> bool:
    relation, number = goal.split()
    limit = float(number)
    return {"<": value < limit, "<=": value <= limit, ">=": value >= limit}[relation]


def print_table(chosen: Iterable[Measure], summaries: Iterable[Result]) -> None:
    print(f"{'measure':30} {'nexar':>12} {'MsQuic':>12} {'unit':10} {'ratio (least - most)':>22}  goal")
    for measure, line in zip(chosen, summaries):
        theirs = f"{line['yardstick']:12.5g}" if "yardstick" in line else " " * 12
        ratio = ""
        if "ratio" in line:
            ratio = f"{line['ratio']:.2f} ({line['ratio_least']:.2f} - {line['ratio_most']:.2f})"
        goal = f"{line['goal']}: {'met' if line['met'] else 'MISSED'}" if "goal" in line else ""
        notes = [goal, line.get("scheme", ""), *(f"{name} {line[name]:.5g}" for name in measure.more)]
        notes.append(f"{line['wrong']} WRONG" if line["wrong"] else "")
        text = "; ".join(filter(None, notes))
        print(f"{line['measure']:30} {line['nexar']:12.5g} {theirs} {line['unit']:10} {ratio:>22}  {text}", flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--build", type=Path, default=ROOT / "build", help="folder of the build (default: %(default)s)")
    add("--rounds", type=int, default=5, metavar="K", help="times that everything runs (default: %(default)s)")
    add("--seconds", type=float, default=0.4, help="to measure one size (default: %(default)s)")
    add("--calls", type=int, default=100_000, help="calls of the case allocations (default: %(default)s)")
    add("--sizes", default="8,4k,64k,1m,16m", help="of collectives (default: %(default)s)")
    add("-n", type=int, default=4, metavar="N", help="ranks of collectives (default: %(default)s)")
    add("--spin", default="20ms", help="NEXAR_SPIN of what is compared with MsQuic (default: %(default)s)")
    add("--only", metavar="A,B", help="only measures whose name begins so, up to its first comma")
    add("--json", action="store_true", help="one object a line")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error("no rounds, no medians")
    programs = Programs(options.build.resolve(), options.seconds, options.calls, options.sizes, options.n, options.spin)
    chosen = measures(programs)
    if options.only is not None:
        names = options.only.split(",")
        unknown = set(names) - {measure.key for measure in chosen}
        if unknown:
            parser.error(f"no such measure: {', '.join(sorted(unknown))}")
        chosen = [measure for measure in chosen if measure.key in names]
    samples = [Samples() for _ in chosen]
    for _ in range(options.rounds):
        for measure, into in zip(chosen, samples):
            into.add(measure, programs)
    summaries = [summary(measure, of) for measure, of in zip(chosen, samples)]
    if options.json:
        for line in summaries:
            print(json.dumps(line), flush=True)
    else:
        print_table(chosen, summaries)
    return 1 if any(line["wrong"] for line in summaries) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
