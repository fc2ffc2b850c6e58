"""Communicators made from others: members, calls, life times, what is refused, what goes wrong."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from ranks import Raised, Ranks

Cluster = Callable[[int], nx.LocalCluster]
SIZES = (1, 2, 3, 5, 8)


def calls(comm: nx.Comm, members: list[int]) -> None:
    """Every kind of call works in it; `members` are what its ranks call themselves, in order."""
    mine, size = members[comm.rank], len(members)
    after, before = (comm.rank + 1) % size, (comm.rank - 1) % size
    assert comm.size == size
    assert comm.all_gather(np.array(mine)).tolist() == members
    assert comm.all_reduce(np.array([mine])).tolist() == [sum(members)]
    assert comm.broadcast(np.array([mine]), root=size - 1).tolist() == [members[-1]]
    out = np.empty(1, np.int64)
    assert comm.sendrecv(np.array([mine]), after, out, nx.ANY, 4, 4) == nx.Status(before, 4, 8)
    assert out == members[before]
    receiving = comm.nb.recv(out, after, tag=5)
    comm.send(np.array([mine]), before, tag=5)
    assert receiving.wait().src == after
    assert out == members[after]
    comm.send(b"four", after, tag=6)
    assert comm.probe(nx.ANY, 6) == nx.Status(before, 6, 4)
    comm.recv(bytearray(4), before, tag=6)
    assert comm.all_gather_object({"i": mine}) == [{"i": member} for member in members]
    comm.send_object(("from", mine), after, tag=7)
    assert comm.recv_object(nx.ANY, 7) == ("from", members[before])
    assert asyncio.run(awaited(comm, mine)) == sum(members)
    again = comm.prepare_all_reduce(np.array([mine]))
    assert again().tolist() == again().tolist() == [sum(members)]
    comm.barrier()


async def awaited(comm: nx.Comm, mine: int) -> int:
    return int((await comm.nb.all_reduce(np.array([mine])))[0])


# ------------------------------------------------------------------------------------------------------------- members
@pytest.mark.parametrize("n", SIZES)
def test_m1_m2_every_call_works_in_each(cluster: Cluster, n: int) -> None:
    def run(comm: nx.Comm) -> None:
        half = comm.split(comm.rank % 2)
        assert half is not None
        with half, comm.dup() as twin, comm.split_by_host() as host:
            calls(half, list(range(comm.rank % 2, n, 2)))
            calls(twin, list(range(n)))
            calls(host, list(range(n)))
            assert half.stats()["ops"]["barrier"] == 1
            assert half.stats()["size"] == half.size
        calls(comm, list(range(n)))

    cluster(n).run(run)


@pytest.mark.parametrize("n", SIZES)
def test_m4_random_colors_and_keys(cluster: Cluster, n: int) -> None:
    """Against what Python's sort says; with ties, and with ranks that want none."""

    def run(comm: nx.Comm) -> None:
        random_ = random.Random(n)  # the same on all ranks
        for _ in range(20):
            colors = [random_.choice([None, 0, 1, 4_294_967_294]) for _ in range(n)]
            keys = [random_.choice([-(1 << 31), -1, 0, 0, 7, (1 << 31) - 1]) for _ in range(n)]
            made = comm.split(colors[comm.rank], keys[comm.rank])
            if colors[comm.rank] is None:
                assert made is None
                continue
            members = [rank for rank in range(n) if colors[rank] == colors[comm.rank]]
            members.sort(key=lambda rank: keys[rank])
            assert made is not None
            with made:
                assert made.rank == members.index(comm.rank)
                assert made.all_gather(np.array(comm.rank)).tolist() == members

    cluster(n).run(run)


