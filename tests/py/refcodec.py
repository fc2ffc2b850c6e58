"""The wire protocol in pure Python, written from its description and not from the C code.

It reads the same vectors as the C tests, and speaks for the other side in tests that put a foreign peer on the network.
Archives (the layout of rkyv 0.8): `encode_archive`, `decode_archive`.  Framing: `frame`, `unframe`.  Streams: `Head`,
`StreamParser`.  Whatever the bytes are, the only exception is `WireError`.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

ALPN_OWN = "libnexar/1"
ALPN_REFERENCE = "nexar/1"

ROOT = 48
INLINE = 8
ARCHIVE_MAX = 2**31 - 8

LANES = {
    "control": 0,
    "data": 1,
    "rpc_request": 2,
    "rpc_response": 3,
    "raw": 4,
    "raw_comm": 5,
    "raw_tagged": 6,
    "relay": 7,
    "p2p": 8,
    "coll": 9,
}
FRAMED_LANES = {0, 1, 2, 3, 7}

FRAMED, RAW, RAW_COMM, RAW_TAGGED, MANY, MESSAGE = 1, 2, 3, 4, 0x40, 0x41


class WireError(Exception):
    """These bytes are not what the protocol allows, or these values cannot be put into it."""


# --- messages ---------------------------------------------------------------------------------------------------------

_DESCRIPTION = """
0 hello: u16 protocol_version, u64 capabilities, bytes cluster_token, text listen_addr
1 welcome: u32 rank, u32 world_size, pairs peers, bytes ca_cert, bytes node_cert, bytes node_key
2 barrier: u64 epoch, u64 comm_id
3 barrier_ack: u64 epoch, u64 comm_id
4 heartbeat: u64 timestamp_ns
5 node_joined: u32 rank, text addr
6 node_left: u32 rank
7 rpc: u64 req_id, u16 fn_id, bytes payload
8 rpc_response: u64 req_id, bytes payload
9 data: u32 tag, u32 src_rank, bytes payload
10 rdma_endpoint: u16 lid, u32 qpn, u32 psn, bytes gid
11 split_request: u32 color, u32 key
12 recovery_vote: u64 epoch, u32s dead_ranks
13 recovery_agreement: u64 epoch, u32s dead_ranks
14 elastic_checkpoint: u64 epoch
15 elastic_checkpoint_ack: u64 epoch, pairs joining, u32s leaving, u32 new_world_size
16 relay: u32 src_rank, u32 final_dest, u64 tag, bytes payload
64 join_hello: u16 version, u32 rank_plus_one, u32 world_size, u32 local_rank_plus_one, u32 local_size, \
bytes nonce, bytes group, text software, u32 formation
65 join_challenge: bytes nonce, bytes proof
66 join_proof: bytes proof, bytes csr, text process
67 join_welcome: u32 rank, u32 world_size, bytes cluster, bytes certificate, bytes ca, bytes authority, \
u32 formation
68 join_listen: pairs addresses, pairs lobby
69 roster: pairs addresses, bytes nodes, bytes groups, pairs lobbies
70 join_ready: u32 rank
71 join_go:
72 abort: u16 code, u32 rank, text reason
73 mesh_hello: u16 version, u32 from, u32 to, u64 incarnation, u64 settings, bytes cluster
74 mesh_ack: u32 rank, u64 incarnation
75 hold: u8 lane, u64 scope, u64 id
76 release: u8 lane, u64 scope, u64 id
77 bye: u32 reason, u64 messages
78 bye_ack:
79 op_aborted: u16 status, u32 rank, u64 comm, u64 sequence, u64 call, u64 count, text reason
80 recall: u8 lane, u64 scope, u64 id, u32 order
81 ask: u64 id, u64 comm, u64 sequence
82 tell: u64 id, u64 comm, u8 state, text doing
83 comm_aborted: u64 comm, u32 rank, text reason
84 ways: text names
85 way_open: text way, u32 generation
86 way_tell: text way, u32 generation, bytes bytes
87 way_lost: text way, u32 generation, u8 useless, u64 begun, bytes open, text why
88 process: text process
89 shrunk: u64 comm
90 comm_shrinks: u64 comm, u32 lost
91 join_redirect: pairs addresses
96 member_beat: u64 epoch, bytes digest, bytes stand
97 member_prepare: u64 epoch, u32 round, u32 rank, u32 who
98 member_promise: u64 epoch, u32 round, u32 rank, u32 who, bytes accepted, bytes stand
99 member_propose: u64 epoch, u32 round, u32 rank, u32 who, bytes value
100 member_accept: u64 epoch, u32 round, u32 rank, u32 who
101 member_nack: u32 round, u32 rank, u32 promised_round, u32 promised_rank
102 member_chain: u8 form, bytes entries
103 member_join:
104 member_joinack: bytes members
"""

_NUMBERS = {"u8": ("<B", 1), "u16": ("<H", 2), "u32": ("<I", 4), "u64": ("<Q", 8)}


@dataclasses.dataclass(frozen=True)
class Field:
    name: str
    type: str
    offset: int  # in the root


@dataclasses.dataclass(frozen=True)
class Kind:
    number: int
    name: str
    fields: tuple[Field, ...]


def _kinds() -> Iterator[Kind]:
    for line in _DESCRIPTION.strip().splitlines():
        title, _, rest = line.partition(":")
        number, name = title.split()
        at = 1
        fields = []
        for item in filter(None, (part.split() for part in rest.split(","))):
            size, align = (_NUMBERS[item[0]][1],) * 2 if item[0] in _NUMBERS else (8, 4)
            at += -at % align
            fields.append(Field(item[1], item[0], at))
            at += size
        if at > ROOT:
            raise AssertionError(f"{name} does not fit into the root")
        yield Kind(int(number), name, tuple(fields))


KINDS = {kind.name: kind for kind in _kinds()}
_BY_NUMBER = {kind.number: kind for kind in KINDS.values()}


class _Writer:
    def __init__(self) -> None:
        self.out = bytearray()

    def align(self, n: int) -> int:
        self.out += bytes(-len(self.out) % n)
        return len(self.out)

    def add(self, data: bytes) -> int:
        at = len(self.out)
        self.out += data
        return at


def _check_number(name: str, type_: str, value: Any) -> int:
    size = _NUMBERS[type_][1]
    if not isinstance(value, int) or not 0 <= value < 1 << (8 * size):
        raise WireError(f"{name} is not a {type_}: {value!r}")
    return value


def _utf8(name: str, value: Any) -> bytes:
    try:
        return str(value).encode()
    except UnicodeEncodeError as error:
        raise WireError(f"{name}: {error}") from None


def _text_field(raw: bytes, field_at: int, text_at: int) -> bytes:
    """The 8 bytes of a string that lies at `field_at`, whose bytes are at `text_at` if they are long."""
    n = len(raw)
    if n <= INLINE:
        return raw.ljust(INLINE, b"\xff")
    if n >= 1 << 30:
        raise WireError("string too long")
    return struct.pack("<Ii", (n & 0x3F) | 0x80 | ((n >> 6) << 8), text_at - field_at)


def encode_archive(name: str, fields: dict[str, Any]) -> bytes:
    """The archive of one message, the bytes that rkyv writes."""
    if name not in KINDS:
        raise WireError(f"no message {name!r}")
    kind = KINDS[name]
    if set(fields) != {field.name for field in kind.fields}:
        raise WireError(f"{name} has other fields than {sorted(fields)}")
    w = _Writer()
    later: list[tuple[Field, Any]] = []
    for field in kind.fields:
        value = fields[field.name]
        if field.type in _NUMBERS:
            later.append((field, _check_number(field.name, field.type, value)))
        elif field.type == "bytes":
            later.append((field, (w.add(bytes(value)), len(value))))
        elif field.type == "text":
            raw = _utf8(field.name, value)
            later.append((field, (raw, w.add(raw) if len(raw) > INLINE else 0)))
        elif field.type == "u32s":
            at = w.align(4)
            for item in value:
                w.add(struct.pack("<I", _check_number(field.name, "u32", item)))
            later.append((field, (at, len(value))))
        else:
            raws = [_utf8(field.name, text) for _, text in value]
            places = [w.add(raw) if len(raw) > INLINE else 0 for raw in raws]
            at = w.align(4)
            for (key, _), raw, place in zip(value, raws, places, strict=True):
                here = w.add(struct.pack("<I", _check_number(field.name, "u32", key)))
                w.add(_text_field(raw, here + 4, place))
            later.append((field, (at, len(value))))
    root = w.align(8)
    w.out += bytes(ROOT)
    w.out[root] = kind.number
    for field, value in later:
        at = root + field.offset
        if field.type in _NUMBERS:
            struct.pack_into(_NUMBERS[field.type][0], w.out, at, value)
        elif field.type == "text":
            w.out[at : at + 8] = _text_field(value[0], at, value[1])
        else:
            struct.pack_into("<iI", w.out, at, value[0] - at, value[1])
    if len(w.out) > ARCHIVE_MAX:
        raise WireError(f"{name} too long")
    return bytes(w.out)


class _Space:
    """The part of the archive in which the next block may lie: each block must begin behind the one before."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data = data
        self.start = start
        self.end = end

    def block(self, at: int, size: int, align: int = 1) -> int:
        if at < self.start or at + size > self.end:
            raise WireError(f"block {at}+{size} outside {self.start}..{self.end}")
        if at % align:
            raise WireError(f"block {at} not aligned to {align}")
        self.start = at + size
        return at

    def text(self, at: int) -> str:
        field = self.data[at : at + 8]
        if field[0] & 0xC0 != 0x80:
            raw = field.split(b"\xff", 1)[0]
        else:
            word, offset = struct.unpack("<Ii", field)
            n = (word & 0x3F) | (word >> 8 << 6)
            if n <= INLINE:
                raise WireError("short string out of line")
            place = self.block(at + offset, n)
            raw = self.data[place : place + n]
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise WireError(str(error)) from None

    def vec(self, at: int, size: int, align: int) -> tuple[int, int]:
        offset, n = struct.unpack_from("<iI", self.data, at)
        return self.block(at + offset, n * size, align), n


