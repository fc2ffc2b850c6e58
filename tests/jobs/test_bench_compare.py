"""nexar bench against peers, by several transports, from C, drawn.  No time is tested."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobkit
from jobkit import Start
from pynexar.cli import compare, peers, plot

SHORT = ("--seconds", "0.01", "--rounds", "2")
ROOT = Path(__file__).resolve().parents[2]
Bench = Callable[..., str]


@pytest.fixture
def faces() -> str:
    """A PATH in which the programs of the build are found."""
    folder = Path(os.environ.get("NX_TEST_BENCH", ROOT / "build")) / "bench"
    if not (folder / "face-nexar").exists():
        pytest.skip(f"no face-nexar in {folder}; NX_TEST_BENCH names the folder of another build")
    return os.pathsep.join([str(folder), os.environ.get("PATH", "")])


@pytest.fixture
def bench(start: Start) -> Bench:
    """bench("p2p", "--json", status=0): standard output of nexar bench, or standard error if it is to fail."""

    def run(*arguments: str, status: int = 0, **more: Any) -> str:
        process = start(*jobkit.nexar("bench", *arguments), **more)
        assert process.wait() == status, process.stdout + process.stderr
        return process.stdout if status == 0 else process.stderr

    return run


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


CASES = ["all_reduce", "broadcast", "reduce", "all_gather", "reduce_scatter", "all_to_all", "gather", "scatter", "scan"]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_c_measures_every_collective(start: Start, faces: str, ranks: int) -> None:
    """The vector has the same number of elements for each rank; nothing is wrong."""
    work = [f"{case}:24,1020" for case in CASES]
    program = [str(shutil.which("face-nexar", path=faces)), "--seconds", "0.01", "--json", *work, "barrier"]
    process = start(*jobkit.nexar("run", "-n", str(ranks), "--", *program))
    assert process.wait() == 0, process.stdout + process.stderr
    lines = peers.parse(process.stdout)
    assert [line["case"] for line in lines] == [case for case in CASES for _ in range(2)] + ["barrier"]
    for line in lines[:-1]:
        assert 24 - 4 * ranks < line["bytes"] <= 1020
    assert lines[-1]["bytes"] == 0
    for line in lines:
        assert (line["ranks"], line["wrong"], line["face"]) == (ranks, 0, "c")
        assert 0 < line["p50_us"] <= line["p99_us"]


@pytest.mark.parametrize("case", ["p2p", "stream"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_c_measures_messages(bench: Bench, faces: str, case: str, ranks: int) -> None:
    text = bench(case, "--face", "c", "-n", str(ranks), "--sizes", "8,100k", *SHORT, "--json", env={"PATH": faces})
    assert [(line["case"], line["bytes"], line["wrong"]) for line in objects(text)] == [(case, 8, 0), (case, 102400, 0)]


def test_c_prints_a_table_too(bench: Bench, faces: str) -> None:
    header, row = bench("barrier", "--face", "c", "--seconds", "0.01", env={"PATH": faces}).splitlines()
    assert header.split()[0] == "case"
    assert row.split()[0] == "barrier"


def test_c_takes_part_in_a_job_that_runs(start: Start, faces: str) -> None:
    command = ("-m", "pynexar", "bench", "barrier", "--face", "c", "--seconds", "0.01", "--json")
    process = start(*jobkit.nexar("run", "-n", "2", *command), env={"PATH": faces})
    assert process.wait() == 0, process.stderr
    (line,) = peers.parse(process.stdout)
    assert (line["case"], line["ranks"], line["face"]) == ("barrier", 2, "c")


def test_c_says_where_it_looked(bench: Bench, tmp_path: Path) -> None:
    library = tmp_path / "libnexar.so"
    library.symlink_to(jobkit_library())
    (tmp_path / "lib").mkdir()
    copy = shutil.copy(library, tmp_path / "lib" / "libnexar.so.0")
    text = bench("barrier", "--face", "c", status=1, env={"NEXAR_LIBRARY": str(copy), "PATH": "/nowhere"})
    assert f"there is no program face-nexar in {tmp_path}/lib/bench, nor in PATH" in text


def jobkit_library() -> str:
    from pynexar._ffi import find

    return find()


def test_stream_from_python(bench: Bench) -> None:
    lines = objects(bench("stream", "-n", "3", "--sizes", "0,5,70000", "--seconds", "0.01", "--json"))
    assert [(line["bytes"], line["wrong"], line["dtype"]) for line in lines] == [
        (0, 0, "uint8"),
        (5, 0, "uint8"),
        (70000, 0, "uint8"),
    ]


def test_transports_take_turns(bench: Bench) -> None:
    text = bench("p2p", "--sizes", "8", "--transports", "quic", *SHORT, "--json")
    lines = objects(text)
    assert [(line["library"], line["transport"], line["round"]) for line in lines] == [
        ("nexar-quic", "quic", 0),
        ("nexar-quic", "quic", 1),
    ]
    assert all(line["wrong"] == 0 for line in lines)


def test_a_transport_that_is_not_there_fails_the_comparison(bench: Bench) -> None:
    text = bench("p2p", "--sizes", "8", "--transports", "pigeon", *SHORT, status=1)
    assert "nexar-pigeon ended with status" in text
    assert "pigeon" in text.split("status", 1)[1]


def test_peers_that_are_not_installed_are_named_and_left_out(start: Start) -> None:
    """No MPI is where this PATH leads, and bare OpenSSL has no Python."""
    arguments = ("p2p", "--sizes", "8", "--compare", "openmpi,mpich,ssl", *SHORT)
    process = start(*jobkit.nexar("bench", *arguments), env={"PATH": "/nowhere"})
    assert process.wait() == 0, process.stderr
    assert [line.split(":")[1].strip() for line in process.stderr.splitlines()] == [
        f"{name} is left out" for name in ("openmpi", "mpich", "ssl")
    ]
    header, columns, row = process.stdout.splitlines()
    assert header.startswith("p2p, 2 ranks, from Python")
    assert columns.split() == ["bytes", "nexar"]
    assert row.split()[0] == "8"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["p2p", "--compare", "carrier"], "there is no peer carrier; there are mpi, "),
        (["p2p", "--seconds", "-1"], "no number of seconds"),
        (["stream", "-n", "1"], "two ranks"),
        (["p2p", "--face", "rust"], "invalid choice"),
    ],
)
def test_nonsense_is_refused(bench: Bench, arguments: list[str], complaint: str) -> None:
    assert complaint in bench(*arguments, status=2)


def test_inside_a_job_nothing_starts_jobs(start: Start) -> None:
    for option in (["--compare", "mpi"], ["--transports", "quic"], ["--plot", "x.png"], ["--tune"]):
        command = ("-m", "pynexar", "bench", "barrier", *option)
        process = start(*jobkit.nexar("run", "-n", "1", *command))
        assert process.wait() == 2
        assert "run it outside of one" in process.stderr


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["openmpi", "mpich", "ssl"])
def test_c_peers_do_the_same_work(faces: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """All that this peer can do, checked by the same code; skipped where it is not installed."""
    monkeypatch.setenv("PATH", faces)
    peer = peers.PEERS[name]
    reason = peer.missing("c")
    if reason is not None:
        pytest.skip(reason)
    work = [(case, [1020]) for case in [*CASES, "p2p", "stream"]] + [("barrier", [0])]
    lines = peer.run(2, "c", work, 0.01)
    assert {line["library"] for line in lines} == {name}
    assert {line["transport"] for line in lines} == {name}
    assert all(line["wrong"] == 0 for line in lines)
    expected = {"all_gather", "barrier", "p2p", "stream"} if name == "ssl" else {case for case, _ in work}
    assert {line["case"] for line in lines} == expected


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["openmpi", "mpich", "gloo"])
def test_python_peers_do_the_same_work(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    peer = peers.PEERS[name]
    reason = peer.missing("python")
    if reason is not None:
        pytest.skip(reason)
    work = [(case, [1020]) for case in [*CASES, "p2p", "stream"]] + [("barrier", [0])]
    lines = peer.run(2, "python", work, 0.01)
    assert all((line["library"], line["transport"], line["wrong"]) == (name, name, 0) for line in lines)
    assert {line["case"] for line in lines} >= {case for case, _ in work} - {"scan"}


def result(library: str, number: int, nbytes: int, p50: float) -> dict[str, Any]:
    return {"case": "p2p", "bytes": nbytes, "ranks": 2, "library": library, "round": number, "p50_us": p50}


RESULTS = [
    *(result("nexar", number, 8, p50) for number, p50 in enumerate([1.0, 2.0, 6.0])),
    *(result("peer", number, 8, p50) for number, p50 in enumerate([2.0, 2.0, 3.0])),
    result("nexar", 0, 64, 5.0),  # the peer did not measure this size
    result("peer", 1, 128, 7.0),
]


def test_ratios_are_of_one_round_then_their_median() -> None:
    assert compare.ratios(RESULTS, "nexar", "peer") == {("p2p", 8, 2): (1.0, 0.5, 2.0)}
    assert compare.ratios(RESULTS, "peer", "nexar") == {("p2p", 8, 2): (1.0, 0.5, 2.0)}
    assert compare.ratios(RESULTS, "nexar", "nobody") == {}
    own, peer = peers.Runner("nexar", "nexar"), peers.Runner("peer", "openmpi")
    (line,) = compare.ratio_lines(RESULTS, [own], [peer])
    assert (line["library"], line["peer"], line["bytes"]) == ("nexar", "peer", 8)
    assert (line["ratio"], line["ratio_least"], line["ratio_most"]) == (1.0, 0.5, 2.0)


def test_table_has_a_column_for_each_and_a_ratio_for_each_pair() -> None:
    own, peer = peers.Runner("nexar", "nexar"), peers.Runner("peer", "openmpi")
    head, *rows = compare.table(RESULTS, [own], [peer])
    assert head.split() == ["bytes", "nexar", "peer", "nexar", "/", "peer"]
    assert [row.split() for row in rows] == [
        ["8", "2.00", "2.00", "1.00", "(0.50", "-", "2.00)"],
        ["64", "5.00", "-", "-"],
        ["128", "-", "7.00", "-"],
    ]


def test_plot_lines_are_sorted_medians_with_their_range() -> None:
    mixed = [result("nexar", 0, 64, 5.0), *RESULTS[:3]]
    assert plot.lines(mixed) == {"nexar": [(8, 2.0, 1.0, 6.0), (64, 5.0, 5.0, 5.0)]}


def test_plot_is_drawn_or_says_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "times.png"
    arguments = ("p2p", "--sizes", "8,1k", *SHORT, "--plot", str(file))
    if importlib.util.find_spec("matplotlib") is None:
        assert "pip install 'pynexar[plot]'" in bench(*arguments, status=2)
        return
    bench(*arguments)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_groups_stand_for_their_members() -> None:
    assert [peer.name for peer in peers.named("mpi,gloo,mpich")] == ["openmpi", "openmpi-nocma", "mpich", "gloo"]
    with pytest.raises(ValueError, match="no peer sparrow"):
        peers.named("mpi,sparrow")


def test_a_job_that_fails_is_told_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process fails, the other would wait for ever."""
    program = [sys.executable, "-c", "import sys, time; time.sleep(600) if sys.argv[1] == '0' else sys.exit('no luck')"]
    monkeypatch.setattr(peers, "LAST", 0.1)
    with pytest.raises(peers.CannotRunError, match=r"somebody ended with status (?s:.*)no luck"):
        peers._outputs([([*program, "0"], os.environ), ([*program, "1"], os.environ)], "somebody")
