"""bench/py: the table of figures and the page that is made of it.  No time is tested."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import jobkit
from jobkit import Start
from pynexar.cli.peers import Runner

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "bench/py"


@pytest.fixture
def build() -> Path:
    folder = Path(os.environ.get("NX_TEST_BENCH", ROOT / "build"))
    if not (folder / "bench/face-nexar").exists():
        pytest.skip(f"no bench/face-nexar in {folder}; NX_TEST_BENCH names the folder of another build")
    return folder


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """A script of bench/py, as a module."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    names = ("rows", "figures", "report")
    before = {name: sys.modules.pop(name, None) for name in names}
    yield import_module
    for name in names:
        sys.modules.pop(name, None)
        if (old := before[name]) is not None:
            sys.modules[name] = old


def result(library: str, number: int, p50: float, **more: Any) -> dict[str, Any]:
    line = {"case": "p2p", "bytes": 8, "ranks": 2, "transport": "quic", "wrong": 0, "others": 0.01}
    return {**line, "library": library, "round": number, "p50_us": p50, **more}


@pytest.fixture
def row(module: Callable[[str], Any]) -> Any:
    rows = module("rows")
    peers = (Runner("slow", "mpich"), Runner("fast", "openmpi"), Runner("gone", "gloo"))
    return rows.Row("p2p", "messages", rows.DEFAULT, peers, (("p2p", (8,)),), (2,), rows.always(0.6))


def test_a_cell_is_judged_against_the_best_peer(module: Callable[[str], Any], row: Any) -> None:
    results = [
        *(result("nexar", number, p50) for number, p50 in enumerate([1.0, 3.0, 1.1])),
        *(result("slow", number, 9.0) for number in range(3)),
        *(result("fast", number, 2.0, others=0.2, wrong=1) for number in range(3)),
    ]
    (cell,) = module("figures").cells(row, results)
    assert (cell["best"], cell["own_us"], cell["peers_us"]) == ("fast", 1.1, {"slow": 9.0, "fast": 2.0})
    assert (cell["ratio"], cell["ratio_least"], cell["ratio_most"]) == pytest.approx((0.55, 0.5, 1.5))
    assert cell["met"]
    assert (cell["goal"], cell["others_most"], cell["wrong"], cell["transport"]) == (0.6, 0.2, 3, "quic")


def test_a_cell_without_a_peer_is_not_judged(module: Callable[[str], Any], row: Any) -> None:
    (cell,) = module("figures").cells(row, [result("nexar", 0, 1.0)])
    assert cell["own_us"] == 1.0
    assert "met" not in cell


