"""Every benchmark runs, checks what it moved and prints what is promised.  No time is tested."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobkit
import pynexar as nx
from jobkit import Start
from pynexar.cli import cases, faces, tune

FIELDS = {
    "case": str,
    "ranks": int,
    "bytes": int,
    "dtype": str,
    "transport": str,
    "n": int,
    "p50_us": float,
    "p99_us": float,
    "algbw_GBps": float,
    "busbw_GBps": float,
    "wrong": int,
}
ROOT = Path(__file__).resolve().parents[2]
COMPARE = ROOT / "bench/py/compare.py"
SHORT = ("--seconds", "0.01")
Line = dict[str, Any]


def check(line: Line, case: str, ranks: int, nbytes: int, **more: object) -> None:
    """A line as it must be."""
    types = {name: type(value) for name, value in line.items() if name in FIELDS}
    assert types == FIELDS
    expected = {"case": case, "ranks": ranks, "bytes": nbytes, "wrong": 0, **more}
    assert {name: line[name] for name in expected} == expected
    assert line["n"] >= 1
    assert 0 < line["p50_us"] <= line["p99_us"]
    assert line["algbw_GBps"] == pytest.approx(nbytes / line["p50_us"] / 1e3, rel=1e-2, abs=2e-6)


def objects(text: str) -> list[Line]:
    """The JSON objects, one a line; a rank's number may stand before."""
    return [json.loads(line[line.index("{") :]) for line in text.splitlines()]


@pytest.fixture
def printed(start: Start) -> Callable[..., str]:
    """printed("program", "argument", ..., status=0): its standard output.  Jobs use QUIC alone."""

    def run(*command: str, status: int = 0, **more: Any) -> str:
        process = start(*command, env={"NEXAR_TRANSPORTS": "quic"}, **more)
        assert process.wait() == status, process.stdout + process.stderr
        return process.stdout

    return run


@pytest.fixture
def build() -> Path:
    """The folder where CMake built nexar-bench and nexar-yardstick."""
    folder = Path(os.environ.get("NX_TEST_BENCH", ROOT / "build"))
    if not (folder / "bench/nexar-bench").exists():
        pytest.skip(f"no bench/nexar-bench in {folder}; NX_TEST_BENCH names the folder of another build")
    return folder


BUS: dict[str, Callable[[int], float]] = {
    "all_reduce": lambda n: 2 * (n - 1) / n,
    **dict.fromkeys(["broadcast", "reduce", "scan"], lambda _: 1),
    **dict.fromkeys(["all_gather", "reduce_scatter", "all_to_all", "gather", "scatter"], lambda n: (n - 1) / n),
}


@pytest.mark.parametrize(("case", "ranks"), [*((case, 3) for case in BUS), ("all_reduce", 1), ("all_gather", 2)])
def test_command_measures_collectives(printed: Callable[..., str], case: str, ranks: int) -> None:
    text = printed(*jobkit.nexar("bench", case, "-n", str(ranks), "--sizes", "24,1020", "--json"))
    small, large = objects(text)
    for line, nbytes in ((small, 24), (large, 1020)):
        check(line, case, ranks, line["bytes"], dtype="float32", transport="quic" if ranks > 1 else "none")
        assert nbytes - 4 * ranks < line["bytes"] <= nbytes  # the same number of elements for each rank
        assert line["busbw_GBps"] == pytest.approx(BUS[case](ranks) * line["algbw_GBps"], rel=1e-2, abs=2e-6)


@pytest.mark.parametrize("jobs", [[], ["--transports", "shm", "--rounds", "1"]])
@pytest.mark.parametrize("face", ["python", "c"])
def test_command_measures_in_memory_of_alloc(
    start: Start, request: pytest.FixtureRequest, face: str, jobs: list[str]
) -> None:
    env = {"NEXAR_LIBRARY": str(request.getfixturevalue("build") / "libnexar.so")} if face == "c" else {}
    sizes = ("--sizes", "32,256k", "--seconds", "0.05", "--json")
    process = start(*jobkit.nexar("bench", "all_reduce", "--alloc", "--face", face, *sizes, *jobs), env=env)
    assert process.wait(120) == 0, process.stderr
    for line, nbytes in zip(objects(process.stdout), (32, 262_144)):
        check(line, "all_reduce", 2, nbytes, face=face)


def test_arrays_of_alloc() -> None:
    """All of them, and every case works with them."""

    def body(comm: nx.Comm) -> None:
        face = faces.NexarAlloc(comm)
        for kind, _ in cases.CASES.values():
            case = kind(face, 40_000)
            assert case.check() == 0
            for array in (case.x, case.y):
                assert not array.flags.owndata
                assert array.ctypes.data % 4096 == 0

    with nx.local_cluster(2) as comms:
        comms.run(body)


