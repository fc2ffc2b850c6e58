"""A member that shares nothing with the library talks with real ranks by `libnexar/1`, as the protocol describes it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

import foreign
import pynexar as nx
import refcodec
from foreignjob import Form, Job, Sender, floats, form_job
from quicpeer import Driver
from ranks import Raised, Ranks

OTHERS = (0, 2)
P2P = refcodec.LANES["p2p"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job for tests that leave it as they found it."""
    ranks = Ranks(tmp_path_factory.mktemp("job"))
    try:
        with nx.Seed("127.0.0.1:0", 3) as seed, Driver() as driver:
            yield form_job(seed, driver, ranks, 1, 3, refcodec.ALPN_OWN)
    finally:
        ranks.kill()


@pytest.fixture(scope="module")
def senders(job: Job) -> dict[int, Sender]:
    """One for each connection, since they count."""
    return {rank: Sender(job.mates[rank]) for rank in OTHERS}


def data(message: foreign.Message) -> bool:
    return message.head.tag == refcodec.MESSAGE


def test_the_ranks_are_connected_and_each_says_that_the_job_has_formed(job: Job) -> None:
    for rank in OTHERS:
        assert job.ranks[rank].do("conn.protocol") == "libnexar/1"
        job.mates[rank].next_framed("join_go")  # whoever has missed the seed's hears it from the others


@pytest.mark.parametrize("rank", OTHERS)
def test_point_to_point_messages_to_the_library(job: Job, senders: dict[int, Sender], rank: int) -> None:
    for size in (0, 1, 16_384, 16_385, 700_000):
        payload = bytes(i % 253 for i in range(size))
        send = senders[rank].small if size <= 16_384 else senders[rank].large
        send(payload, "p2p", job.comm, 5)
        got = job.ranks[rank].do(f"out = bytearray({size + 1}); got = comm.recv(out, 1, 5)")
        got = job.ranks[rank].do("tuple(got)")
        assert got == (1, 5, size)
        assert job.ranks[rank].do(f"bytes(out[:{size}]) == bytes(i % 253 for i in range({size}))")


@pytest.mark.parametrize("rank", OTHERS)
def test_point_to_point_messages_from_the_library(job: Job, rank: int) -> None:
    streams = {}
    for order, size in enumerate((0, 1, 16_384, 16_385, 700_000)):
        job.ranks[rank].do(f"comm.send(bytes(i % 253 for i in range({size})), 1, {order + 7})")
        message = job.mates[rank].next(data, f"{size} bytes")
        assert message.payload == bytes(i % 253 for i in range(size))
        assert message.head == refcodec.Head(
            refcodec.MESSAGE, len=size, lane=P2P, order=order, scope=job.comm, id=order + 7
        )
        streams[size] = message.stream
    assert streams[0] == streams[1] == streams[16_384]  # small ones share one that stays
    assert len(set(streams.values())) == 3
    assert not job.mates[rank].link.resets


def test_o1_order_is_that_of_sending_whatever_streams_they_came_on(job: Job, senders: dict[int, Sender]) -> None:
    """A message of the reference may overtake another of its lane."""
    for rank in OTHERS:
        sender, process = senders[rank], job.ranks[rank]
        first, second, third = (sender.bytes_of(text, "p2p", job.comm, 1) for text in (b"first", b"second!", b"third"))
        other = sender.bytes_of(b"other lane", "raw")
        sender.link.message(third)
        sender.link.message(second)
        sender.link.wait_acknowledged()
        process.do("out = bytearray(10); op = comm.nb.recv(out, 1, 1)")
        sender.raw_small(other)
        assert process.do("conn.recv_raw(bytearray(10)).nbytes") == 10  # waits for nobody
        assert not process.do("op.done")
        sender.raw_small(first)
        sizes = [process.do("op.wait().nbytes"), *(process.do("comm.recv(out, 1, 1).nbytes") for _ in range(2))]
        assert sizes == [5, 7, 5]
        assert process.do("bytes(out[:5])") == b"third"


def test_framed_messages_travel_in_lanes(job: Job, senders: dict[int, Sender]) -> None:
    archive = refcodec.encode_archive("data", {"tag": 1, "src_rank": 1, "payload": b"xyz"})
    for rank in OTHERS:
        senders[rank].small(refcodec.frame(archive, 2), "data")
        got = job.ranks[rank].do("out = bytearray(200); got = conn.recv_message('data', out).nbytes")
        assert job.ranks[rank].do("bytes(out[:got])") == archive
        job.ranks[rank].do(f"conn.send_message({archive!r}, 'bulk')")
        message = job.mates[rank].next(data, "the same")
        assert (message.head.lane, message.payload) == (refcodec.LANES["data"], refcodec.frame(archive, 2))
        assert got is None


# --- holding back ----------------------------------------------------------------------------------------------------

SMALL = {"NEXAR_LANE_BYTES": "64k", "NEXAR_UNREAD_BYTES": "256k", "NEXAR_SMALL_BYTES": "8k"}


