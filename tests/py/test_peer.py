"""A member that shares nothing with the library joins a job of real ranks, and talks with them by `nexar/1`.

The job has three ranks: 0 and 2 are processes of the library, 1 is made with aioquic.  Rank 0 calls rank 1, rank 1
calls rank 2, so every test that goes over both connections sees both directions of calling.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import foreign
import pynexar as nx
import refcodec
from foreignjob import Form, Job, form_job
from quicpeer import Driver
from ranks import Raised, Ranks

SIZES = [0, 1, 1200, 16_384, 16_385, 1_000_003]
OTHERS = (0, 2)

RAW: dict[str, tuple[dict[str, int], str]] = {
    "raw": ({}, ""),
    "raw_comm": ({"comm": 0xFEDCBA9876543210}, "0xFEDCBA9876543210, "),
    "raw_tagged": ({"tag": 1 << 63}, "1 << 63, "),
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job for tests that leave it as they found it."""
    ranks = Ranks(tmp_path_factory.mktemp("job"))
    try:
        with nx.Seed("127.0.0.1:0", 3) as seed, Driver() as driver:
            yield form_job(seed, driver, ranks, 1, 3, refcodec.ALPN_REFERENCE)
    finally:
        ranks.kill()


def test_b1_processes_and_a_foreign_peer_form_a_mesh(job: Job) -> None:
    assert sorted(job.mates) == [0, 2]
    for rank in OTHERS:
        assert job.ranks[rank].do("comm.rank, comm.size") == (rank, 3)
        assert job.ranks[rank].do("conn.protocol") == "nexar/1"
    assert job.ranks[0].do("conn.remote_addr") == "{}:{}".format(*job.worker.endpoint.address)
    assert job.ranks[0].do("comm.peer(2).protocol") == "libnexar/1"


# --- from the library ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", OTHERS)
@pytest.mark.parametrize("kind", RAW)
def test_raw_messages_arrive_byte_for_byte(job: Job, rank: int, kind: str) -> None:
    key, argument = RAW[kind]
    for size in SIZES:
        job.ranks[rank].do(f"conn.send_{kind}({argument}bytes(i % 251 for i in range({size})))")
        payload = bytes(i % 251 for i in range(size))
        message = job.mates[rank].next(lambda m: m.head.tag != refcodec.FRAMED, f"{kind} of {size} bytes")
        assert message.head.encode() + message.payload == refcodec.raw_message(payload, **key)


@pytest.mark.parametrize("rank", OTHERS)
def test_framed_messages_arrive_byte_for_byte(job: Job, rank: int) -> None:
    for number, (name, fields) in enumerate(FRAMED.items()):
        if name == "heartbeat":
            continue  # not for users to send
        archive = refcodec.encode_archive(name, fields)
        priority = ("critical", "realtime", "bulk")[number % 3]
        job.ranks[rank].do(f"conn.send_message({archive!r}, {priority!r})")
        message = job.mates[rank].next(lambda m: m.head.tag == refcodec.FRAMED, name)
        assert message.head.encode() + message.payload == refcodec.framed_message(name, fields, number % 3)


def test_every_message_has_a_stream_of_its_own(form: Form) -> None:
    job = form(refcodec.ALPN_REFERENCE)
    link = job.mates[0].link
    for _ in range(20):
        job.ranks[0].do("conn.send_raw(b'abc')")
    for _ in range(20):
        job.mates[0].next(lambda _: True, "a message")
    link.wait(lambda: len(link.ended) == 20, "the ends of 20 streams")
    assert link.ended == {2 + 4 * number for number in range(20)}  # of the side that has called
    assert not link.resets


# --- to the library --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", OTHERS)
@pytest.mark.parametrize("kind", RAW)
def test_raw_messages_are_received(job: Job, rank: int, kind: str) -> None:
    key, argument = RAW[kind]
    for size in SIZES:
        job.mates[rank].link.message(refcodec.raw_message(bytes(i % 251 for i in range(size)), **key))
        job.ranks[rank].do(f"out = bytearray({size} + 5)")
        assert job.ranks[rank].do(f"conn.recv_{kind}({argument}out).nbytes") == size
        assert job.ranks[rank].do(f"bytes(out[:{size}]) == bytes(i % 251 for i in range({size}))")