def _decode_field(space: _Space, type_: str, at: int) -> Any:
    if type_ in _NUMBERS:
        return struct.unpack_from(_NUMBERS[type_][0], space.data, at)[0]
    if type_ == "text":
        return space.text(at)
    if type_ == "bytes":
        place, n = space.vec(at, 1, 1)
        return space.data[place : place + n]
    if type_ == "u32s":
        place, n = space.vec(at, 4, 4)
        return list(struct.unpack_from(f"<{n}I", space.data, place))
    start = space.start
    place, n = space.vec(at, 12, 4)
    texts = _Space(space.data, start, place)
    return [
        (struct.unpack_from("<I", space.data, item)[0], texts.text(item + 4))
        for item in range(place, place + 12 * n, 12)
    ]


def decode_archive(data: bytes) -> tuple[str, dict[str, Any]]:
    """The message in an archive: its name and fields."""
    if len(data) < ROOT or len(data) % 8:
        raise WireError(f"an archive of {len(data)} bytes")
    data = bytes(data)
    root = len(data) - ROOT
    if data[root] not in _BY_NUMBER:
        raise WireError(f"no message {data[root]}")
    kind = _BY_NUMBER[data[root]]
    space = _Space(data, 0, root)
    return kind.name, {field.name: _decode_field(space, field.type, root + field.offset) for field in kind.fields}


