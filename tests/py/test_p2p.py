"""Messages between two ranks: order, matching, sizes, wildcards."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx

Cluster = Callable[[int], nx.LocalCluster]


@pytest.mark.parametrize("nbytes", [0, 1, 20, 16_384, 16_385, 1 << 20, (2 << 20) + 3])
def test_sizes(cluster: Cluster, nbytes: int) -> None:
    pattern = (np.arange(nbytes) % 251).astype(np.uint8)

    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            comm.send(pattern, 1, tag=5)
        else:
            out = np.full(nbytes + 3, 255, np.uint8)
            assert comm.recv(out, 0, tag=5) == nx.Status(0, 5, nbytes)
            np.testing.assert_array_equal(out[:nbytes], pattern)
            assert (out[nbytes:] == 255).all()

    cluster(2).run(body)


def test_o1_order_per_tag(cluster: Cluster) -> None:
    """O1: 200 small messages and some large ones arrive in the order in which they were sent."""
    sizes = [8, 8, 50_000, 8, 300_000, 8, 8, 20_000] * 25

    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            ops = [comm.nb.send(np.full(size // 8, i), 1, tag=3) for i, size in enumerate(sizes)]
            nx.wait_all(ops)
        else:
            out = np.zeros(300_000 // 8, np.int64)
            for i, size in enumerate(sizes):
                assert comm.recv(out, 0, tag=3).nbytes == size
                assert out[0] == i == out[size // 8 - 1]

    cluster(2).run(body)


def test_o1_tags_in_any_order(cluster: Cluster) -> None:
    """O1: what another tag asks for is neither taken nor lost."""
    tags = list(range(200))
    random.Random(7).shuffle(tags)

    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            for tag in range(200):
                comm.send(np.array([tag * 11]), 1, tag)
        else:
            out = np.zeros(1, np.int64)
            for tag in tags:
                assert comm.recv(out, 0, tag).tag == tag
                assert out[0] == tag * 11

    cluster(2).run(body)


def test_waits_in_any_order(cluster: Cluster) -> None:
    order = list(range(30))
    random.Random(3).shuffle(order)

    def body(comm: nx.Comm) -> None:
        other = 1 - comm.rank
        outs = [np.zeros(100 * (i + 1), np.int32) for i in range(30)]
        recvs = [comm.nb.recv(outs[i], other, tag=i) for i in order]
        sends = [comm.nb.send(np.full(100 * (i + 1), i + comm.rank, np.int32), other, tag=i) for i in range(30)]
        for position in reversed(range(30)):
            i = order[position]
            assert recvs[position].wait() == nx.Status(other, i, 400 * (i + 1))
            assert (outs[i] == i + other).all()
        nx.wait_all(sends)

    cluster(2).run(body)


def test_any_source_and_any_tag(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        if comm.rank != 0:
            for tag in (1, 2):
                comm.send(np.array([comm.rank * 10 + tag]), 0, tag)
            return
        out = np.zeros(1, np.int64)
        seen = set()
        for _ in range(2):
            status = comm.recv(out, nx.ANY, tag=2)
            assert status.tag == 2
            seen.add((status.src, status.tag))
            assert out[0] == status.src * 10 + 2
        for src in (1, 2):
            status = comm.recv(out, src, nx.ANY)
            assert (status.src, status.tag, status.nbytes) == (src, 1, 8)
            seen.add((status.src, status.tag))
        assert seen == {(src, tag) for src in (1, 2) for tag in (1, 2)}

    cluster(3).run(body)


def test_a_message_larger_than_the_buffer_stays_receivable(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            comm.send(np.arange(10, dtype=np.int64), 1, tag=1)
            comm.send(np.arange(100_000, dtype=np.int64), 1, tag=2)
            return
        for tag, count in ((1, 10), (2, 100_000)):
            small = np.full(5, -1, np.int64)
            with pytest.raises(nx.UsageError) as caught:
                comm.recv(small, 0, tag)
            assert caught.value.code_name == "EMSGSIZE"
            assert str(8 * count) in str(caught.value)
            assert "40" in str(caught.value)
            assert (small == -1).all()
            out = np.zeros(count, np.int64)
            assert comm.recv(out, 0, tag).nbytes == 8 * count
            np.testing.assert_array_equal(out, np.arange(count))

    cluster(2).run(body)


def test_20_bytes_and_2_mebibytes_interleaved(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        other = 1 - comm.rank
        large = np.full(2 << 20, comm.rank, np.uint8)
        small = bytes([comm.rank] * 20)
        outs: list[Any] = []
        ops = []
        for _ in range(5):
            ops += [comm.nb.send(large, other, 1), comm.nb.send(small, other, 2), comm.nb.send(small, other, 1)]
        for _ in range(5):
            outs += [bytearray(20), np.zeros(2 << 20, np.uint8), bytearray(20)]
            ops += [
                comm.nb.recv(outs[-3], other, 2),
                comm.nb.recv(outs[-2], other, 1),
                comm.nb.recv(outs[-1], other, 1),
            ]
        nx.wait_all(ops)
        assert all((np.frombuffer(out, np.uint8) == other).all() for out in outs)
        assert [op.result.nbytes for op in ops[15:]] == [20, 2 << 20, 20] * 5

    cluster(2).run(body)


@pytest.mark.parametrize("nbytes", [0, 8, 100_000, 5 << 20])
@pytest.mark.parametrize("n", [1, 2])
def test_to_oneself(cluster: Cluster, n: int, nbytes: int) -> None:
    def body(comm: nx.Comm) -> None:
        x = np.random.default_rng(comm.rank).integers(0, 256, nbytes, np.uint8)
        out = np.zeros_like(x)
        comm.send(x, comm.rank, tag=4)
        assert comm.recv(out, comm.rank, tag=4) == nx.Status(comm.rank, 4, nbytes)
        np.testing.assert_array_equal(out, x)
        recv = comm.nb.recv(out, nx.ANY, 5)
        comm.send(x[::-1], comm.rank, 5)
        assert recv.wait().nbytes == nbytes
        np.testing.assert_array_equal(out, x[::-1])
        assert comm.sendrecv(x, comm.rank, out, comm.rank, 6, 6).nbytes == nbytes
        np.testing.assert_array_equal(out, x)

    cluster(n).run(body)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("face", ["blocking", "nb"])
def test_sendrecv_around_a_ring(cluster: Cluster, n: int, face: str) -> None:
    def body(comm: nx.Comm) -> None:
        right, left = (comm.rank + 1) % n, (comm.rank - 1) % n
        for count in (1, 200_000):
            x, y = np.full(count, comm.rank), np.full(count, -1)
            if face == "nb":
                op = comm.nb.sendrecv(x, right, y, left, sendtag=1, recvtag=1)
                status = op.wait()
                assert op.done
                assert op.result == status
            else:
                status = comm.sendrecv(x, right, y, left, sendtag=1, recvtag=1)
            assert status == nx.Status(left, 1, 8 * count)
            assert (y == left).all()

    cluster(n).run(body)


def test_probe(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        if comm.rank == 0:
            with pytest.raises(nx.Timeout):
                comm.probe(1, 9, timeout=0)
            with pytest.raises(nx.Timeout):
                comm.probe(nx.ANY, nx.ANY, timeout=0.3)
            comm.barrier()
            assert comm.probe(nx.ANY, 9) == nx.Status(1, 9, 24)
            assert comm.probe(1, nx.ANY, timeout=5) == nx.Status(1, 9, 24)  # it is still there
            out = np.zeros(3, np.int64)
            assert comm.recv(out, 1, 9).nbytes == 24
            with pytest.raises(nx.Timeout):
                comm.probe(1, 9, timeout=0)
        else:
            comm.barrier()
            comm.send(np.arange(3), 0, 9)

    cluster(2).run(body)


def test_o2_a_tag_that_nobody_reads_stops_no_other(cluster: Cluster) -> None:
    """O2, O3: 300 messages on a tag that is read last."""

    def body(comm: nx.Comm) -> None:
        out = np.zeros(1, np.int64)
        if comm.rank == 0:
            ops = [comm.nb.send(np.array([i]), 1, tag=77) for i in range(300)]
            for i in range(20):
                comm.send(np.array([i]), 1, tag=78)
                comm.recv(out, 1, tag=79)
            comm.barrier()
            nx.wait_all(ops)
        else:
            for i in range(20):
                comm.recv(out, 0, tag=78)
                assert out[0] == i
                comm.send(out, 0, tag=79)
            comm.barrier()
            for i in range(300):
                comm.recv(out, 0, tag=77)
                assert out[0] == i

    cluster(2).run(body)


def test_bytes_of_any_type(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        x = np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
        if comm.rank == 0:
            comm.send(x, 1)
            comm.send(b"bytes", 1)
            comm.send(np.arange(10)[::3], 1)
        else:
            y = np.zeros_like(x)
            comm.recv(y, 0)
            assert y == x
            text = bytearray(5)
            comm.recv(text, 0)
            assert text == b"bytes"
            z = np.zeros(4, np.int64)
            comm.recv(z, 0)
            assert z.tolist() == [0, 3, 6, 9]

    cluster(2).run(body)


def test_lists_of_arrays_are_one_message(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        columns = np.arange(12.0).reshape(3, 4)[:, ::2]
        parts: list[Any] = [np.arange(5), b"bytes", np.zeros(0), columns, np.float32(7)]
        flat = np.arange(5).tobytes() + b"bytes" + columns.tobytes() + np.float32(7).tobytes()
        if comm.rank == 0:
            for x in (parts, tuple(parts), [], [columns]):
                comm.send(x, 1)
            comm.nb.send(flat, 1).wait()
            comm.send(flat[:43], 1)
        else:
            out = bytearray(200)
            for expected in (flat, flat, b"", columns.tobytes()):
                assert comm.recv(out, 0).nbytes == len(expected)
                assert out[: len(expected)] == expected
            into: list[Any] = [np.zeros(5, np.int64), bytearray(5), np.zeros(0), np.zeros((3, 2)), np.zeros((), "f4")]
            assert comm.recv(into, 0).nbytes == len(flat)
            assert into[0].tolist() == [0, 1, 2, 3, 4]
            assert into[1] == b"bytes"
            assert into[3].tolist() == [[0, 2], [4, 6], [8, 10]]
            assert into[4] == 7
            into[1][:] = b"....."
            assert comm.nb.recv(into, 0).wait().nbytes == 43  # what did not come is as it was
            assert into[1] == b"byt.."
            assert into[3].tolist() == [[0, 2], [4, 6], [8, 10]]

    cluster(2).run(body)


def test_lists_that_are_too_small(cluster: Cluster) -> None:
    comms = cluster(2)
    comms[0].send(bytes(10), 1)
    with pytest.raises(nx.UsageError, match="10 bytes"):
        comms[1].recv([bytearray(4), bytearray(5)], 0)
    out = [bytearray(b"1234"), bytearray(b"123456")]
    assert comms[1].recv(out, 0).nbytes == 10
    assert out == [bytes(4), bytes(6)]


X = np.zeros(9)
WRONG: list[tuple[Callable[[nx.Comm], object], str]] = [
    (lambda comm: comm.send(b"x", 2), "send: dest is 2; it must be 0 to 1"),
    (lambda comm: comm.send(b"x", -1), "dest is -1"),
    (lambda comm: comm.send(b"x", nx.ANY), "dest is 4294967295"),
    (lambda comm: comm.send(b"x", 0, tag=-1), "tag is -1"),
    (lambda comm: comm.send(b"x", 0, tag=nx.ANY), "tag is 4294967295"),
    (lambda comm: comm.send(b"x", 0, tag=1 << 32), "tag is"),
    (lambda comm: comm.send(b"x", 0, tag=1.5), "tag is 1.5"),  # type: ignore[arg-type]
    (lambda comm: comm.send("x", 0), "x is str"),
    (lambda comm: comm.send(3, 0), "x is int"),
    (lambda comm: comm.send(b"x", 0, timeout="soon"), "timeout is 'soon'"),  # type: ignore[arg-type]
    (lambda comm: comm.recv(b"x", 0), "recv: out is read-only"),
    (lambda comm: comm.recv(bytearray(1), 2), "src is 2"),
    (lambda comm: comm.recv(bytearray(1), 0, tag=-2), "tag is -2"),
    (lambda comm: comm.recv(np.zeros((3, 3))[:, 0], 0), "out is not contiguous"),
    (lambda comm: comm.send([b"x", 3], 0), r"x\[1\] is int"),
    (lambda comm: comm.recv([0], 0), r"out\[0\] is int"),
    (lambda comm: comm.recv([bytearray(1), b"x"], 0), r"out\[1\] is read-only"),
    (lambda comm: comm.sendrecv(b"x", 9, bytearray(1), 0), "sendrecv: dest is 9"),
    (lambda comm: comm.sendrecv(b"x", 0, b"y", 0), "sendrecv: out is read-only"),
    (lambda comm: comm.sendrecv(b"x", 0, bytearray(1), 0, recvtag=-1), "recvtag is -1"),
    (lambda comm: comm.sendrecv(X, 1, X, 1), "x and out overlap"),
    (lambda comm: comm.sendrecv(X[:5], 1, X[4:], 1), "x and out overlap"),
    (lambda comm: comm.sendrecv(b"x", 0, bytearray(1), 0, sendtag=nx.ANY), "sendtag is"),
    (lambda comm: comm.probe(5), "probe: src is 5"),
    (lambda comm: comm.probe(0, -1), "tag is -1"),
    (lambda comm: comm.probe(0, timeout=-1), "timeout is -1"),
    (lambda comm: comm.peer(0), "rank 0"),
    (lambda comm: comm.peer(2), "peer: rank is 2"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_arguments(cluster: Cluster, call: Callable[[nx.Comm], object], words: str) -> None:
    comm = cluster(2)[0]
    before = comm.stats()["transports"]["quic"]["messages_sent"]
    with pytest.raises(nx.UsageError, match=words):
        call(comm)
    assert comm.stats()["transports"]["quic"]["messages_sent"] == before


def test_recv_timeout_says_what_it_waited_for(cluster: Cluster) -> None:
    comm = cluster(2)[0]
    with pytest.raises(nx.Timeout) as caught:
        comm.recv(bytearray(1), 1, tag=12, timeout=0.1)
    error = caught.value
    assert (error.op, error.peer) == ("recv", 1)
    assert "rank 1" in str(error)
    assert "tag 12" in str(error)
    assert comm.peer(1).remote_addr in str(error)


def test_two_threads_receive_from_one_rank(cluster: Cluster) -> None:
    comms = cluster(2)
    got: dict[int, int] = {}

    def receive(tag: int) -> None:
        out = np.zeros(1, np.int64)
        comms[0].recv(out, 1, tag)
        got[tag] = int(out[0])

    threads = [threading.Thread(target=receive, args=(tag,)) for tag in range(6)]
    for thread in threads:
        thread.start()
    for tag in reversed(range(6)):
        comms[1].send(np.array([tag * 2]), 0, tag)
    for thread in threads:
        thread.join(30)
    assert got == {tag: tag * 2 for tag in range(6)}