def test_a_posted_receive_gets_a_message_that_comes_later(job: Job) -> None:
    """The other way through the receiver: bytes go where they belong as they come."""
    for rank in OTHERS:
        process, link = job.ranks[rank], job.mates[rank].link
        process.do("out = bytearray(100_000)")
        process.do("op = conn.nb.recv_raw_tagged(77, out)")
        data = refcodec.raw_message(b"\5" * 100_000, tag=77)
        stream = link.open()
        link.write(stream, data[:50_000])
        link.wait_acknowledged()
        assert not process.do("op.done")
        link.write(stream, data[50_000:], end=True)
        assert process.do("op.wait().nbytes") == 100_000
        assert process.do("bytes(out) == bytes([5]) * 100_000")


LANES = {"data": "data", "rpc": "rpc_request", "rpc_response": "rpc_response", "relay": "relay"}

FRAMED: dict[str, dict[str, object]] = {
    "hello": {"protocol_version": 1, "capabilities": 0, "cluster_token": b"t" * 32, "listen_addr": "127.0.0.1:5000"},
    "welcome": {
        "rank": 1,
        "world_size": 2,
        "peers": [(0, "a"), (1, "a longer address:1")],
        "ca_cert": b"c",
        "node_cert": b"n",
        "node_key": b"",
    },
    "barrier": {"epoch": 5, "comm_id": 6},
    "barrier_ack": {"epoch": 5, "comm_id": 6},
    "heartbeat": {"timestamp_ns": 1},
    "node_joined": {"rank": 3, "addr": "[::1]:65535"},
    "node_left": {"rank": 3},
    "rpc": {"req_id": 9, "fn_id": 2, "payload": b"x" * 9},
    "rpc_response": {"req_id": 9, "payload": b"y" * 100_000},
    "data": {"tag": 4, "src_rank": 1, "payload": b"\xde\xad\xbe\xef"},
    "rdma_endpoint": {"lid": 1, "qpn": 2, "psn": 3, "gid": bytes(16)},
    "split_request": {"color": 1, "key": 2},
    "recovery_vote": {"epoch": 1, "dead_ranks": [1, 5]},
    "recovery_agreement": {"epoch": 1, "dead_ranks": []},
    "elastic_checkpoint": {"epoch": 3},
    "elastic_checkpoint_ack": {"epoch": 3, "joining": [(4, "x")], "leaving": [1], "new_world_size": 4},
    "relay": {"src_rank": 1, "final_dest": 0, "tag": 3, "payload": b"inner"},
}


@pytest.mark.parametrize("rank", OTHERS)
def test_framed_messages_are_received(job: Job, rank: int) -> None:
    assert set(FRAMED) == {kind.name for kind in refcodec.KINDS.values() if kind.number < 64}
    process = job.ranks[rank]
    process.do("out = bytearray(200_000)")
    for name, fields in FRAMED.items():
        job.mates[rank].link.message(refcodec.framed_message(name, fields, 2))
        if name == "heartbeat":
            continue  # the library takes it and gives it to nobody
        lane = LANES.get(name, "control")
        received = process.do(f"bytes(out[:conn.recv_message({lane!r}, out).nbytes])")
        assert received == refcodec.encode_archive(name, fields)


def test_pieces_of_a_message_may_come_as_they_like(job: Job) -> None:
    for rank in OTHERS:
        link = job.mates[rank].link
        data = refcodec.raw_message(b"in pieces", tag=3)
        stream = link.open()
        for at in range(len(data)):
            link.write(stream, data[at : at + 1])
            if at % 5 == 0:
                link.wait_acknowledged()
        link.write(stream, b"", end=True)
        assert job.ranks[rank].do("conn.recv_raw_tagged(3, bytearray(20)).nbytes") == 9


def test_what_follows_a_message_on_its_stream_is_not_read(job: Job) -> None:
    """The reference does the same."""
    for rank in OTHERS:
        job.mates[rank].link.message(refcodec.raw_message(b"1") + b"\xff and more")
        job.mates[rank].link.message(refcodec.raw_message(b"22"))
        sizes = [job.ranks[rank].do("conn.recv_raw(bytearray(9)).nbytes") for _ in range(2)]
        assert sorted(sizes) == [1, 2]