# --- framing ----------------------------------------------------------------------------------------------------------


def frame(archive: bytes, priority: int = 0) -> bytes:
    """The 8-byte header and the archive."""
    return struct.pack("<IBBH", len(archive), priority, 0, 0) + archive


def decode_header(header: bytes, room: int) -> tuple[int, int]:
    """Length of the archive and priority, from the 8-byte header of a framed message that has `room` bytes with it."""
    if room < 8 or len(header) < 8:
        raise WireError("framed message shorter than its header")
    n, priority, type_, _ = struct.unpack_from("<IBBH", header)
    if type_ != 0:
        raise WireError(f"framed message of type {type_}")
    if n > room - 8:
        raise WireError(f"framed message announces {n} bytes of {room - 8}")
    return n, priority


def unframe(data: bytes) -> tuple[int, bytes]:
    """Priority and archive of a framed message; bytes behind it are ignored."""
    n, priority = decode_header(data, len(data))
    return priority, bytes(data[8 : 8 + n])


# --- streams ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Head:
    """What stands before a message.  `lane` is 255 where the framed message inside decides."""

    tag: int
    len: int = 0
    lane: int = 255
    order: int = 0
    scope: int = 0
    id: int = 0
    call: int = 0
    count: int = 0

    def encode(self) -> bytes:
        try:
            if self.tag in (FRAMED, RAW):
                return struct.pack("<BQ", self.tag, self.len)
            if self.tag == RAW_COMM:
                return struct.pack("<BQQ", self.tag, self.scope, self.len)
            if self.tag == RAW_TAGGED:
                return struct.pack("<BQQ", self.tag, self.id, self.len)
            if self.tag == MESSAGE and self.lane in LANES.values():
                values = (self.order, self.scope, self.id, self.call, self.count, self.len)
                return struct.pack("<BBHIQQQQQ", self.tag, self.lane, 0, *values)
        except struct.error as error:
            raise WireError(str(error)) from None
        raise WireError(f"no head {self}")


