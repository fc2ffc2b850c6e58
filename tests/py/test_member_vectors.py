"""tests/vectors/member.txt in both directions, with a codec that shares no code with the C library."""

from __future__ import annotations

import pytest

import refmember
from refcodec import WireError
from test_vectors import Vector, load

VECTORS = load("member.txt")
ENTRIES = [v for v in VECTORS if v.get("entry") is not None]
STANDS = [v for v in VECTORS if v.get("stand") is not None]


def before_of(vector: Vector) -> refmember.Entry | None:
    return None if vector.get("before") is None else refmember.decode_entry(vector.hex("before"), None)


@pytest.mark.parametrize("vector", ENTRIES, ids=lambda v: v.name)
def test_entry(vector: Vector) -> None:
    before = before_of(vector)
    if vector.get("rejected") is not None:
        with pytest.raises(WireError):
            refmember.decode_entry(vector.hex("entry"), before)
        return
    entry = refmember.decode_entry(vector.hex("entry"), before)
    for key in ("epoch", "agrees", "checkpoints", "result", "flags", "joined"):
        assert getattr(entry, key) == int(vector.get(key) or "")
    assert [uid.hex() for uid in entry.members] == vector.all("member")
    gone = [f"{g.rank} {'left' if g.left else 'lost'} {g.uid.hex()}" for g in entry.gone]
    assert gone == vector.all("gone")
    assert entry.digest == vector.hex("digest")
    assert refmember.encode_entry(entry, before is None) == vector.hex("entry")


@pytest.mark.parametrize("vector", STANDS, ids=lambda v: v.name)
def test_stand(vector: Vector) -> None:
    if vector.get("rejected") is not None:
        with pytest.raises(WireError):
            refmember.decode_stand(vector.hex("stand"))
        return
    stand = refmember.decode_stand(vector.hex("stand"))
    assert (stand.agree, stand.flag) == (int(vector.get("agree") or ""), int(vector.get("flag") or ""))
    assert (stand.ready, stand.leaving) == (vector.get("ready") == "1", vector.get("leaving") == "1")
    for key, uids in (
        ("suspect", stand.suspects),
        ("candidate", stand.candidates),
        ("witnessed", stand.witnessed),
    ):
        assert [uid.hex() for uid in uids] == vector.all(key)
    assert refmember.encode_stand(stand) == vector.hex("stand")