def test_streams_that_are_opened_and_stay_empty(form: Form) -> None:
    """The reference opens eight streams beforehand and uses the last first."""
    job = form(refcodec.ALPN_REFERENCE)
    for rank in OTHERS:
        link = job.mates[rank].link
        streams = [link.open() for _ in range(8)]
        for number in (7, 6, 3):
            link.write(streams[number], refcodec.raw_message(bytes([number]), tag=number), end=True)
        for number in (6, 3, 7):
            job.ranks[rank].do(f"out = bytearray(1); conn.recv_raw_tagged({number}, out)")
            assert job.ranks[rank].do("out[0]") == number


# --- what the two protocols do not have in common --------------------------------------------------------------------


def test_h1_a_heartbeat_is_nobodys_message(job: Job) -> None:
    """The reference's barrier takes the next control message, which may be a heartbeat."""
    for rank in OTHERS:
        link = job.mates[rank].link
        for _ in range(5):
            link.message(refcodec.framed_message("heartbeat", {"timestamp_ns": 5}))
        link.wait_acknowledged()
        link.message(refcodec.framed_message("barrier", {"epoch": 1, "comm_id": 0}))
        job.ranks[rank].do("out = bytearray(100); got = conn.recv_message('control', out).nbytes")
        assert refcodec.decode_archive(job.ranks[rank].do("bytes(out[:got])"))[0] == "barrier"


def test_h2_heartbeats_that_nobody_reads_stop_nothing(job: Job) -> None:
    """768 of them stop a connection of the reference for good."""
    link, process = job.mates[2].link, job.ranks[2]
    beat = refcodec.framed_message("heartbeat", {"timestamp_ns": 7})
    before = process.do("comm.stats()['lanes']['unread_bytes']")
    for burst in range(10):
        for _ in range(200):
            link.message(beat)
        link.wait_acknowledged()
        link.message(refcodec.raw_message(b"through", tag=burst))
        assert process.do(f"conn.recv_raw_tagged({burst}, bytearray(10)).nbytes") == 7
    assert process.do("comm.stats()['lanes']['unread_bytes']") == before


def test_collectives_with_a_peer_that_has_none_say_so(form: Form) -> None:
    job = form(refcodec.ALPN_REFERENCE)
    for call in ("all_reduce(np.ones(4), timeout=5)", "barrier(timeout=5)"):
        for rank in OTHERS:
            job.ranks[rank].begin(f"comm.{call}")
        for rank in OTHERS:
            with pytest.raises(Raised, match=r"rank 1 .*speaks nexar/1, which has no collectives"):
                job.ranks[rank].end()


def test_messages_that_the_protocol_lacks_are_refused_at_once(job: Job) -> None:
    with pytest.raises(Raised, match="rank 1 speaks nexar/1, which has no such messages"):
        job.ranks[0].do("comm.send(b'x', 1)")


@pytest.mark.parametrize("end", ["close", "forget"])
def test_a_peer_that_goes_is_lost_and_the_others_go_on(form: Form, end: str) -> None:
    job = form(refcodec.ALPN_REFERENCE)
    for rank in OTHERS:
        job.ranks[rank].begin("conn.recv_raw(bytearray(1), timeout=15)")
    for rank in OTHERS:
        if end == "close":
            job.mates[rank].link.close(0, "closed")
        else:
            job.mates[rank].link.forget()
    for rank in OTHERS:
        with pytest.raises(Raised) as caught:
            job.ranks[rank].end()
        assert (caught.value.name, caught.value.peer) == ("PeerLost", 1)
    job.ranks[0].do("comm.send(b'still here', 2)")
    assert job.ranks[2].do("comm.recv(bytearray(20), 0).nbytes") == 10


def test_a_rank_that_closes_ends_the_connection_in_order(form: Form) -> None:
    job = form(refcodec.ALPN_REFERENCE)
    job.ranks[0].do("conn.send_raw(b'last words')")
    for rank in OTHERS:
        job.ranks[rank].begin("comm.close()")
    for rank in OTHERS:
        ended = job.mates[rank].link.wait_closed()
        assert ended.error_code == foreign.CLOSE["done"]
        job.ranks[rank].end()
    assert [m.payload for m in job.mates[0].messages] == [b"last words"]
