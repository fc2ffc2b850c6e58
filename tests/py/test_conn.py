"""The connection to one peer: raw lanes, framed messages, extensions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import pynexar as nx
import refcodec

Cluster = Callable[[int], nx.LocalCluster]


def test_raw_lanes(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        conn = comm.peer(1 - comm.rank)
        assert conn.rank == 1 - comm.rank
        for size in (0, 3, 100_000):
            x = np.full(size, comm.rank, np.uint8)
            ops = [
                conn.nb.send_raw(x),
                conn.nb.send_raw_comm(77, x),
                conn.nb.send_raw_tagged(1 << 63, x),
                conn.nb.send_raw_tagged(5, x),
            ]
            out = np.zeros(size, np.uint8)
            receives: list[tuple[Callable[..., nx.Status], tuple[int, ...], int]] = [
                (conn.recv_raw_tagged, (5,), 5),
                (conn.recv_raw_tagged, (1 << 63,), 1 << 63),
                (conn.recv_raw, (), 0),
                (conn.recv_raw_comm, (77,), 0),
            ]
            for receive, key, tag in receives:
                out.fill(9)
                assert receive(*key, out) == nx.Status(conn.rank, tag, size)
                assert (out == conn.rank).all()
            nx.wait_all(ops)

    cluster(2).run(body)


def test_raw_lanes_keep_their_order(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        conn = comm.peer(1 - comm.rank)
        sizes = [8, 80_000, 8, 8, 40_000] * 10
        ops = [conn.nb.send_raw(np.full(size // 8, i)) for i, size in enumerate(sizes)]
        out = np.zeros(10_000, np.int64)
        for i, size in enumerate(sizes):
            assert conn.recv_raw(out).nbytes == size
            assert out[0] == i
        nx.wait_all(ops)

    cluster(2).run(body)


def test_too_small_a_buffer_leaves_the_message(cluster: Cluster) -> None:
    comms = cluster(2)
    comms[0].peer(1).send_raw(b"0123456789")
    conn = comms[1].peer(0)
    with pytest.raises(nx.UsageError, match="10"):
        conn.recv_raw(bytearray(4))
    out = bytearray(10)
    assert conn.recv_raw(out).nbytes == 10
    assert out == b"0123456789"


def test_framed_messages(cluster: Cluster) -> None:
    """One of the reference's messages, packed by a codec that shares nothing with the library."""
    comms = cluster(2)
    archive = refcodec.encode_archive("data", {"tag": 7, "src_rank": 0, "payload": b"hello"})
    comms[0].peer(1).send_message(archive, "bulk")
    out = bytearray(len(archive) + 100)
    status = comms[1].peer(0).recv_message("data", out)
    assert bytes(out[: status.nbytes]) == archive


def test_what_is_no_message_is_refused(cluster: Cluster) -> None:
    with pytest.raises(nx.UsageError, match="send_message"):
        cluster(2)[0].peer(1).send_message(b"\xff" * 48)


def test_timeout(cluster: Cluster) -> None:
    with pytest.raises(nx.Timeout) as caught:
        cluster(2)[0].peer(1).recv_raw_tagged(123, bytearray(1), timeout=0.05)
    assert caught.value.peer == 1


def test_address_and_protocol(cluster: Cluster) -> None:
    conn = cluster(2)[0].peer(1)
    host, port = conn.remote_addr.rsplit(":", 1)
    assert host in ("127.0.0.1", "[::1]")
    assert 0 < int(port) < 65_536
    assert conn.protocol == "libnexar/1"
    assert "rank 1" in repr(conn)


def test_extensions(pair: nx.LocalCluster) -> None:
    conn = pair[0].peer(1)
    key, mine = object(), {"a": 1}
    assert conn.extension(key) is None
    conn.add_extension(key, mine)
    conn.add_extension("other", 5)
    assert pair[0].peer(1).extension(key) is mine  # the same connection
    assert pair[1].peer(0).extension(key) is None
    conn.add_extension(key, None)
    assert (conn.extension(key), conn.extension("other")) == (None, 5)


def test_stats(cluster: Cluster) -> None:
    conn = cluster(2)[0].peer(1)
    stats = conn.stats()
    assert (stats["rank"], stats["remote_addr"], stats["protocol"]) == (1, conn.remote_addr, "libnexar/1")


WRONG: list[tuple[Callable[[nx.PeerConnection], object], str]] = [
    (lambda conn: conn.send_raw("x"), "send_raw: x is str"),
    (lambda conn: conn.recv_raw(b"x"), "recv_raw: out is read-only"),
    (lambda conn: conn.send_raw_tagged(-1, b"x"), "tag is -1"),
    (lambda conn: conn.send_raw_tagged(1 << 64, b"x"), "tag is 18446744073709551616"),
    (lambda conn: conn.recv_raw_comm(1.5, bytearray(1)), "comm_id is 1.5"),  # type: ignore[arg-type]
    (lambda conn: conn.recv_message("raw", bytearray(1)), "lane is 'raw'; it must be one of control, data"),
    (lambda conn: conn.send_message(b"x", "urgent"), "priority is 'urgent'"),
    (lambda conn: conn.send_raw(b"x", timeout=-1), "timeout is -1"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_arguments(cluster: Cluster, call: Callable[[nx.PeerConnection], object], words: str) -> None:
    with pytest.raises(nx.UsageError, match=words):
        call(cluster(2)[0].peer(1))