def test_a_flooded_key_is_held_and_released_and_no_other(form: Form) -> None:
    job = form(refcodec.ALPN_OWN, 1, 2, **SMALL)
    mate, process = job.mates[0], job.ranks[0]
    sender = Sender(mate)
    for _ in range(9):
        sender.small(bytes(4096), "p2p", job.comm, 6)
    held = {"lane": P2P, "scope": job.comm, "id": 6}
    assert mate.next_framed("hold") == held
    sender.small(b"x", "p2p", job.comm, 7)
    assert process.do("comm.recv(bytearray(1), 1, 7).nbytes") == 1
    assert not [m for m in mate.messages if m.head.tag == refcodec.FRAMED and m.framed[0] == "release"]
    for _ in range(9):
        process.do("comm.recv(bytearray(4096), 1, 6)")
    assert mate.next_framed("release") == held


def test_a_key_that_the_peer_holds_back_waits_and_no_other_does(form: Form) -> None:
    job = form(refcodec.ALPN_OWN, 1, 2)
    mate, process = job.mates[0], job.ranks[0]
    key = {"lane": P2P, "scope": job.comm, "id": 6}
    mate.control("hold", **key)
    Sender(mate).small(b"", "raw")  # behind it, on another stream: so wait for the order of both
    mate.link.wait_acknowledged()
    process.do("conn.recv_raw(bytearray(1))")
    process.do("small = comm.nb.send(b'small', 1, 6); large = comm.nb.send(bytes(100_000), 1, 6)")
    process.do("comm.send(b'other', 1, 7)")
    assert mate.next(data, "the other key").payload == b"other"
    assert process.do("small.done, large.done") == (False, False)
    assert not list(filter(data, mate.messages))
    mate.control("release", **key)
    assert mate.next(data, "the small one").payload == b"small"
    assert mate.next(data, "the large one").payload == bytes(100_000)
    process.do("nx.wait_all([small, large])")


# --- collectives -----------------------------------------------------------------------------------------------------


def test_a_sum_with_a_foreign_rank_is_right(form: Form) -> None:
    """Two ranks, recursive doubling: each sends its whole array to the other."""
    job = form(refcodec.ALPN_OWN, 1, 2, NEXAR_COLL_TUNE="all_reduce:0-:rd")
    mate, process = job.mates[0], job.ranks[0]
    sender = Sender(mate)
    for sequence, size in enumerate((1, 5, 10_000), 1):
        process.begin(f"(comm.all_reduce(np.arange({size}, dtype=np.float32)) == 3 * np.arange({size})).all().item()")
        message = mate.next(data, "its array")
        head = message.head
        assert floats(message.payload) == [float(i) for i in range(size)]
        assert (head.lane, head.scope, head.count) == (refcodec.LANES["coll"], job.comm, size)
        assert head.id >> 24 == sequence
        mine = struct.pack(f"<{size}f", *(2.0 * i for i in range(size)))
        send = sender.small if len(mine) <= 16_384 else sender.large
        send(mine, "coll", job.comm, head.id, call=head.call, count=head.count)
        assert process.end() is True


def test_another_call_is_a_mismatch_that_names_both(form: Form) -> None:
    job = form(refcodec.ALPN_OWN, 1, 2, NEXAR_COLL_TUNE="all_reduce:0-:rd")
    mate, process = job.mates[0], job.ranks[0]
    process.begin("comm.all_reduce(np.ones(4, np.float32))")
    head = mate.next(data, "its array").head
    Sender(mate).small(bytes(20), "coll", job.comm, head.id, call=head.call, count=5)
    with pytest.raises(Raised, match=r"(?s)4.*5|5.*4") as caught:
        process.end()
    assert (caught.value.name, caught.value.peer) == ("Mismatch", 1)
    told = mate.next_framed("op_aborted")
    assert (told["rank"], told["comm"], told["sequence"]) == (1, job.comm, 1)  # rank: whose fault it is
    assert (told["call"], told["count"]) == (head.call, 4)


# --- leaving ---------------------------------------------------------------------------------------------------------


def test_a_rank_that_leaves_waits_until_all_that_it_sent_has_come(form: Form) -> None:
    job = form(refcodec.ALPN_OWN, 1, 2, NEXAR_LINGER="10")
    mate, process = job.mates[0], job.ranks[0]
    for number in range(3):
        process.do(f"comm.send(bytes({number * 20_000}), 1)")
    process.begin("comm.close()")
    assert mate.next_framed("bye")["messages"] == 3
    assert mate.link.closed is None
    mate.control("bye_ack")
    assert mate.link.wait_closed().error_code == foreign.CLOSE["done"]
    process.end()
    assert [len(m.payload) for m in filter(data, mate.messages)] == [0, 20_000, 40_000]


def test_a_peer_that_leaves_is_answered_when_all_has_come(form: Form) -> None:
    job = form(refcodec.ALPN_OWN, 1, 2)
    mate, process = job.mates[0], job.ranks[0]
    sender = Sender(mate)
    sender.small(b"one", "raw")
    late = sender.bytes_of(b"two", "raw")
    mate.control("bye", reason=0, messages=2)
    mate.link.wait_acknowledged()
    process.do("conn.recv_raw(bytearray(3))")
    assert not [m for m in mate.messages if m.head.tag == refcodec.FRAMED and m.framed[0] == "bye_ack"]
    sender.raw_small(late)
    mate.next_framed("bye_ack")
    mate.link.close(foreign.CLOSE["done"])
    assert process.do("conn.recv_raw(bytearray(3)).nbytes") == 3  # what it has sent is not lost
    with pytest.raises(Raised, match=r"rank 1 .*has left") as caught:
        process.do("comm.send(b'x', 1)")
    assert (caught.value.name, caught.value.peer) == ("PeerLost", 1)
