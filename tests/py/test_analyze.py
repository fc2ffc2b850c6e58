"""nexar analyze on dumps that are made here: what it says of each kind of trouble, and of files that are no dumps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pynexar.__main__ import main


def dump(rank: int, size: int = 3, seq: int = 1, **more: Any) -> dict[str, Any]:
    fields = {
        "format": "nexar-dump/1",
        "version": "0.1.0",
        "reason": "SIGUSR1",
        "rank": rank,
        "size": size,
        "host": "node",
        "pid": 100 + rank,
        "unix_time": 1_700_000_000.5,
        "now": 50.0,
        "communicators": [
            {"id": 1, "rank": rank, "size": size, "world": list(range(size)), "seq": seq, "broken": None}
        ],
        "gone": [],
        "running": [],
        "running_left_out": 0,
        "forgotten": 0,
        "ended": [],
    }
    return {**fields, **more}


def collective(seq: int, what: str = "barrier()", status: str = "", **more: Any) -> dict[str, Any]:
    ended = {"ended": 42.0, "status": status, "peer": None} if status else {"state": "waits"}
    return {"comm": 1, "call": what.partition("(")[0], "seq": seq, "what": what, "begun": 40.0, **ended, **more}


def analyze(folder: Path, dumps: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    for fields in dumps:
        (folder / f"nexar-{fields['rank']}.json").write_text(json.dumps(fields))
    status = main(["analyze", str(folder)])
    out, err = capsys.readouterr()
    return status, err + out


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [dump(rank, ended=[collective(1, status="OK")]) for rank in range(3)]
    status, text = analyze(tmp_path, rows, capsys)
    assert status == 0
    assert "3 of 3 ranks have written a dump" in text
    assert "nothing is wrong that could be seen" in text
    assert "rank 2 (node, process 102): is in no call; its last, barrier #1, ended 8 s ago" in text


def test_who_never_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recv = {"comm": 1, "call": "recv", "src": 0, "tag": None, "space": 0, "nbytes": 8, "begun": 45.0, "state": "waits"}
    rows = [dump(0, seq=2, running=[collective(2)]), dump(1, running=[recv]), dump(2, seq=2, running=[collective(2)])]
    status, text = analyze(tmp_path, rows, capsys)
    assert status == 0
    assert (
        "- rank 1 never came to barrier #2, to which ranks 0 and 2 came: it is in recv from rank 0, any tag for 5 s"
        in text
    )


def test_which_calls_disagree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        dump(rank, running=[collective(1, "barrier()" if rank else "broadcast(3 x int8, root 0)")]) for rank in range(3)
    ]
    status, text = analyze(tmp_path, rows, capsys)
    assert status == 0
    assert (
        "- collective #1 is not the same on all ranks: rank 0 called broadcast(3 x int8, root 0); "
        "ranks 1 and 2 called barrier()" in text
    )


def test_who_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    why = "rank 1 (10.0.0.7:5) is lost: no sign of life"
    rows = [dump(0, gone=[{"rank": 1, "why": why}]), dump(2)]
    status, text = analyze(tmp_path, rows, capsys)
    assert status == 0
    assert f"- rank 1 has written no dump: its process ended before, or could not write; rank 0 says: {why}" in text


def test_ranks_are_those_of_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A communicator of some of the ranks has numbers of its own."""
    part = [{"id": 77, "rank": 0, "size": 2, "world": [2, 0], "seq": 0, "broken": None}]
    send = {"comm": 77, "call": "send", "dest": 1, "tag": 3, "space": 0, "nbytes": 8, "begun": 45.0, "state": "waits"}
    _, text = analyze(tmp_path, [dump(0), dump(1), dump(2, communicators=part, running=[send])], capsys)
    assert "rank 2 (node, process 102): is in send to rank 0, tag 3 of communicator 0x4d for 5 s" in text


HOSTILE = {
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "cut": json.dumps(dump(1)).encode()[:-40],
    "deep": b"[" * 200_000,
    "a list": b"[]",
    "a number with too many digits": b'{"format": "nexar-dump/1", "rank": ' + b"9" * 10_000 + b"}",
    "not a number": json.dumps(dump(1)).replace("50.0", "NaN").encode(),
    "another format": json.dumps(dump(1, format="nexar-dump/9")).encode(),
    "a rank that there is not": json.dumps(dump(3)).encode(),
    "a negative rank": json.dumps(dump(-1)).encode(),
    "true for a rank": json.dumps({**dump(1), "rank": True}).encode(),
    "endless ranks": json.dumps({**dump(1), "size": 1 << 60}).encode(),
    "another job": json.dumps(dump(1, size=8)).encode(),
    "the same rank twice": json.dumps(dump(0)).encode(),
    "operations that are none": json.dumps(dump(1, ended=[1, None, "x"])).encode(),
    "an operation without a call": json.dumps(dump(1, running=[{"comm": 1}])).encode(),
    "communicators as text": json.dumps(dump(1, communicators="all")).encode(),
    "a world that is none": json.dumps(
        dump(1, communicators=[{"id": 1, "rank": 0, "size": 1 << 40, "world": [], "seq": 0}])
    ).encode(),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_dump_is_named_and_skipped(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nexar-1.json").write_bytes(HOSTILE[case])
    status, text = analyze(tmp_path, [dump(0), dump(2)], capsys)
    assert status == 3
    assert "skipped nexar-1.json: " in text
    assert "- rank 1 has written no dump" in text


def test_texts_do_not_write_into_terminals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [dump(rank, host="\x1b[2J" + "x" * 9000, running=[collective(1, "\x1b]0;bar\r\n")]) for rank in range(3)]
    status, text = analyze(tmp_path, rows, capsys)
    assert status == 0
    assert all(c.isprintable() or c == "\n" for c in text)
    assert len(text) < 20_000


def test_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = analyze(tmp_path, [], capsys)
    assert (status, text.startswith("there are no dumps in ")) == (1, True)
    assert main(["analyze", str(tmp_path / "nowhere")]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nexar-0.json").write_text(json.dumps(dump(0, running=[collective(1)])))
    (tmp_path / "nexar-x.json").write_text("{}")
    assert main(["analyze", str(tmp_path), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["read"]) == (3, [0])
    assert [bad["file"] for bad in found["bad"]] == ["nexar-x.json"]
    assert [finding["kind"] for finding in found["findings"]] == ["missing"]
    assert found["ranks"] == [
        {"rank": 0, "host": "node", "pid": 100, "reason": "SIGUSR1", "doing": "is in barrier #1 for 10 s"}
    ]
