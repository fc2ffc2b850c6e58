"""The files under tests/vectors/ in both directions, with a codec that shares no code with the C library."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import refcodec
from refcodec import Head, StreamParser, WireError

VECTORS = Path(__file__).parent.parent / "vectors"

CONVERT: dict[str, Callable[[str], Any]] = {"bytes": bytes.fromhex, "text": str}


@dataclasses.dataclass
class Vector:
    name: str
    lines: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def get(self, key: str) -> str | None:
        return next((value for k, value in self.lines if k == key), None)

    def all(self, key: str) -> list[str]:
        return [value for k, value in self.lines if k == key]

    def hex(self, key: str) -> bytes:
        return bytes.fromhex(self.get(key) or "")


def load(name: str) -> list[Vector]:
    """A case is a line `case NAME` and lines `key = value` until the next one; `#` begins a comment line."""
    vectors: list[Vector] = []
    for line in (VECTORS / name).read_text(encoding="utf-8").split("\n"):
        if line.startswith("case "):
            vectors.append(Vector(line[5:]))
        elif line and not line.startswith("#"):
            key, value = line.split(" =", 1)
            vectors[-1].lines.append((key, value.removeprefix(" ")))
    return vectors


def fields_of(vector: Vector) -> tuple[str, dict[str, Any]]:
    """Name and fields of the message, from the text of the case."""
    name = vector.get("message")
    assert name is not None
    fields: dict[str, Any] = {}
    for field in refcodec.KINDS[name].fields:
        values = vector.all(field.name)
        if field.type == "pairs":
            fields[field.name] = [(int(v.split(" ", 1)[0]), v.split(" ", 1)[1]) for v in values]
        elif field.type == "u32s":
            fields[field.name] = [int(v) for v in values]
        else:
            assert len(values) == 1
            fields[field.name] = CONVERT.get(field.type, int)(values[0])
    known = {"message", "archive", "canonical", *fields}
    assert {key for key, _ in vector.lines} <= known
    return name, fields


MESSAGES = load("message.txt")
STREAMS = load("stream.txt")


def ids(vector: Vector) -> str:
    return vector.name


@pytest.mark.parametrize("vector", [v for v in MESSAGES if v.get("rejected") is None], ids=ids)
def test_message(vector: Vector) -> None:
    name, fields = fields_of(vector)
    archive = vector.hex("archive")
    assert refcodec.decode_archive(archive) == (name, fields)
    canonical = refcodec.encode_archive(name, fields)
    assert (canonical == archive) == (vector.get("canonical") is None)
    assert refcodec.decode_archive(canonical) == (name, fields)


@pytest.mark.parametrize("vector", [v for v in MESSAGES if v.get("rejected") is not None], ids=ids)
def test_message_rejected(vector: Vector) -> None:
    with pytest.raises(WireError):
        refcodec.decode_archive(vector.hex("archive"))


def test_all_messages_have_vectors() -> None:
    assert {v.get("message") for v in MESSAGES} - {None} == set(refcodec.KINDS)
    of_reference = [v for v in MESSAGES if v.get("rejected") is None and v.hex("archive")[-48] <= 16]
    assert len(of_reference) >= 29
    assert len({v.name for v in MESSAGES + STREAMS}) == len(MESSAGES + STREAMS)


def events_of(vector: Vector, pieces: int) -> tuple[list[tuple[Head, bytes]], str | None, str | None, bool]:
    """Messages that the parser finds (the last may be cut), its error, its error at the end, and whether it is many."""
    parser = StreamParser(own=vector.get("dialect") == "own", limit=int(vector.get("limit") or 1 << 32))
    data = vector.hex("bytes")
    messages: list[tuple[Head, bytes]] = []
    ended = 0

    def take() -> None:
        nonlocal ended
        for event in parser.events:
            if isinstance(event, Head):
                messages.append((event, b""))
            elif event is not None:
                messages[-1] = (messages[-1][0], messages[-1][1] + event)
            else:
                assert len(messages[-1][1]) == messages[-1][0].len
                ended += 1

    try:
        for at in range(0, len(data), pieces):
            parser.feed(data[at : at + pieces])
            take()
    except WireError as error:
        take()
        return messages, str(error), None, parser.many
    assert ended == sum(len(payload) == head.len for head, payload in messages)
    try:
        parser.finish()
    except WireError as error:
        return messages, None, str(error), parser.many
    return messages, None, None, parser.many


def expected_messages(vector: Vector) -> list[tuple[Head, bytes]]:
    heads = []
    for line in vector.all("head"):
        words = line.split()
        heads.append(Head(**{key: int(value) for key, value in zip(words[::2], words[1::2], strict=True)}))
    return list(zip(heads, map(bytes.fromhex, vector.all("payload")), strict=True))


@pytest.mark.parametrize("pieces", [1, 3, 1 << 20])
@pytest.mark.parametrize("vector", [v for v in STREAMS if v.get("frame") is None], ids=ids)
def test_stream(vector: Vector, pieces: int) -> None:
    messages, error, finish, many = events_of(vector, pieces)
    assert messages == expected_messages(vector)
    assert error == vector.get("error")
    assert finish == vector.get("finish")
    assert many == (vector.get("many") is not None)
    if error is None and finish is None:
        data = b"".join(head.encode() + payload for head, payload in messages)
        assert (b"\x40" if many else b"") + data + vector.hex("ignored") == vector.hex("bytes")


@pytest.mark.parametrize("vector", [v for v in STREAMS if v.get("frame") is not None], ids=ids)
def test_frame(vector: Vector) -> None:
    room = int(vector.get("room") or 0)
    if vector.get("rejected") is not None:
        with pytest.raises(WireError):
            refcodec.decode_header(vector.hex("frame"), room)
    else:
        expected = (int(vector.get("payload_length") or 0), int(vector.get("priority") or 0))
        assert refcodec.decode_header(vector.hex("frame"), room) == expected


def test_worked_example() -> None:
    """The bytes that the description of the protocol gives for one message."""
    vector = next(v for v in STREAMS if v.name == "worked_example")
    fields = {"tag": 42, "src_rank": 3, "payload": bytes.fromhex("deadbeef")}
    assert refcodec.framed_message("data", fields, priority=2) == vector.hex("bytes")
    priority, archive = refcodec.unframe(vector.hex("payload"))
    assert priority == 2
    assert refcodec.decode_archive(archive) == ("data", fields)
