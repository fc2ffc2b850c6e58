"""The Python codec itself: round trips, and hostile bytes raise nothing but its own error."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refcodec
from refcodec import Head, StreamParser, WireError

TEXTS = st.text(max_size=80)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "u8": st.integers(0, 2**8 - 1),
    "u16": st.integers(0, 2**16 - 1),
    "u32": st.integers(0, 2**32 - 1),
    "u64": st.integers(0, 2**64 - 1),
    "bytes": st.binary(max_size=60),
    "text": TEXTS,
    "u32s": st.lists(st.integers(0, 2**32 - 1), max_size=6),
    "pairs": st.lists(st.tuples(st.integers(0, 2**32 - 1), TEXTS), max_size=5),
}


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(sorted(refcodec.KINDS.values(), key=lambda k: k.number)))
    return kind.name, {field.name: draw(VALUES[field.type]) for field in kind.fields}


@st.composite
def heads(draw: st.DrawFn) -> Head:
    u32, u64, n = VALUES["u32"], VALUES["u64"], draw(st.integers(8, 60))
    tag = draw(st.sampled_from([1, 2, 3, 4, 0x41]))
    if tag == refcodec.FRAMED:
        return Head(tag, n)
    if tag == refcodec.RAW:
        return Head(tag, n, 4)
    if tag == refcodec.RAW_COMM:
        return Head(tag, n, 5, scope=draw(u64))
    if tag == refcodec.RAW_TAGGED:
        return Head(tag, n, 6, id=draw(u64))
    return Head(tag, n, draw(st.integers(0, 9)), draw(u32), draw(u64), draw(u64), draw(u64), draw(u64))


@given(messages())
def test_message_round_trip(message: tuple[str, dict[str, Any]]) -> None:
    archive = refcodec.encode_archive(*message)
    assert len(archive) % 8 == 0
    assert refcodec.decode_archive(archive) == message
    assert refcodec.unframe(refcodec.frame(archive, 1)) == (1, archive)


def decode_or_refuse(data: bytes) -> None:
    try:
        name, fields = refcodec.decode_archive(data)
    except WireError:
        return
    canonical = refcodec.encode_archive(name, fields)
    assert refcodec.decode_archive(canonical) == (name, fields)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    decode_or_refuse(data)
    try:
        refcodec.unframe(data)
    except WireError:
        pass


HOSTILE = st.one_of(
    st.sampled_from([0, 1, 0x80, 0x88, 0x89, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFBF, 0x15555556]),
    st.integers(0, 200),
    st.integers(2**32 - 200, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


@given(messages(), st.lists(st.tuples(st.integers(0, 10**6), HOSTILE), min_size=1, max_size=3))
def test_hostile_words(message: tuple[str, dict[str, Any]], edits: list[tuple[int, int]]) -> None:
    """Every length, offset and word of a string is an aligned word of the archive."""
    data = bytearray(refcodec.encode_archive(*message))
    for where, value in edits:
        struct.pack_into("<I", data, 4 * (where % (len(data) // 4)), value)
    decode_or_refuse(bytes(data))


@given(messages(), st.integers(0, 10**6), st.booleans())
def test_truncated(message: tuple[str, dict[str, Any]], where: int, front: bool) -> None:
    data = refcodec.encode_archive(*message)
    cut = where % len(data)
    decode_or_refuse(data[cut:] if front else data[:cut])


@given(
    st.lists(st.tuples(heads(), st.integers(0, 255)), max_size=6),
    st.lists(st.integers(1, 40), min_size=1),
    st.booleans(),
)
def test_stream_round_trip(items: list[tuple[Head, int]], cuts: list[int], many: bool) -> None:
    many = many or len(items) != 1
    sent = [(head, bytes([fill]) * head.len) for head, fill in items]
    data = (b"\x40" if many else b"") + b"".join(head.encode() + payload for head, payload in sent)
    parser = StreamParser()
    got: list[tuple[Head, bytes]] = []
    at = 0
    while at < len(data):
        cut = cuts[at % len(cuts)]
        for event in parser.feed(data[at : at + cut]):
            if isinstance(event, Head):
                got.append((event, b""))
            elif event is not None:
                got[-1] = (got[-1][0], got[-1][1] + event)
        at += cut
    parser.finish()
    assert got == sent


@given(
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\x40", b"\x41", b"\x02", bytes(8)])), max_size=8),
    st.booleans(),
)
def test_any_stream(pieces: list[bytes], own: bool) -> None:
    """Given at once and in pieces, the same messages or the same refusal."""

    def run(pieces: list[bytes]) -> tuple[list[Head], bytes, int, str]:
        parser = StreamParser(own=own, limit=1000)
        found: list[Head] = []
        payload, ends, error = b"", 0, ""
        for piece in pieces:
            try:
                parser.feed(piece)
            except WireError as e:
                error = str(e)
            found += [event for event in parser.events if isinstance(event, Head)]
            payload += b"".join(event for event in parser.events if isinstance(event, bytes))
            ends += parser.events.count(None)
            if error:
                break
        else:
            try:
                parser.finish()
            except WireError as e:
                error = str(e)
        return found, payload, ends, error

    data = b"".join(pieces)
    assert run(pieces) == run([data]) == run([data[i : i + 1] for i in range(len(data))])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("nothing", {}),
        ("bye", {}),
        ("bye", {"reason": 1, "messages": 0, "more": 2}),
        ("bye", {"reason": -1, "messages": 0}),
        ("bye", {"reason": 2**32, "messages": 0}),
        ("bye", {"reason": "1", "messages": 0}),
        ("recovery_vote", {"epoch": 0, "dead_ranks": [2**32]}),
        ("abort", {"code": 0, "rank": 0, "reason": "\ud800"}),
    ],
)
def test_cannot_be_encoded(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        refcodec.encode_archive(name, fields)


@pytest.mark.parametrize(
    "head", [Head(0), Head(0x40), Head(0x41, lane=10), Head(2, -1), Head(2, 2**64), Head(3, scope=2**64)]
)
def test_heads_that_cannot_be_encoded(head: Head) -> None:
    with pytest.raises(WireError):
        head.encode()


def test_error_is_final() -> None:
    parser = StreamParser()
    with pytest.raises(WireError):
        parser.feed(b"\x99")
    with pytest.raises(WireError):
        parser.feed(b"\x02" + bytes(8))
    assert parser.events == []
    with pytest.raises(WireError):
        parser.finish()
