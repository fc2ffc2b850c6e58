"""What ranks are told when something goes wrong, in processes of their own: who never came, who gave up and why, and
what the flight recorders say afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from pynexar.cli import analyze
from ranks import Raised, Rank, Ranks


@pytest.fixture
def job(ranks: Ranks, tmp_path: Path) -> Callable[[int], list[Rank]]:
    """Ranks in processes, whose dumps go to tmp_path/dumps."""

    def of(n: int) -> list[Rank]:
        starter = ranks.start("seed")
        starter.do(f"seed = nx.Seed('127.0.0.1:0', world_size={n})")
        join = starter.do("seed.join_string")
        environment = {"NEXAR_DUMP_DIR": str(tmp_path / "dumps"), "NEXAR_PEER_TIMEOUT": "20", "NEXAR_BIND": "127.0.0.1"}
        members = [ranks.member(join, rank, n, **environment) for rank in range(n)]
        for member in members:
            member.end(timeout=60)
        return members

    return of


def fails(rank: Rank) -> Raised:
    with pytest.raises(Raised) as caught:
        rank.end(timeout=60)
    return caught.value


def analysis(folder: Path) -> dict[str, Any]:
    dumps, bad = analyze.load(sorted(map(str, folder.glob("nexar-*.json"))))
    return analyze.report(dumps, bad)


@pytest.mark.parametrize("count", [4, 1_000_000])
def test_c8_a_timeout_names_who_never_came_on_every_rank(
    job: Callable[[int], list[Rank]], tmp_path: Path, count: int
) -> None:
    """In the reference a timeout names no rank, or the neighbour of a ring."""
    members = job(4)
    absent = members[2]
    absent.begin("comm.recv(bytearray(1), 0, tag=9, timeout=60).nbytes")
    others = [members[rank] for rank in (0, 1, 3)]
    for member in others:
        member.begin(f"comm.all_reduce(np.ones({count}, np.float32), timeout=1)")
    for member in others:
        error = fails(member)
        assert (error.name, error.peer) == ("Timeout", 2), error
        assert "waiting for rank 2 (" in error.text
        assert "which has not called it: it is in recv from rank 0, tag 9" in error.text
    absent.until_logged("wrote .*nexar-2.json", 0, timeout=60)  # it has heard of it
    members[0].do("comm.send(b'x', 2, tag=9)")
    assert absent.end() == 1
    absent.begin("comm.all_reduce(np.ones(1))")
    error = fails(absent)
    assert error.name == "Timeout"
    assert "reported by rank" in error.text

    found = analysis(tmp_path / "dumps")
    assert found["read"] == [0, 1, 2, 3]
    [never] = [f for f in found["findings"] if f["kind"] == "absent"]
    assert (never["rank"], never["seq"], never["came"]) == (2, 1, [0, 1, 3])
    assert (
        "rank 2 never came to all_reduce #1, to which ranks 0, 1 and 3 came: it is in recv from rank 0" in never["text"]
    )


def test_calls_that_disagree_are_found_in_the_dumps(job: Callable[[int], list[Rank]], tmp_path: Path) -> None:
    members = job(3)
    members[0].begin("comm.all_reduce(np.ones(5, np.float32))")
    members[1].begin("comm.all_reduce(np.ones(5, np.float32), 'max')")
    members[2].begin("comm.all_reduce(np.ones(5, np.float32))")
    for member in members:
        assert fails(member).name == "Mismatch"
    for rank, member in enumerate(members):  # a thread writes them
        member.until_logged(f"wrote .*nexar-{rank}.json", 0, timeout=60)
    found = analysis(tmp_path / "dumps")
    [finding] = [f for f in found["findings"] if f["kind"] == "mismatch"]
    assert finding["seq"] == 1
    sides = {side["call"]: set(side["ranks"]) for side in finding["calls"]}
    assert sides.keys() == {"all_reduce(5 x float32, sum)", "all_reduce(5 x float32, max)"}
    assert sides["all_reduce(5 x float32, max)"] == {1}
    assert sides["all_reduce(5 x float32, sum)"] <= {0, 2}  # who hears of it before it calls has called nothing


def test_sigusr1_writes_a_dump(job: Callable[[int], list[Rank]], tmp_path: Path) -> None:
    members = job(2)
    members[0].begin("comm.recv(bytearray(1), 1, tag=4, timeout=60).nbytes")
    members[1].do("import signal; before = signal.signal(signal.SIGUSR1, lambda *_: print(end='', flush=True))")
    seen: dict[str, Any] = {"running": []}
    deadline = time.monotonic() + 60
    while not seen["running"] and time.monotonic() < deadline:  # until rank 0 has come to its call
        since = members[0].logged()
        for member in members:
            os.kill(member.pid, signal.SIGUSR1)
        members[0].until_logged("wrote .*nexar-0.json", since, timeout=60)
        seen = json.loads((tmp_path / "dumps/nexar-0.json").read_text())
    members[1].do("comm.send(b'x', 0, tag=4)")
    assert members[0].end() == 1
    assert [path.name for path in (tmp_path / "dumps").iterdir()] == ["nexar-0.json"]  # rank 1 has its own handler
    assert seen["reason"] == "SIGUSR1"
    assert [(op["call"], op["src"], op["tag"]) for op in seen["running"]] == [("recv", 1, 4)]
    assert seen["running"][0]["state"].startswith("recv from rank 1 (")


def test_a_full_disk_is_no_second_error(ranks: Ranks) -> None:
    rank = ranks.start("alone", NEXAR_DUMP_DIR="/proc/nowhere")
    rank.do("comm = nx.init()")
    rank.until_logged("dumps cannot be written to /proc/nowhere")
    assert rank.do("comm.all_reduce(np.ones(2)).tolist()") == [1, 1]
    with pytest.raises(Raised, match=r"cannot write /dev/full/x"):
        rank.do("comm.dump('/dev/full/x')")
    with pytest.raises(Raised, match=r"cannot write /proc/nexar\.json"):
        rank.do("comm.dump('/proc/nexar.json')")


def test_abort_reaches_everybody(job: Callable[[int], list[Rank]]) -> None:
    members = job(3)
    members[0].begin("comm.recv(bytearray(1), 1, timeout=60)")
    members[2].begin("comm.all_reduce(np.ones(1_000_000), timeout=60)")
    members[1].do("comm.abort('no disk \u00fc left')")
    members[1].begin("comm.barrier()")
    for member in members:
        error = fails(member)
        assert (error.name, error.peer) == ("Closed", 1)
        assert "rank 1 aborted the communicator: no disk ? left" in error.text
    for member in members:
        member.begin("comm.close()")
    for member in members:
        member.end(timeout=60)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda comm: comm.abort(5), "reason is 5; it must be text"),
        (lambda comm: comm.abort(None), "reason is None; it must be text"),
        (lambda comm: comm.dump(""), "path is ''; it must be that of a file or of a folder"),
        (lambda comm: comm.dump(None), "path is None; it must be"),
        (lambda comm: comm.dump(7), "path is 7; it must be"),
        (lambda comm: comm.dump("a\0b"), "it must be that of a file"),
    ],
)
def test_wrong_arguments(pair: nx.LocalCluster, call: Callable[[nx.Comm], None], words: str) -> None:
    with pytest.raises(nx.UsageError) as caught:
        call(pair[0])
    assert words in str(caught.value)
    pair.run(lambda comm: comm.all_reduce(np.ones(3)))
