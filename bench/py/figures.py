"""Measures the table of figures, ours and the peers' in turn, and writes the JSON from which RESULTS.md is made.

    python bench/py/figures.py --build build --out figures.json
    python bench/py/figures.py --rows p2p,stream,idle --rounds 5 --out more.json
    python bench/py/report.py figures.json more.json > bench/RESULTS.md

In each round the job of nexar runs, then that of each peer; a ratio is that of two jobs of one round, and what counts
is the median of the rounds, against the peer whose median is the least.  While a job runs, the processor time that
others use is measured; above --most-others of the machine the job is run again, at most twice, and the quietest run is
taken.  Peers that are not installed are named in the file.  Exit status 1 if an element was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]


from rows import LIMITS, ROWS, YARDSTICK, Limit, Row  # noqa: E402

from pynexar.cli import compare  # noqa: E402
from pynexar.cli.peers import CannotRunError, Runner, parse  # noqa: E402

Result = dict[str, Any]
AGAIN = 2
KEYS = [row.key for row in ROWS] + [limit.key for limit in LIMITS] + ["quic"]


class Watch:
    """The share of the machine that others use."""

    def __init__(self) -> None:
        self.began = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        user, nice, system = (int(word) for word in Path("/proc/stat").read_text().split()[1:4])
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own = sum(usage.ru_utime + usage.ru_stime for usage in used)
        return (user + nice + system) / os.sysconf("SC_CLK_TCK"), own, time.monotonic()

    def others(self) -> float:
        everybody, own, took = (now - then for now, then in zip(self._now(), self.began))
        return max(0.0, everybody - own) / took / (os.cpu_count() or 1)


def quietly(job: Callable[[], list[Result]], most_others: float) -> list[Result]:
    """The results of the quietest run; each says how quiet it was."""
    best: list[Result] = []
    for _ in range(1 + AGAIN):
        watch = Watch()
        results = job()
        others = round(watch.others(), 4)
        if not best or others < best[0]["others"]:
            best = [{**result, "others": others} for result in results]
        if not best or others <= most_others:
            break
    return best


def measure(row: Row, options: argparse.Namespace) -> Result:
    """All cells of a row."""
    reasons = {runner.name: runner.missing(row.face) for runner in (row.own, *row.peers)}
    there = [(runner, ranks) for ranks in row.ranks for runner in (row.own, *row.peers) if reasons[runner.name] is None]
    results: list[Result] = []
    for number in range(options.rounds):
        for runner, ranks in list(there):

            def job(runner: Runner = runner, ranks: int = ranks) -> list[Result]:
                return runner.run(ranks, row.face, row.work, options.seconds)

            try:
                found = quietly(job, options.most_others)
            except CannotRunError as error:
                reasons[runner.name] = str(error)
                print(f"{row.key}: {error}", file=sys.stderr)
                there.remove((runner, ranks))
                continue
            results += [{**result, "round": number} for result in found]
    missing = {name: reason for name, reason in reasons.items() if reason is not None}
    return {"key": row.key, "title": row.title, "cells": cells(row, results), "missing": missing}


def cells(row: Row, results: list[Result]) -> list[Result]:
    """One for each case, size and number of ranks."""
    own = compare.times(results, row.own.name)
    peers = {peer.name: compare.times(results, peer.name) for peer in row.peers}
    found = []
    for key, rounds in own.items():
        case, nbytes, ranks = key
        of_key = [result for result in results if (result["case"], result["bytes"], result["ranks"]) == key]
        cell: Result = {
            "case": case,
            "bytes": nbytes,
            "ranks": ranks,
            "own_us": median(rounds.values()),
            "peers_us": {name: median(times[key].values()) for name, times in peers.items() if key in times},
            "goal": row.goal(case, nbytes, ranks),
            "transport": next(result["transport"] for result in of_key if result["library"] == row.own.name),
            "others_most": max(result["others"] for result in of_key),
            "wrong": sum(result["wrong"] for result in of_key),
        }
        if cell["peers_us"]:
            best = min(cell["peers_us"], key=lambda name: cell["peers_us"][name])
            ratio = compare.ratios(results, row.own.name, best).get(key)
            if ratio is not None:
                cell.update(best=best, ratio=ratio[0], ratio_least=ratio[1], ratio_most=ratio[2])
                cell["met"] = ratio[0] <= cell["goal"]
        found.append(cell)
    return found


# ---- values ----


def job(ranks: int, *command: str, **environment: str) -> list[Result]:
    """What a job of nexar prints."""
    argv = [sys.executable, "-m", "pynexar", "run", "-n", str(ranks), *command]
    done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRunError(f"{' '.join(argv)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return parse(done.stdout)


def rest(ranks: int, seconds: float = 0.0) -> Result:
    return job(ranks, str(ROOT / "bench/py/rest.py"), str(seconds))[0]


def start(limit: Limit, program: Path) -> tuple[float, int]:
    """With Python's modules compiled, as they are where they were installed: the first job does that."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        for _ in range(2):
            since = str(time.monotonic_ns())
            if limit.what == "start_python":
                (line,) = job(limit.ranks, str(ROOT / "bench/py/start.py"), since, **compiled)
            else:
                (line,) = job(limit.ranks, "--", str(program), "start", "--since", since, "--json", **compiled)
    return line["ms"] / 1e3 if "ms" in line else line["p50_us"] / 1e6, line["wrong"]


