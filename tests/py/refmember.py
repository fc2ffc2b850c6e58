"""What messages of the membership have in their bytes, in pure Python: written from libnexar/docs/MEMBERSHIP.md.

Whatever the bytes are, the only exception is `WireError`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct

from refcodec import WireError

HEAD = struct.Struct("<QQQQIIII")
AGREE, CHECKPOINT, WHOLE = 1, 2, 4
LEFT = 1 << 31
WORLD_MAX = 1 << 20


@dataclasses.dataclass(frozen=True)
class Gone:
    rank: int
    left: bool
    uid: bytes


@dataclasses.dataclass(frozen=True)
class Entry:
    epoch: int
    agrees: int
    checkpoints: int
    result: int
    flags: int
    members: tuple[bytes, ...]
    gone: tuple[Gone, ...]
    joined: int
    digest: bytes

    def head(self, form: int) -> bytes:
        counts = (len(self.members), len(self.gone), self.joined)
        return HEAD.pack(self.epoch, self.agrees, self.checkpoints, self.result, self.flags | form, *counts)

    def gone_words(self) -> bytes:
        return b"".join(struct.pack("<I", gone.rank | (LEFT if gone.left else 0)) for gone in self.gone)


def digest(before: bytes, entry: Entry, new: tuple[bytes, ...]) -> bytes:
    pieces = (before, entry.head(0), entry.gone_words(), b"".join(new))
    return hashlib.sha256(b"".join(struct.pack("<Q", len(piece)) + piece for piece in pieces)).digest()[:16]


def first(members: tuple[bytes, ...]) -> Entry:
    entry = Entry(0, 0, 0, 0, 0, members, (), 0, b"")
    return dataclasses.replace(entry, digest=digest(b"", entry, members))


def follow(
    last: Entry, gone: list[tuple[int, bool]], joined: tuple[bytes, ...] = (), flags: int = 0, result: int = 0
) -> Entry:
    """The entry after `last`."""
    ranks = [rank for rank, _ in gone]
    if ranks != sorted(set(ranks)) or (ranks and ranks[-1] >= len(last.members)):
        raise WireError("ranks that are not in the list, or not in order")
    stay = tuple(uid for rank, uid in enumerate(last.members) if rank not in set(ranks))
    members = stay + joined
    if not stay or len(joined) > len(stay) or len(set(members)) != len(members):
        raise WireError("a list of members that is none")
    entry = Entry(
        last.epoch + 1,
        last.agrees + (flags & AGREE != 0),
        last.checkpoints + (flags & CHECKPOINT != 0),
        result if flags & AGREE else 0,
        flags,
        members,
        tuple(Gone(rank, left, last.members[rank]) for rank, left in gone),
        len(joined),
        b"",
    )
    return dataclasses.replace(entry, digest=digest(last.digest, entry, joined))


def encode_entry(entry: Entry, whole: bool) -> bytes:
    uids = entry.members if whole else entry.members[len(entry.members) - entry.joined :]
    gone = b"".join(g.uid for g in entry.gone) if whole else b""
    return entry.head(WHOLE if whole else 0) + entry.digest + entry.gone_words() + gone + b"".join(uids)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, n: int) -> bytes:
        taken, self.data = self.data[:n], self.data[n:]
        if len(taken) != n:
            raise WireError("cut off")
        return taken

    def uids(self, n: int) -> tuple[bytes, ...]:
        if n > WORLD_MAX:
            raise WireError("too many")
        data = self.take(16 * n)
        return tuple(data[i : i + 16] for i in range(0, len(data), 16))


def decode_entry(data: bytes, before: Entry | None) -> Entry:
    """An entry in whole (`before` None), or the change from the one before."""
    r = _Reader(data)
    epoch, agrees, checkpoints, result, flags, world, n_gone, n_joined = HEAD.unpack(r.take(HEAD.size))
    told = r.take(16)
    if max(world, n_gone) > WORLD_MAX or n_joined > world:
        raise WireError("too many")
    if flags & ~(AGREE | CHECKPOINT) != (WHOLE if before is None else 0):
        raise WireError("the wrong form")
    words = struct.unpack(f"<{n_gone}I", r.take(4 * n_gone))
    gone = [(word & ~LEFT, word & LEFT != 0) for word in words]
    if before is None:
        uids = r.uids(n_gone)
        members = r.uids(world)
        if not members or len(set(members)) != world:
            raise WireError("a list of members that is none")
        gone_of = tuple(Gone(rank, left, uid) for (rank, left), uid in zip(gone, uids, strict=True))
        entry = Entry(epoch, agrees, checkpoints, result, flags & ~WHOLE, members, gone_of, n_joined, told)
    else:
        entry = follow(before, gone, r.uids(n_joined), flags, result)
        if (entry.digest, entry.head(0)) != (told, data[: HEAD.size]):
            raise WireError("it does not follow")
    if r.data:
        raise WireError("something behind it")
    return entry


@dataclasses.dataclass(frozen=True)
class Stand:
    agree: int = 0
    flag: int = 0
    ready: bool = False
    leaving: bool = False
    suspects: tuple[bytes, ...] = ()
    candidates: tuple[bytes, ...] = ()
    witnessed: tuple[bytes, ...] = ()


def encode_stand(s: Stand) -> bytes:
    lists = (s.suspects, s.candidates, s.witnessed)
    head = struct.pack("<QQIIII", s.agree, s.flag, s.ready | s.leaving << 1, *map(len, lists))
    return head + b"".join(b"".join(uids) for uids in lists)


def decode_stand(data: bytes) -> Stand:
    r = _Reader(data)
    agree, flag, bits, *counts = struct.unpack("<QQIIII", r.take(32))
    lists = [r.uids(n) for n in counts]
    if r.data or bits > 3 or any(list(uids) != sorted(set(uids)) for uids in lists):
        raise WireError("a stand that is none")
    return Stand(agree, flag, bool(bits & 1), bool(bits & 2), *lists)
