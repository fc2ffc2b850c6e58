"""Messages of 20 MiB and of 20 bytes between all pairs of ranks at once; messages that nobody takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import exchange
import pynexar as nx
from ranks import Ranks

Cluster = Callable[[int], nx.LocalCluster]
EACH = 4 * exchange.TAGS * len(exchange.SIZES)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "any_of", [pytest.param(False, id="by key", marks=pytest.mark.full), pytest.param(True, id="any")]
)
def test_all_pairs_of_threads(any_of: bool) -> None:
    with nx.local_cluster(4, nx.Config(peer_timeout=60)) as comms:
        assert comms.run(exchange.all_pairs, any_of) == [EACH] * 4
        for comm in comms:
            assert comm.stats()["lanes"]["unread_bytes"] == 0


@pytest.mark.timeout(400)
def test_all_pairs_of_processes(ranks: Ranks) -> None:
    with nx.Seed("127.0.0.1:0", 4) as seed:
        started = [ranks.member(seed.join_string, rank, 4, NEXAR_PEER_TIMEOUT="60") for rank in range(4)]
        for rank in started:
            rank.end(60)
        for rank in started:
            rank.begin("import exchange")
        for rank in started:
            rank.end()
            rank.begin(f"exchange.all_pairs(comm, {started.index(rank) % 2 == 0})")
        assert [rank.end(300) for rank in started] == [EACH] * 4
        for rank in started:
            rank.begin("comm.close()")
        for rank in started:
            rank.end()


def test_messages_that_nobody_takes(pair: nx.LocalCluster) -> None:
    """They are kept up to a limit, hold back who sends more of that tag, disturb nobody else, and end with the job."""
    large = np.arange(2 << 20)
    stuck = [pair[0].nb.send(large, 1, tag=1) for _ in range(4)]
    small = [pair[0].nb.send(bytes(100), 1, tag=2) for _ in range(30_000)]

    def body(comm: nx.Comm) -> None:
        out = np.zeros(200_000)
        for i in range(20):
            comm.sendrecv(np.full(200_000, i), 1 - comm.rank, out.view(np.int64), 1 - comm.rank, 3, 3)
            assert (out.view(np.int64) == i).all()
            assert comm.all_reduce(np.array([i])) == [2 * i]
            assert comm.broadcast_object(i if comm.rank == 0 else None) == i

    pair.run(body)
    assert pair[1].probe(0, 1).nbytes == large.nbytes
    assert pair[1].probe(nx.ANY, 2).nbytes == 100
    lanes = pair[1].stats()["lanes"]
    assert 0 < lanes["unread_bytes"] < 2 * large.nbytes
    assert lanes["held_back"] > 0
    assert not any(op.done for op in stuck[1:])
    assert not small[-1].done
    # Who takes them gets them all, and in order.
    got = np.zeros_like(large)
    for _ in stuck:
        assert pair[1].recv(got, 0, 1).nbytes == large.nbytes
        assert (got == large).all()
    for _ in small[:10_000]:
        assert pair[1].recv(got, 0, 2).nbytes == 100
    nx.wait_all(stuck, timeout=60)
    nx.wait_all(small[:10_000], timeout=60)
    pair.close()  # with 20 000 that nobody has taken
    assert all(op.done for op in small)


def test_nothing_is_a_message_too(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        other = 1 - comm.rank
        for tag in range(3):
            comm.send(b"", other, tag)
        assert comm.probe(other, 1) == nx.Status(other, 1, 0)
        assert comm.recv(bytearray(0), other, 1) == nx.Status(other, 1, 0)
        assert comm.recv(bytearray(7), nx.ANY, nx.ANY) == nx.Status(other, 0, 0)
        assert comm.recv([], nx.ANY, 2) == nx.Status(other, 2, 0)
        with pytest.raises(nx.Timeout):
            comm.probe(nx.ANY, nx.ANY, timeout=0)
        comm.barrier()
        assert comm.sendrecv(b"", other, bytearray(0), other).nbytes == 0

    cluster(2).run(body)


def test_probe_waits_for_what_comes_and_takes_nothing(cluster: Cluster) -> None:
    """From several threads, each for something else; a receive that was posted before takes it from the probe."""
    comms = cluster(2)
    waiting = comms[0].nb.recv(bytearray(8), 1, 40)
    comms[1].send(b"taken", 0, 40)
    assert waiting.wait().nbytes == 5

    def body(comm: nx.Comm) -> None:
        if comm.rank == 1:
            comm.barrier()
            for tag in (41, 42, 43):
                comm.send(bytes(tag), 0, tag)
            return
        with pytest.raises(nx.Timeout):
            comm.probe(1, 40, timeout=0)
        comm.barrier()
        assert comm.probe(nx.ANY, 43) == nx.Status(1, 43, 43)
        assert comm.probe(1, nx.ANY) == nx.Status(1, 41, 41)
        for tag in (42, 43, 41):
            for _ in range(2):
                assert comm.probe(1, tag, timeout=0) == nx.Status(1, tag, tag)
            assert comm.recv(bytearray(50), 1, tag) == nx.Status(1, tag, tag)

    comms.run(body)