def value_of(limit: Limit, options: argparse.Namespace) -> tuple[float, int]:
    """The value, and how many elements were wrong."""
    if limit.what in ("start", "start_python"):
        return start(limit, options.build / "bench" / "nexar-bench")
    if limit.what in ("idle_percent", "waiting_percent"):
        line = rest(limit.ranks, 5.0)
        return 100 * line["idle_cores" if limit.what == "idle_percent" else "waiting_cores"], line["wrong"]
    line = rest(limit.ranks)
    if limit.what == "rank_mib":
        return line["all_kib"] / limit.ranks / 1024, line["wrong"]
    alone = rest(1)
    grown = line["after_kib"] - line["before_kib"] - limit.ranks * (alone["after_kib"] - alone["before_kib"])
    return grown / (limit.ranks * (limit.ranks - 1) / 2) / 1024, line["wrong"]


def measure_limit(limit: Limit, options: argparse.Namespace) -> Result:
    found: Result = {"key": limit.key, "title": limit.title, "unit": limit.unit, "limit": limit.limit, "wrong": 0}
    values = []
    try:
        for _ in range(options.rounds):
            watch = Watch()
            value, wrong = value_of(limit, options)
            values.append(value)
            found["wrong"] += wrong
            found["others_most"] = max(found.get("others_most", 0.0), round(watch.others(), 4))
    except CannotRunError as error:
        print(f"{limit.key}: {error}", file=sys.stderr)
        return {**found, "missing": {"nexar": str(error)}}
    found.update(value=median(values), least=min(values), most=max(values))
    return {**found, "met": found["value"] <= limit.limit}


def measure_yardstick(options: argparse.Namespace) -> Result:
    """compare.py, over QUIC alone."""
    argv = [sys.executable, str(ROOT / "bench/py/compare.py"), "--build", str(options.build), "--json"]
    argv += ["--rounds", str(options.rounds), "--only", ",".join(YARDSTICK)]
    title = "NEXAR_TRANSPORTS=quic, against bare MsQuic (bench/py/compare.py)"
    environment = {**os.environ, "NEXAR_TRANSPORTS": "quic"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    found = {"key": "quic", "title": title, "measures": parse(done.stdout)}
    return found if found["measures"] else {**found, "missing": {"nexar": done.stderr[-2000:]}}


# ---- the file ----


def machine() -> Result:
    text = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of the peers, as they say themselves."""
    commands = {
        "openmpi": ["mpirun.openmpi", "--version"],
        "mpich": ["mpichversion"],
        "mpi4py": [sys.executable, "-c", "import mpi4py; print(mpi4py.__version__)"],
        "torch": [sys.executable, "-c", "import torch; print(torch.__version__)"],
        "numpy": [sys.executable, "-c", "import numpy; print(numpy.__version__)"],
    }
    found = {}
    for name, command in commands.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        found[name] = " ".join(done.stdout.splitlines()[0].split())
    return found


def commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "?"


def command(options: argparse.Namespace) -> str:
    """How to run it again: without the names of this machine's folders."""
    said = ["python bench/py/figures.py", f"--rounds {options.rounds}", f"--seconds {options.seconds}"]
    said += [f"--rows {options.rows}"] if options.rows is not None else []
    return " ".join([*said, f"--out {options.out.name}"])


def prepare(options: argparse.Namespace) -> None:
    """What the jobs find in their environment."""
    os.environ["NEXAR_LIBRARY"] = str(options.build / "libnexar.so")
    os.environ["NO_COLOR"] = "1"
    for variable, folder in (("PATH", options.build / "bench"), ("PYTHONPATH", ROOT)):
        os.environ[variable] = os.pathsep.join(filter(None, [str(folder), os.environ.get(variable)]))


def measure_all(chosen: Iterable[str], options: argparse.Namespace) -> Iterable[Result]:
    by_key: dict[str, Row | Limit] = {row.key: row for row in ROWS}
    by_key.update((limit.key, limit) for limit in LIMITS)
    for key in chosen:
        began = time.monotonic()
        row = by_key.get(key)
        if isinstance(row, Row):
            result = measure(row, options)
        else:
            result = measure_yardstick(options) if row is None else measure_limit(row, options)
        print(f"{key}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        yield {**result, "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def wrong_in(row: Result) -> int:
    parts: list[Result] = [row, *row.get("cells", []), *row.get("measures", [])]
    return sum(part.get("wrong", 0) for part in parts)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--build", type=Path, default=ROOT / "build", help="folder of the build (default: %(default)s)")
    add("--rows", metavar="A,B", help=f"only these: {', '.join(KEYS)}")
    add("--rounds", type=int, default=3, metavar="K", help="(default: %(default)s)")
    add("--seconds", type=float, default=0.2, help="to measure one size in one job (default: %(default)s)")
    add("--most-others", type=float, default=0.08, metavar="SHARE", help="of the machine (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args(argv)
    options.build = options.build.resolve()
    chosen = options.rows.split(",") if options.rows is not None else KEYS
    unknown = set(chosen) - set(KEYS)
    if unknown or options.rounds < 1:
        parser.error(f"no such row: {', '.join(sorted(unknown))}" if unknown else "no rounds, no medians")
    prepare(options)
    head = {"machine": machine(), "versions": versions(), "commit": commit(), "command": command(options)}
    found: list[Result] = []
    for row in measure_all(chosen, options):
        found.append(row)  # written after each row: a run that is cut off has not been in vain
        options.out.write_text(json.dumps({**head, "rows": found}, indent=1) + "\n")
    wrong = sum(wrong_in(row) for row in found)
    if wrong:
        print(f"{wrong} elements are WRONG", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