def test_m4_nested_three_deep(cluster: Cluster) -> None:
    def run(comm: nx.Comm) -> None:
        one = comm.split(0, -comm.rank)
        assert one is not None
        two = one.split(one.rank // 4, -one.rank)
        assert two is not None
        three = two.split(two.rank % 2)
        assert three is not None
        with one, two, three:
            calls(one, [7, 6, 5, 4, 3, 2, 1, 0])
            calls(two, [4, 5, 6, 7] if comm.rank >= 4 else [0, 1, 2, 3])
            calls(three, [comm.rank & ~2, comm.rank | 2])

    cluster(8).run(run)


def test_m5_ids_differ(cluster: Cluster) -> None:
    def run(comm: nx.Comm) -> list[int]:
        ids = [comm.id]
        for i in range(30):
            made = comm.split(comm.rank // (i % 3 + 1))
            assert made is not None
            leads = made.rank == 0
            assert made.all_gather(np.array(made.id, np.uint64)).tolist() == [made.id] * made.size
            if leads:
                ids.append(made.id)
            made.close()
        return ids if comm.rank == 0 else ids[1:]

    ids = [id_ for of_rank in cluster(5).run(run) for id_ in of_rank]
    assert len(set(ids)) == len(ids)


def test_m5_two_of_the_same_ranks_never_meet(cluster: Cluster) -> None:
    """Two threads on every rank, each at work in a communicator of its own."""

    def rounds(comm: nx.Comm, sign: int, failures: list[BaseException]) -> None:
        try:
            out = np.empty(1, np.int64)
            for i in range(300):
                mine = np.array([sign * (i * 10 + comm.rank)])
                total = comm.nb.all_reduce(mine)
                status = comm.sendrecv(mine, 1 - comm.rank, out, nx.ANY, 1, nx.ANY)
                assert status == nx.Status(1 - comm.rank, 1, 8)
                assert out == sign * (i * 10 + 1 - comm.rank)
                assert total.wait() == sign * (i * 20 + 1)
        except BaseException as error:
            failures.append(error)
            comm.abort("it has failed")

    def run(comm: nx.Comm) -> None:
        failures: list[BaseException] = []
        with comm.dup() as one, comm.dup() as two:
            thread = threading.Thread(target=rounds, args=(one, 1, failures))
            thread.start()
            rounds(two, -1, failures)
            thread.join()
        assert not failures, failures

    cluster(2).run(run)


# ---------------------------------------------------------------------------------------------------------- life times
@pytest.mark.parametrize("n", [1, 2, 3])
def test_m3_parent_closed_before_its_child(n: int) -> None:
    with nx.local_cluster(n) as comms:

        def run(comm: nx.Comm) -> None:
            made = comm.split(0, -comm.rank)
            assert made is not None
            comm.close()
            with made:
                calls(made, list(range(n))[::-1])
                for call in (comm.barrier, comm.dup, comm.split_by_host, lambda: comm.split(0)):
                    with pytest.raises(nx.Closed):
                        call()
                grandchild = made.dup()
            with grandchild:
                calls(grandchild, list(range(n))[::-1])

        comms.run(run)


def test_m3_a_forgotten_child_keeps_nobody() -> None:
    def run(comm: nx.Comm) -> None:
        comm.dup().barrier()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        with nx.local_cluster(2) as comms:
            comms.run(run)
        gc.collect()
    assert sum("was not closed" in str(warning.message) for warning in caught) == 2


def test_m3_closed_ones_leave_nothing(cluster: Cluster) -> None:
    def cycles(comm: nx.Comm, n: int) -> None:
        for i in range(n):
            with comm.split((comm.rank + i) % 2, i) as made:  # type: ignore[union-attr]
                made.barrier()

    def held() -> tuple[int, int, int]:
        gc.collect()
        comms.run(nx.Comm.barrier)
        return comms[0].stats()["memory"]["blocks"], len(os.listdir("/proc/self/fd")), threading.active_count()

    comms = cluster(3)
    comms.run(cycles, 20)
    before = held()
    comms.run(cycles, 200)
    after = held()
    assert after[0] <= before[0] + 50, (before, after)
    assert after[1:] == before[1:]


def test_m3_ops_end_with_their_communicator(pair: nx.LocalCluster) -> None:
    made = pair.run(nx.Comm.dup)
    mine, other = made[0].nb.recv(bytearray(1), 1), pair[0].nb.recv(bytearray(1), 1)
    made[0].close()
    with pytest.raises(nx.Closed):
        mine.wait()
    pair[1].send(b"x", 0)
    assert other.wait() == nx.Status(1, 0, 1)
    made[1].close()


def test_m3_a_rank_that_closes_ends_the_collectives_of_the_others(pair: nx.LocalCluster) -> None:
    """At once, not at a deadline; the communicator from which it was made goes on."""
    made = pair.run(nx.Comm.dup)
    waiting, later = made[1].nb.barrier(), made[1].nb.barrier()
    made[0].close()
    for call in (waiting.wait, later.wait, made[1].barrier):
        with pytest.raises(nx.PeerLost, match="rank 0 closed the communicator") as caught:
            call()
        assert (caught.value.peer, caught.value.comm) == (0, made[1].id)
    made[1].close()
    pair.run(calls, [0, 1])


# -------------------------------------------------------------------------------------------------------- what is wrong
NO_INT = "it must be an int"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"color": -1}, "color is -1; it must be 0 to 4294967294"),
    ({"color": 4_294_967_295}, "color is 4294967295; it must be 0 to 4294967294"),
    ({"color": 1 << 70}, "it must be 0 to 4294967294"),
    ({"color": 1.0}, f"color is 1.0; {NO_INT}"),
    ({"color": "red"}, f"color is 'red'; {NO_INT}"),
    ({"color": True}, f"color is True; {NO_INT}"),
    ({"color": [0]}, NO_INT),
    ({"color": 0, "key": None}, f"key is None; {NO_INT}"),
    ({"color": 0, "key": 0.5}, f"key is 0.5; {NO_INT}"),
    ({"color": 0, "key": False}, f"key is False; {NO_INT}"),
    ({"color": 0, "key": "0"}, f"key is '0'; {NO_INT}"),
    ({"color": 0, "key": 1 << 31}, "key is 2147483648; it must be -2147483648 to 2147483647"),
    ({"color": None, "key": -(1 << 31) - 1}, "it must be -2147483648 to 2147483647"),
    ({"color": 0, "timeout": -1}, "timeout is -1"),
    ({"color": 0, "timeout": "1"}, "timeout is '1'; it must be a number"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_wrong_arguments_are_found_before_anything_is_sent(
    cluster: Cluster, arguments: dict[str, Any], words: str
) -> None:
    comms = cluster(2)
    with pytest.raises(nx.UsageError) as caught:
        comms[0].split(**arguments)
    assert str(caught.value).startswith("split: ")
    assert words in str(caught.value)
    assert caught.value.op == "split"
    comms.run(nx.Comm.barrier)  # in step, as ever


@pytest.mark.parametrize("call", ["dup", "split_by_host"])
def test_wrong_timeouts(cluster: Cluster, call: str) -> None:
    with pytest.raises(nx.UsageError, match="timeout is nan"):
        getattr(cluster(2)[0], call)(timeout=float("nan"))


def test_numpy_integers_are_integers(cluster: Cluster) -> None:
    def run(comm: nx.Comm) -> None:
        with comm.split(np.uint8(3), np.int64(-comm.rank)) as made:  # type: ignore[union-attr, arg-type]
            assert made.rank == 1 - comm.rank

    cluster(2).run(run)


CALLS: dict[str, Callable[[nx.Comm], Any]] = {
    "split": lambda comm: comm.split(0),
    "dup": lambda comm: comm.dup(),
    "split_by_host": lambda comm: comm.split_by_host(),
    "barrier": lambda comm: comm.barrier(),
    "all_gather": lambda comm: comm.all_gather(np.zeros(32, np.uint8)),
}


@pytest.mark.parametrize(
    ("one", "two"), [(a, b) for a in CALLS for b in CALLS if a < b and (a, b) != ("all_gather", "barrier")]
)
def test_mismatch_is_named(pair: nx.LocalCluster, one: str, two: str) -> None:
    def run(comm: nx.Comm) -> None:
        with pytest.raises(nx.Mismatch) as caught:
            CALLS[one if comm.rank == 0 else two](comm)
        assert f"rank 0 called {one}(" in str(caught.value)
        assert f"rank 1 called {two}(" in str(caught.value)

    pair.run(run)


def test_a_rank_that_does_not_come(pair: nx.LocalCluster) -> None:
    with pytest.raises(nx.Timeout, match=r"split #1: .*rank 1.*has not called it") as caught:
        pair[0].split(0, timeout=0.2)
    assert (caught.value.peer, caught.value.op) == (1, "split")
    with pytest.raises(nx.Timeout, match="reported by rank 0"):  # also if it had all it needs of the first half
        pair[1].split(0)
    pair.run(calls, [0, 1])


def test_closing_ends_a_split_that_waits(pair: nx.LocalCluster) -> None:
    failed: list[BaseException] = []

    def split() -> None:
        try:
            pair[0].split(0)
        except nx.NexarError as error:
            failed.append(error)

    thread = threading.Thread(target=split)
    thread.start()
    while pair[0]._long_calls == 0 and thread.is_alive():
        pass
    pair[0].close()
    thread.join()
    assert isinstance(failed[0], nx.Closed)


def test_errors_have_the_ranks_and_the_id_of_their_communicator(cluster: Cluster) -> None:
    """Backwards, so that no number is that of the world."""

    def run(comm: nx.Comm) -> None:
        with comm.split(0, -comm.rank) as made:  # type: ignore[union-attr]
            if made.rank == 0:
                with pytest.raises(nx.Timeout, match=rf"^recv in comm {made.id:#x} from rank 2 .*tag 9") as caught:
                    made.recv(bytearray(1), 2, tag=9, timeout=0.1)
                assert (caught.value.peer, caught.value.comm) == (2, made.id)
                with pytest.raises(nx.Timeout, match=rf"^barrier #1 in comm {made.id:#x}: .*rank [12]"):
                    made.barrier(timeout=0.1)
            comm.barrier()

    cluster(3).run(run)


# ------------------------------------------------------------------------------------------------------------ processes
def job(ranks: Ranks, n: int, **environment: str) -> tuple[nx.Seed, list[Any]]:
    seed = nx.Seed("127.0.0.1:0", n)
    members = [ranks.member(seed.join_string, rank, n, **environment) for rank in range(n)]
    for member in members:
        member.end()
    return seed, members


def test_a_dead_rank_fails_where_it_was_a_member(ranks: Ranks) -> None:
    seed, members = job(ranks, 4)
    with seed:
        for member in members:
            member.begin("half = comm.split(comm.rank // 2, -comm.rank)")
        for member in members:
            member.end()
        for member in members[:3]:
            member.do("op = half.nb.recv(bytearray(1), nx.ANY, nx.ANY)")
        members[2].begin("half.barrier()")
        members[3].kill()
        with pytest.raises(Raised) as caught:
            members[2].end()
        assert (caught.value.name, caught.value.peer) == ("PeerLost", 0)  # backwards: rank 3 is its rank 0
        assert "rank 0" in caught.value.text
        assert "rank 3" not in caught.value.text
        with pytest.raises(Raised) as caught:
            members[2].do("op.wait()")
        assert (caught.value.name, caught.value.peer) == ("PeerLost", 0)
        assert "rank 3" not in caught.value.text
        for member in members[:2]:  # the world has failed for them, too
            with pytest.raises(Raised, match="PeerLost"):
                member.do("comm.barrier()")
        for member in members[:2]:
            member.begin("half.all_reduce(np.array([comm.rank])).tolist()")
        assert [member.end() for member in members[:2]] == [[1], [1]]
        members[0].do("half.send(b'x', 0)")  # what has waited all the time
        assert members[1].do("tuple(op.wait())") == (1, 0, 1)
        for member in members[:3]:
            member.begin("half.close(); comm.close()")
        for member in members[:3]:
            member.end()


def test_different_rules_are_refused(ranks: Ranks) -> None:
    with nx.Seed("127.0.0.1:0", 2) as seed:
        one = ranks.member(seed.join_string, 0, 2, NEXAR_COLL_TUNE="all_reduce:0-:rd")
        two = ranks.member(seed.join_string, 1, 2, NEXAR_COLL_TUNE="all_reduce:0-:ring")
        for member in (one, two):
            with pytest.raises(Raised) as caught:
                member.end()
            assert caught.value.name == "ConfigError"
            assert "rank 0" in caught.value.text
            assert "rank 1" in caught.value.text
            assert "NEXAR_COLL_TUNE" in caught.value.text


def test_hosts_are_told_apart_by_group(ranks: Ranks) -> None:
    with nx.Seed("127.0.0.1:0", 3) as seed:
        members = [
            ranks.member(seed.join_string, rank, 3, NEXAR_GROUP=group) for rank, group in enumerate(["a", "b", "a"])
        ]
        for member in members:
            member.end()
        for member in members:
            member.begin("(lambda host: host.all_gather(np.array(comm.rank)).tolist())(comm.split_by_host())")
        assert [member.end() for member in members] == [[0, 2], [1], [0, 2]]
        for member in members:
            member.begin("comm.close()")
        for member in members:
            member.end()
