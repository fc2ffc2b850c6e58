"""A member of the job, with a certificate, that breaks the protocol: its connection ends with the reason and its rank,
the others go on, and what it sends costs no more memory than is configured.

Ranks 0 and 2 are processes of the library, 1 is made with aioquic and attacks rank 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

import foreign
import pynexar as nx
import refcodec
from foreignjob import Job, Sender, form_in
from quicpeer import Driver
from ranks import Raised, Rank, Ranks
from refcodec import FRAMED, MANY, MESSAGE, RAW, Head

OTHERS = (0, 2)
LANES = refcodec.LANES
LIMITS = {
    "NEXAR_LANE_BYTES": "256k",
    "NEXAR_UNREAD_BYTES": "1m",
    "NEXAR_STREAM_WINDOW": "256k",
    "NEXAR_CONNECTION_WINDOW": "4m",
}
ROOM = 24 << 20  # what an attack may add to the resident memory of a rank: windows, buffers of the allocator, slack


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ranks, dict[int, Rank]]]:
    ranks = Ranks(tmp_path_factory.mktemp("member"))
    yield ranks, {}
    ranks.kill()


@pytest.fixture
def job(driver: Driver, kept: tuple[Ranks, dict[int, Rank]]) -> Iterator[Job]:
    """A job of its own for each test, in processes that stay."""
    ranks, started = kept
    for rank in OTHERS:
        if rank not in started or started[rank].busy:
            started[rank] = ranks.start(f"rank{rank}", NEXAR_LINGER="0", **LIMITS)
    with nx.Seed("127.0.0.1:0", 3) as seed:
        formed = form_in(started, seed, driver, 1, 3, refcodec.ALPN_OWN)
    yield formed
    for mate in formed.mates.values():
        mate.link.close(foreign.CLOSE["done"])
    if not any(process.busy for process in started.values()):
        for process in started.values():
            process.begin("comm.close()")
        for process in started.values():
            process.end()


def others_go_on(job: Job) -> None:
    """Ranks 0 and 2 among themselves, in both directions."""
    for source, target in ((0, 2), (2, 0)):
        job.ranks[source].do(f"comm.send(bytes(100_000), {target}, 9, timeout=10)")
        assert job.ranks[target].do(f"comm.recv(bytearray(100_000), {source}, 9, timeout=10).nbytes") == 100_000


def ended(job: Job, words: str) -> None:
    """Rank 0 has ended the connection, says so to whoever asks, and the others go on."""
    assert job.mates[0].link.wait_closed().error_code == foreign.CLOSE["protocol"]
    with pytest.raises(Raised, match=rf"rank 1 \(127\.0\.0\.1:\d+\) is lost: .*({words})") as caught:
        job.ranks[0].do("comm.recv(bytearray(1), 1, 99, timeout=10)")
    assert (caught.value.name, caught.value.peer) == ("PeerLost", 1)
    others_go_on(job)


def many(data: bytes) -> bytes:
    return bytes([MANY]) + data


def framed(name: str, **fields: object) -> bytes:
    return refcodec.framed_message(name, dict(fields))


def archive(data: bytes) -> bytes:
    """A framed message whose archive is this."""
    frame = refcodec.frame(data)
    return bytes([FRAMED]) + struct.pack("<Q", len(frame)) + frame


def p2p(job: Job, length: int, order: int = 0, key: int = 1, **more: int) -> bytes:
    return Head(MESSAGE, lane=LANES["p2p"], scope=job.comm, id=key, order=order, len=length, **more).encode()


def patched(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


# --- bytes that are no messages --------------------------------------------------------------------------------------

Bytes = Callable[[Job], bytes]

# What is on one stream, whether that ends there, and what rank 0 says.
STREAMS: dict[str, tuple[Bytes, bool, str]] = {
    "unknown tag": (lambda _: b"\x05", False, "unknown tag on one of its streams"),
    "unknown tag among many": (lambda _: many(b"\xff"), False, "unknown tag"),
    "many in many": (lambda _: many(many(b"")), False, "on one of its streams"),
    "unknown lane": (lambda j: patched(p2p(j, 1), 1, 10), False, "lane"),
    "reserved bits": (lambda j: patched(p2p(j, 1), 2, 1), False, "reserved|zero|on one of its streams"),
    "2^63 bytes": (lambda j: p2p(j, 2**63), False, "longer than the limit"),
    "2^64-1 bytes": (lambda j: p2p(j, 2**64 - 1), False, "longer than the limit"),
    "8 GiB framed": (lambda _: b"\1" + struct.pack("<Q", 8 << 30), False, "framed message of 8589934592 bytes, 65536"),
    "framed without room": (lambda _: b"\1" + struct.pack("<Q", 7), False, "short|on one of its streams"),
    "header of 4 GiB": (lambda _: b"\1" + struct.pack("<QI", 56, 2**32 - 1) + bytes(52), False, "announces|long"),
    "header of another type": (lambda _: b"\1" + struct.pack("<QIBBH", 56, 48, 0, 1, 0) + bytes(48), False, "type 1"),
    "empty archive": (lambda _: archive(b""), False, "archive|short|bytes"),
    "unknown kind": (lambda _: archive(bytes([250]) + bytes(47)), False, "250"),
    "offsets outside": (lambda _: archive(b"\xff" * 40 + bytes([65]) + b"\xff" * 47), False, ""),
    "text that is none": (
        lambda _: framed("abort", code=1, rank=1, reason="12345678").replace(b"12345678", b"\xc3\x28345678"),
        False,
        "",
    ),
    "a kind of the reference": (lambda _: framed("barrier", epoch=1, comm_id=0), False, "barrier, which the protocol"),
    "ends in a tag of many": (lambda j: many(p2p(j, 5)[:20]), True, "ended inside a message"),
    "ends in a head": (lambda j: p2p(j, 5)[:47], True, "ended inside a message"),
    "ends in a payload": (lambda j: p2p(j, 100) + bytes(99), True, "ended inside a message"),
    "ends in a control message": (lambda j: many(framed("hold", lane=8, scope=j.comm, id=1)[:-1]), True, "ended in"),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_is_not_as_it_must_be(job: Job, case: str) -> None:
    data, end, words = STREAMS[case]
    link = job.mates[0].link
    link.write(link.open(), data(job), end)
    ended(job, words)


def test_a_stream_that_is_cut_in_the_middle(job: Job) -> None:
    link = job.mates[0].link
    job.ranks[0].do("op = comm.nb.recv(bytearray(100_000), 1, 1)")
    stream = link.open()
    link.write(stream, p2p(job, 100_000) + bytes(50_000))
    link.wait_acknowledged()
    link.reset(stream)
    with pytest.raises(Raised, match=r"rank 1 \(.*\) is lost: it cut one of its streams"):
        job.ranks[0].do("op.wait(10)")
    ended(job, "it cut one of its streams")


# --- messages out of place -------------------------------------------------------------------------------------------

OUT_OF_PLACE: dict[str, tuple[Bytes, str]] = {
    "mesh_hello": (
        lambda _: framed(
            "mesh_hello", **{"version": 1, "from": 1, "to": 0, "incarnation": 1, "settings": 0, "cluster": bytes(16)}
        ),
        "unexpected mesh_hello",
    ),
    "mesh_ack": (lambda _: framed("mesh_ack", rank=1, incarnation=1), "unexpected mesh_ack"),
    "roster": (lambda _: framed("roster", addresses=[], nodes=b"", groups=b"", lobbies=[]), "unexpected roster"),
    "welcome": (
        lambda _: framed(
            "join_welcome", rank=0, world_size=1, cluster=b"", certificate=b"", ca=b"", authority=b"", formation=1
        ),
        "unexpected join_welcome",
    ),
    "bye_ack": (lambda _: framed("bye_ack"), "it answered a farewell that was not said"),
    "abort": (lambda _: framed("abort", code=2, rank=0, reason="out"), "unexpected abort"),
    "bye twice": (lambda _: framed("bye", reason=0, messages=9) * 2, "it said its farewell twice"),
    "hold of no lane": (lambda _: framed("hold", lane=10, scope=1, id=1), "held back a lane that there is not"),
    "hold of collectives": (lambda _: framed("hold", lane=9, scope=1, id=1), "held back a lane that there is not"),
    "ways twice": (lambda _: framed("ways", names="") * 2, "ways that makes no sense"),
    "a way that nobody offered": (lambda _: framed("way_tell", way="tcp", generation=1, bytes=b"x"), "way_tell that"),
    "a way that is not there": (lambda _: framed("way_open", way="pigeon", generation=2), "way_open that makes no"),
    "an account of nothing": (
        lambda _: framed("way_lost", way="shm", generation=1, useless=0, begun=9, open=bytes(16), why="\x1b[31m"),
        "way_lost that makes no sense",
    ),
    "a process that is none": (lambda _: framed("process", process="4711 and more"), "process that makes no sense"),
    "another list of members": (
        lambda _: framed("member_beat", epoch=0, digest=bytes(16), stand=bytes(32)),
        "it told another list of members for the same epoch",
    ),
    "half a stand": (lambda _: framed("member_beat", epoch=0, digest=bytes(16), stand=b"x"), "member_beat that makes"),
    "a stand of 2**32 suspects": (
        lambda _: framed("member_beat", epoch=0, digest=bytes(16), stand=bytes(20) + b"\xff" * 4 + bytes(8)),
        "member_beat that makes no sense",
    ),
    "the vote of another": (
        lambda _: framed("member_accept", epoch=0, round=1, rank=0, who=2),
        "it told the vote of another",
    ),
    "the ballot of another": (
        lambda _: framed("member_prepare", epoch=0, round=1, rank=2, who=0),
        "it told a ballot that is not its own",
    ),
    "a round far beyond": (
        lambda _: framed("member_prepare", epoch=0, round=1 << 20, rank=1, who=0),
        "it told a round far beyond all others",
    ),
    "a chain that is none": (lambda _: framed("member_chain", form=1, entries=b"x"), "member_chain that makes no"),
    "an order far ahead": (lambda j: p2p(j, 0, order=1 << 30), "out of turn"),
    "an order behind": (lambda j: p2p(j, 0, order=2**32 - 1), "out of turn"),
    "an order twice": (lambda j: p2p(j, 0, order=5) * 2, "out of turn"),
    "an order that was": (lambda j: (p2p(j, 0, order=0) + p2p(j, 0, order=1)) * 2, "out of turn"),
}  # fmt: skip


@pytest.mark.parametrize("case", OUT_OF_PLACE)
def test_messages_out_of_place(job: Job, case: str) -> None:
    data, words = OUT_OF_PLACE[case]
    link = job.mates[0].link
    link.write(link.open(), many(data(job)))
    ended(job, words)


def test_messages_behind_the_farewell(job: Job) -> None:
    """It has said that it leaves, and how many messages there are; then it sends what nobody can keep."""
    mate = job.mates[0]
    sender = Sender(mate)
    mate.control("bye", reason=0, messages=1000)
    for _ in range(400):
        sender.small(bytes(16_000), "p2p", job.comm, 3)
    assert mate.link.wait_closed().error_code == foreign.CLOSE["protocol"]
    others_go_on(job)


# --- floods ----------------------------------------------------------------------------------------------------------


def push(job: Job, data: bytes) -> None:
    """On one stream, as far as rank 0 takes it: until it has all, holds back or ends the connection."""
    link = job.mates[0].link
    stream = link.open()
    link.write(stream, many(b""))
    for at in range(0, len(data), 1 << 18):
        if link.closed is None:
            link.write(stream, data[at : at + (1 << 18)])


def begin(job: Job, data: list[bytes], end: bool = False) -> None:
    """A stream for each of these, which rank 0 has then."""
    link = job.mates[0].link
    with link.quiet():
        for each in data:
            link.write(link.open(), each, end)
    link.wait_acknowledged()


def grown(job: Job, before: int) -> int:
    return job.ranks[0].resident() - before


def numbered(job: Job, count: int, make: Callable[[int], bytes]) -> bytes:
    del job
    return b"".join(make(number) for number in range(count))


# Floods that break a rule; what rank 0 says.
FLOODS: dict[str, tuple[Bytes, str]] = {
    "holds": (
        lambda j: numbered(j, 66_000, lambda i: framed("hold", lane=8, scope=j.comm, id=i)),
        r"it held back more than \d+ keys",
    ),
    "unknown communicators": (
        lambda j: numbered(j, 257, lambda i: Head(MESSAGE, lane=8, scope=1000 + i, id=1, len=0).encode()),
        "messages of more than 256 communicators that are not known here",
    ),
    "collectives of unknown communicators": (
        lambda j: numbered(j, 257, lambda i: Head(MESSAGE, lane=9, scope=1000 + i, id=1 << 24, len=0).encode()),
        "messages of more than 256 communicators that are not known here",
    ),
}


@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_that_ends_the_connection(job: Job, case: str) -> None:
    make, words = FLOODS[case]
    data = make(job)
    before = job.ranks[0].resident()
    push(job, data)
    ended(job, words)
    assert grown(job, before) < ROOM


# Floods that a rank lets wait in their streams, or forgets at once.
WAITING: dict[str, Bytes] = {
    "empty messages": lambda j: numbered(j, 20_000, lambda i: p2p(j, 0, order=i)),
    "messages": lambda j: numbered(j, 700, lambda i: p2p(j, 16_000, order=i) + bytes(16_000)),
    "keys": lambda j: numbered(j, 700, lambda i: p2p(j, 16_000, order=i, key=i) + bytes(16_000)),
    "early ones": lambda j: numbered(j, 20_000, lambda i: p2p(j, 1, order=i + 1, key=i) + b"x"),
    "collectives to come": lambda j: numbered(
        j, 20_000, lambda i: Head(MESSAGE, lane=9, scope=j.comm, id=i + 100 << 24, len=1).encode() + b"x"
    ),
    "raw ones": lambda _: numbered(_, 700, lambda _: bytes([RAW]) + struct.pack("<Q", 16_000) + bytes(16_000)),
    "unknown operations that failed": lambda j: numbered(
        j,
        5_000,
        lambda i: framed("op_aborted", status=5, rank=1, comm=77, sequence=i, call=0, count=0, reason="why not" * 20),
    ),
    "releases": lambda j: numbered(j, 20_000, lambda i: framed("release", lane=8, scope=j.comm, id=i)),
    "holds and releases": lambda j: (
        10_000 * (framed("hold", lane=8, scope=j.comm, id=1) + framed("release", lane=8, scope=j.comm, id=1))
    ),
    "questions": lambda j: numbered(j, 20_000, lambda i: framed("ask", id=i, comm=j.comm, sequence=i)),
    "answers": lambda j: numbered(j, 5_000, lambda i: framed("tell", id=i, comm=j.comm, state=i % 256, doing="x" * 99)),
    "communicators given up": lambda j: numbered(
        j, 5_000, lambda i: framed("comm_aborted", comm=i + 1000, rank=1, reason="why not" * 20)
    ),
    "communicators that shrink": lambda j: numbered(j, 5_000, lambda i: framed("comm_shrinks", comm=i + 1000, lost=0)),
    "communicators that were shrunk": lambda j: numbered(j, 20_000, lambda i: framed("shrunk", comm=i + 1000)),
    "ballots": lambda j: numbered(j, 900, lambda i: framed("member_prepare", epoch=0, round=i + 1, rank=1, who=0)),
    "heartbeats": lambda _: 20_000 * framed("heartbeat", timestamp_ns=1),
    "news that the job has formed": lambda _: 20_000 * framed("join_go"),
}


@pytest.mark.parametrize("case", WAITING)
def test_h2_a_flood_that_waits_holds_up_nobody(job: Job, case: str) -> None:
    """In the reference such a flood stops the connection for good, or fills the memory."""
    data = WAITING[case](job)
    before = job.ranks[0].resident()
    push(job, data)
    sender = Sender(job.mates[0])
    sender._orders[(LANES["raw_tagged"], 0)] = 0
    sender.large(b"through", "raw_tagged", 0, 12)  # on a stream of its own
    job.ranks[0].do("out = bytearray(9); got = conn.recv_raw_tagged(12, out, timeout=10).nbytes")
    assert job.ranks[0].do("bytes(out[:got])") == b"through"
    others_go_on(job)
    assert grown(job, before) < ROOM
    assert job.mates[0].link.closed is None


def test_o7_lengths_of_gigabytes_cost_nothing(job: Job) -> None:
    """The reference allocates what a message announces, 512 times 4 GiB."""
    link = job.mates[0].link
    before = job.ranks[0].resident()
    begin(job, [p2p(job, 4 << 30, order=number, key=number) + bytes(100) for number in range(512)])
    others_go_on(job)
    assert grown(job, before) < ROOM
    with pytest.raises(Raised, match=r"4294967296|larger|long|room") as caught:
        job.ranks[0].do("comm.recv(bytearray(1000), 1, 7, timeout=10)")
    assert caught.value.name == "UsageError"  # the buffer is too small for it, as it would be for any message
    assert link.closed is None


def test_h2_streams_without_anything_on_them(job: Job) -> None:
    process = job.ranks[0]
    before = process.resident()
    for _ in range(10):
        begin(job, [b""] * 200, end=True)
    sender = Sender(job.mates[0])
    sender.large(b"through", "raw")
    assert process.do("conn.recv_raw(bytearray(9), timeout=10).nbytes") == 7
    others_go_on(job)
    assert grown(job, before) < ROOM


def test_streams_that_begin_and_stay(job: Job) -> None:
    """Each with half a head."""
    before = job.ranks[0].resident()
    begin(job, [p2p(job, 10, order=number)[:20] for number in range(1000)])
    others_go_on(job)
    assert grown(job, before) / 1000 < 16 * 1024
    assert job.mates[0].link.closed is None


# --- collectives -----------------------------------------------------------------------------------------------------


def test_s6_a_collective_message_of_another_length(job: Job) -> None:
    """It says that it called the same, and sends too little or too much: an error, never a wrong sum."""
    for process in job.ranks.values():
        process.begin("comm.all_reduce(np.ones(4, np.float32), timeout=10)")
    mate = job.mates[0]
    head = mate.next(lambda m: m.head.tag == MESSAGE, "its array").head
    lengths = struct.pack("<5f", *[1.0] * 5)
    Sender(mate).small(lengths, "coll", job.comm, head.id, call=head.call, count=head.count)
    with pytest.raises(Raised, match=r"rank 1.* sent a message of another length than the schedule says") as caught:
        job.ranks[0].end()
    assert caught.value.peer == 1
    with pytest.raises(Raised, match=r"rank 1|reported by rank 0"):
        job.ranks[2].end()


def test_calls_that_do_not_exist_are_mismatches(job: Job) -> None:
    for process in job.ranks.values():
        process.begin("comm.all_reduce(np.ones(4, np.float32), timeout=10)")
    mate = job.mates[0]
    head = mate.next(lambda m: m.head.tag == MESSAGE, "its array").head
    Sender(mate).small(bytes(16), "coll", job.comm, head.id, call=2**64 - 1, count=2**64 - 1)
    with pytest.raises(
        Raised, match=r"rank 1 called an unknown collective 255.* rank 0 called all_reduce\(4 x float32, sum\)"
    ):
        job.ranks[0].end()
    with pytest.raises(Raised):
        job.ranks[2].end()


def test_what_a_member_says_does_not_write_into_terminals(job: Job) -> None:
    job.ranks[0].begin("comm.all_reduce(np.ones(4, np.float32), timeout=10)")
    job.mates[0].control(
        "op_aborted",
        status=5,
        rank=1,
        comm=job.comm,
        sequence=1,
        call=0,
        count=0,
        reason="no\x1b[2J\r\nmore" + "é" * 300,
    )
    with pytest.raises(Raised, match=r"no\?\[2J\?\?more") as caught:
        job.ranks[0].end()
    assert caught.value.text.isprintable()