def test_a_disturbed_job_runs_again_and_the_quietest_counts(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = module("figures")
    loads = iter([0.5, 0.2, 0.3, 0.01])
    monkeypatch.setattr(figures.Watch, "others", lambda _: next(loads))
    times = iter([1.0, 2.0, 3.0, 4.0])

    def job() -> list[dict[str, Any]]:
        return [{"p50_us": next(times)}]

    assert figures.quietly(job, 0.08) == [{"p50_us": 2.0, "others": 0.2}]
    assert figures.quietly(job, 0.08) == [{"p50_us": 4.0, "others": 0.01}]


def test_every_row_has_goals_and_peers(module: Callable[[str], Any]) -> None:
    rows = module("rows")
    keys = [row.key for row in (*rows.ROWS, *rows.LIMITS)]
    assert len(keys) == len(set(keys))
    for row in rows.ROWS:
        goals = [row.goal(case, size, n) for case, sizes in row.work for size in sizes for n in row.ranks]
        assert all(0 < goal <= 2 for goal in goals)
        assert row.peers


def test_a_page_without_measurements_is_a_table_of_goals(module: Callable[[str], Any]) -> None:
    report, rows = module("report"), module("rows")
    page = report.report([])
    lines = [line for line in page.splitlines() if "| not measured |" in line]
    assert len(lines) == len(rows.ROWS) + len(rows.LIMITS) + 1
    for row in (*rows.ROWS, *rows.LIMITS):
        assert row.title in page


def test_a_page_tells_what_was_missed_disturbed_and_wrong(module: Callable[[str], Any]) -> None:
    report = module("report")
    cell = {
        "case": "p2p",
        "bytes": 4096,
        "ranks": 2,
        "own_us": 1234.5,
        "peers_us": {"mpich": 0.5},
        "goal": 0.6,
        "transport": "shm",
        "others_most": 0.3,
        "wrong": 7,
        "best": "mpich",
        "ratio": 0.7,
        "ratio_least": 0.65,
        "ratio_most": 0.75,
        "met": False,
    }
    date = "2026-01-02 03:04 UTC"
    old = {"key": "p2p", "title": "messages", "cells": [], "missing": {}, "date": "earlier"}
    new = {**old, "cells": [cell], "missing": {"gloo": "there is none"}, "date": date}
    idle = {"key": "idle", "title": "idle", "unit": "% of a core", "limit": 1, "value": 0.25, "met": True, "date": date}
    head = {"machine": dict.fromkeys(["processor", "cores", "memory_gib", "kernel", "python"], "?"), "versions": {}}
    head.update(commit="abc", command="figures.py")
    page = report.report([{**head, "rows": [old]}, {**head, "rows": [new, idle]}])
    assert "| 0.70 (0.65 - 0.75) ~ | 0.6 | **missed**, 7 WRONG |" in page
    assert "| p2p, 4 KiB, 2 ranks | 1234 | 0.5 | shm |" in page
    assert "Not measured: gloo. there is none" in page
    assert f"| 0.60 | 0.70 | 0 of 1, 7 WRONG | {date} |" in page
    assert f"| 1 % of a core | 0.25 % of a core | met | {date} |" in page
    assert "earlier" not in page


def test_the_page_in_the_repository_names_every_row(module: Callable[[str], Any]) -> None:
    rows = module("rows")
    page = (ROOT / "bench/RESULTS.md").read_text()
    missing = [row.key for row in (*rows.ROWS, *rows.LIMITS) if row.title not in page]
    assert not missing, "make the page again: python bench/py/report.py FILES > bench/RESULTS.md"


def test_some_rows_end_to_end(start: Start, build: Path, tmp_path: Path) -> None:
    """Two comparisons, with whatever peers are here, and two values; then the page."""
    out = tmp_path / "figures.json"
    keys = "tls-stream,p2p-python,start-4,memory-pair"
    options = ("--rounds", "1", "--seconds", "0.01", "--most-others", "1", "--rows", keys)
    command = (sys.executable, str(SCRIPTS / "figures.py"), "--build", str(build), *options, "--out", str(out))
    process = start(*command)
    assert process.wait(300) == 0, process.stderr
    file = json.loads(out.read_text())
    rows = {row["key"]: row for row in file["rows"]}
    assert list(rows) == keys.split(",")
    assert rows["start-4"]["value"] > 0
    assert "value" in rows["memory-pair"]
    assert all(cell["wrong"] == 0 for row in file["rows"] for cell in row.get("cells", []))
    (cell,) = rows["p2p-python"]["cells"]
    assert (cell["case"], cell["bytes"], cell["ranks"]) == ("p2p", 8, 2)
    process = start(sys.executable, str(SCRIPTS / "report.py"), str(out))
    assert process.wait() == 0, process.stderr
    assert re.search(r"\| 4 C programs, .* \| 0\.35 s \| [\d.]+ s \|", process.stdout)
    assert str(tmp_path) not in process.stdout


def test_figures_refuses_a_row_that_is_none(start: Start, tmp_path: Path) -> None:
    process = start(sys.executable, str(SCRIPTS / "figures.py"), "--rows", "luck", "--out", str(tmp_path / "x.json"))
    assert process.wait() == 2
    assert "no such row: luck" in process.stderr


def test_ranks_at_rest_are_looked_at(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "2", str(SCRIPTS / "rest.py"), "0.1"))
    assert process.wait() == 0, process.stderr
    line = json.loads(process.stdout[process.stdout.index("{") :])
    assert (line["case"], line["ranks"], line["wrong"]) == ("rest", 2, 0)
    assert 0 < line["before_kib"] < line["after_kib"]
    assert line["idle_cores"] >= 0
    assert line["waiting_cores"] >= 0