def framed_message(name: str, fields: dict[str, Any], priority: int = 0) -> bytes:
    """A whole framed message as it stands on a stream: tag 1, length, header, archive."""
    body = frame(encode_archive(name, fields), priority)
    return Head(FRAMED, len(body)).encode() + body


def raw_message(payload: bytes, *, comm: int | None = None, tag: int | None = None) -> bytes:
    """A whole raw message: tag 3 with a communicator, tag 4 with a tag, else tag 2."""
    if comm is not None:
        head = Head(RAW_COMM, len(payload), LANES["raw_comm"], scope=comm)
    elif tag is not None:
        head = Head(RAW_TAGGED, len(payload), LANES["raw_tagged"], id=tag)
    else:
        head = Head(RAW, len(payload), LANES["raw"])
    return head.encode() + payload


_HEAD_SIZES = {FRAMED: 9, RAW: 9, RAW_COMM: 17, RAW_TAGGED: 17, MESSAGE: 48}

Event = Head | bytes | None


class StreamParser:
    """Takes the bytes of one stream in any pieces.

    `feed` gives events: a `Head`, `bytes` of its payload, and None where the message ends.  After a `WireError` the
    stream is dead; what was found before it in the same piece is in `events`.
    """

    def __init__(self, *, own: bool = True, limit: int = 1 << 32) -> None:
        self.own = own
        self.limit = limit
        self.many = False
        self.events: list[Event] = []
        self._head = b""
        self._left: int | None = None  # of the payload; None: in the head
        self._done = False
        self._error: WireError | None = None

    def feed(self, data: bytes) -> list[Event]:
        self.events = []
        if self._error is not None:
            raise self._error
        try:
            self._run(bytes(data))
        except WireError as error:
            self._error = error
            raise
        return self.events

    def finish(self) -> None:
        """The stream has ended."""
        if self._error is not None:
            raise self._error
        if self._head or self._left is not None:
            raise WireError("the stream ended inside a message")

    def _run(self, data: bytes) -> None:
        while not self._done:
            if self._left is None:
                data = self._read_head(data)
                if self._left is None:
                    return
            taken, data = data[: self._left], data[self._left :]
            if taken:
                self.events.append(taken)
            self._left -= len(taken)
            if self._left:
                return
            self.events.append(None)
            self._left = None
            self._done = not self.many

    def _read_head(self, data: bytes) -> bytes:
        """Takes a head from the front of `data`, and returns the rest; keeps an incomplete one."""
        data = self._head + data
        while data:
            self._check_tag(data[0])
            if data[0] == MANY:
                self.many = True
                data = data[1:]
                continue
            size = _HEAD_SIZES[data[0]]
            if len(data) < size:
                break
            head = _decode_head(data[:size])
            if head.len > self.limit:
                raise WireError("message longer than the limit")
            if (head.tag == FRAMED or head.lane in FRAMED_LANES) and head.len < 8:
                raise WireError("framed message shorter than its header")
            self.events.append(head)
            self._left = head.len
            self._head = b""
            return data[size:]
        self._head = data
        return b""

    def _check_tag(self, tag: int) -> None:
        if tag not in _HEAD_SIZES and tag != MANY:
            raise WireError("unknown tag")
        if not self.own and tag >= MANY:
            raise WireError("a tag that this protocol does not have")
        if self.many and tag == MANY:
            raise WireError("a stream of many messages inside another")


def _decode_head(data: bytes) -> Head:
    tag = data[0]
    if tag == FRAMED:
        return Head(tag, struct.unpack_from("<Q", data, 1)[0])
    if tag == RAW:
        return Head(tag, struct.unpack_from("<Q", data, 1)[0], LANES["raw"])
    if tag == RAW_COMM:
        scope, n = struct.unpack_from("<QQ", data, 1)
        return Head(tag, n, LANES["raw_comm"], scope=scope)
    if tag == RAW_TAGGED:
        id_, n = struct.unpack_from("<QQ", data, 1)
        return Head(tag, n, LANES["raw_tagged"], id=id_)
    _, lane, reserved, order, scope, id_, call, count, n = struct.unpack("<BBHIQQQQQ", data)
    if lane not in LANES.values():
        raise WireError("unknown lane")
    if reserved:
        raise WireError("reserved bits are set")
    return Head(tag, n, lane, order, scope, id_, call, count)