def test_tune_prints_rules_that_a_job_takes(start: Start) -> None:
    process = start(*jobkit.nexar("bench", "scan", "--tune", "-n", "2", "--sizes", "8,1m"))
    assert process.wait(120) == 0, process.stderr
    rules = re.fullmatch(r"NEXAR_COLL_TUNE=((?:scan:\d+-\d*:(?:flat|rd|chain),?)+)\n", process.stdout)
    assert rules is not None, process.stdout
    assert "chain" in process.stderr
    env = {"NEXAR_COLL_TUNE": rules[1]}
    process = start(*jobkit.nexar("bench", "scan", "--sizes", "8,1m", "--json"), env=env)
    assert process.wait() == 0, process.stderr
    assert [line["wrong"] for line in objects(process.stdout)] == [0, 0]


def test_tune_chooses_what_is_clearly_faster() -> None:
    times = {"a": [10.0, 10.0, 30.0, 90.0], "b": [20.0, 9.5, 20.0, 50.0], "c": [30.0, 40.0, 50.0, 10.0]}
    chosen = list(tune.choose(times))
    assert chosen == ["a", "a", "b", "c"]  # 9.5 is noise
    rules = tune.rules_of("scan", iter(chosen), [8, 100, 400, 10_000])
    assert rules == ["scan:0-200:a", "scan:201-2000:b", "scan:2001-:c"]
    assert tune.rules_of("scan", iter(["a"]), [8]) == ["scan:0-:a"]


def test_tune_knows_every_algorithm(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be named in NEXAR_COLL_TUNE, and with NEXAR_REPRODUCIBLE=1 those that are left."""
    for reproducible in ("0", "1"):
        monkeypatch.setenv("NEXAR_REPRODUCIBLE", reproducible)
        found = tune.algorithms()
        assert ("ring" in found["all_reduce"]) == (reproducible == "0")
        rules = ",".join(f"{case}:0-:{name}" for case, names in found.items() for name in names)
        env = {"NEXAR_COLL_TUNE": rules, "NEXAR_REPRODUCIBLE": reproducible}
        process = start(*jobkit.nexar("run", "-n", "2", "-m", "pynexar", "bench", "barrier"), env=env)
        assert process.wait() == 0, process.stderr


@pytest.mark.parametrize(("case", "nbytes", "dtype"), [("barrier", 0, "none"), ("p2p", 100, "uint8")])
def test_command_measures_the_rest(printed: Callable[..., str], case: str, nbytes: int, dtype: str) -> None:
    (line,) = objects(printed(*jobkit.nexar("bench", case, "--sizes", "100", "--json")))
    check(line, case, 2, nbytes, dtype=dtype, transport="quic")


def test_command_prints_a_table(printed: Callable[..., str]) -> None:
    header, *rows = printed(*jobkit.nexar("bench", "p2p", "--sizes", "8,1k")).splitlines()
    assert header.split()[:2] == ["bytes", "n"]
    assert [row.split()[0] for row in rows] == ["8", "1024"]
    assert [row.split()[-1] for row in rows] == ["0", "0"]


def test_command_takes_part_in_a_job_that_runs(printed: Callable[..., str]) -> None:
    text = printed(*jobkit.nexar("run", "-n", "2", "-m", "pynexar", "bench", "barrier", "--json"))
    (line,) = objects(text)
    check(line, "barrier", 2, 0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sort"], "invalid choice"),
        ([], "which CASE?  all_reduce, broadcast"),
        (["p2p", "-n", "1"], "two ranks"),
        (["all_reduce", "--sizes", "8,many"], "'many' is no size"),
        (["all_reduce", "--tune", "--alloc"], "ordinary memory"),
    ],
)
def test_command_refuses_nonsense(start: Start, arguments: list[str], complaint: str) -> None:
    process = start(*jobkit.nexar("bench", *arguments))
    assert process.wait() == 2
    assert complaint in process.stderr


@pytest.mark.parametrize(
    ("case", "ranks", "arguments", "nbytes", "more"),
    [
        ("p2p", 2, ["--sizes", "64"], 64, []),
        ("p2p", 3, ["--sizes", "100000"], 100000, []),
        ("stream", 2, ["--sizes", "64"], 64, []),
        ("stream", 2, ["--sizes", "64k"], 65536, []),
        ("cross", 2, [], 64, ["round_trip_p50_us", "round_trip_p99_us", "cross_GBps"]),
        ("all_reduce", 3, ["--sizes", "1k"], 1024, []),
        ("broadcast", 3, ["--sizes", "1k"], 1024, []),
        ("barrier", 3, [], 0, []),
        ("start", 4, [], 4, []),
    ],
)
def test_every_case_of_the_program(
    printed: Callable[..., str], build: Path, case: str, ranks: int, arguments: list[str], nbytes: int, more: list[str]
) -> None:
    program = [str(build / "bench/nexar-bench"), case, *arguments, *SHORT, "--json"]
    (line,) = objects(printed(*jobkit.nexar("run", "-n", str(ranks), "--", *program)))
    check(line, case, ranks, nbytes, transport="quic")
    assert set(line) - set(FIELDS) == set(more)
    assert all(line[name] > 0 for name in more)


def test_a_steady_state_allocates_nothing(printed: Callable[..., str], build: Path) -> None:
    program = [str(build / "bench/nexar-bench"), "allocations", "--calls", "5000", "--json"]
    (line,) = objects(printed(*jobkit.nexar("run", "-n", "2", "--", *program)))
    check(line, "allocations", 2, 4096, n=5000)
    assert line["allocations_settled"] > 0
    assert line["allocations_between"] == 0


@pytest.mark.parametrize("scheme", [[], ["--caller"], ["--caller", "--each"], ["--poll", "1000", "--pin", "--drop"]])
@pytest.mark.parametrize("work", ["p2p", "stream"])
def test_every_scheme_of_the_yardstick(printed: Callable[..., str], build: Path, work: str, scheme: list[str]) -> None:
    text = printed(str(build / "bench/nexar-yardstick"), work, "--sizes", "64,4k", *SHORT, "--json", *scheme)
    small, large = objects(text)
    for line, nbytes in ((small, 64), (large, 4096)):
        check(line, work, 2, nbytes, transport="msquic")
        assert set(line) - set(FIELDS) == {"scheme"}


TINY = ("--rounds", "2", *SHORT, "--calls", "1000", "--sizes", "8", "-n", "2")


def test_comparison_prints_ratios(printed: Callable[..., str], build: Path) -> None:
    chosen = ("--only", "round-trip,rate,start,allocations,barrier")
    text = printed(sys.executable, str(COMPARE), "--build", str(build), *TINY, *chosen, "--json")
    lines = {line["measure"].split(",")[0]: line for line in objects(text)}
    assert set(lines) == {"round-trip", "rate", "start", "allocations", "barrier"}
    for name in ("round-trip", "rate"):
        line = lines[name]
        assert 0 < line["ratio_least"] <= line["ratio"] <= line["ratio_most"]
        assert line["scheme"] in line["schemes"]
        assert isinstance(line["met"], bool)
    assert all(line["wrong"] == 0 and line["rounds"] == 2 for line in lines.values())
    assert lines["allocations"]["met"]


def test_comparison_prints_a_table(printed: Callable[..., str], build: Path) -> None:
    text = printed(sys.executable, str(COMPARE), "--build", str(build), *TINY, "--only", "round-trip,barrier")
    header, compared, alone = text.splitlines()
    assert header.startswith("measure")
    assert compared.startswith("round-trip, 64 B")
    assert "<= 1.25: " in compared
    assert alone.startswith("barrier, 2 ranks")


@pytest.fixture
def compare() -> Any:
    """The module bench/py/compare.py."""
    spec = importlib.util.spec_from_file_location("compare", COMPARE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare"] = module  # for its dataclasses
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare"]


def test_comparison_takes_the_best_scheme_and_the_median_of_ratios(compare: Any) -> None:
    measure = compare.Measure("rate", list, "messages/s", float, ">= 0.8", more_is_better=True)
    samples = compare.Samples(
        ours=[8.0, 9.0, 3.0], theirs={"slow": [9.0, 1.0, 1.0], "best": [10.0, 10.0, 2.0]}, wrong=2
    )
    line = compare.summary(measure, samples)
    assert line["nexar"] == 8.0
    assert (line["scheme"], line["yardstick"]) == ("best", 10.0)
    assert (line["ratio"], line["ratio_least"], line["ratio_most"]) == pytest.approx((0.9, 0.8, 1.5))
    assert line["met"]
    assert line["wrong"] == 2


def test_comparison_without_a_yardstick_judges_the_value(compare: Any) -> None:
    measure = compare.Measure("start", list, "ms", float, "< 600")
    assert not compare.summary(measure, compare.Samples(ours=[599.0, 700.0, 600.0]))["met"]
    assert compare.summary(measure, compare.Samples(ours=[599.0, 599.0, 600.0]))["met"]
