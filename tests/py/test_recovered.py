"""Communicators of those who are left, call by call, in processes that do what the test says; and who is told what.

The weaknesses of the reference that the names of tests have are those of its recovery: a client that is rebuilt has no
barrier, receives nothing, and cannot recover again; numbers of ranks are mixed up; locks hold each other up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

import pynexar as nx
from ranks import Raised, Rank, Ranks

# For each rank: every kind of call in a communicator of these, by their ranks in the job.
EVERY = """
def every(comm, members):
    n, r, me = comm.size, comm.rank, members[comm.rank]
    x = np.arange(1000.0)
    total = sum(x + m for m in members)
    assert n == len(members)
    assert np.array_equal(comm.all_reduce(x + me), total)
    comm.barrier()
    op, got = comm.nb.send(x + me, (r + 1) % n, 5), np.empty(1000)
    assert comm.recv(got, nx.ANY, 5) == nx.Status((r - 1) % n, 5, 8000)
    op.wait()
    assert np.array_equal(got, x + members[r - 1])
    comm.register("who", lambda payload: bytes([me]) + payload)
    comm.barrier()
    assert [comm.call(to, "who", b"?") for to in range(n)] == [bytes([m]) + b"?" for m in members]
    with comm.split(0, -r) as back:
        assert back.all_gather(np.array([me]))[:, 0].tolist() == members[::-1]
    agreed = comm.agree(0xF0 | me)
    want = 0xFF
    for m in members:
        want &= 0xF0 | m
    assert agreed.value == want and agreed.missing == [], agreed
    assert comm.failures() == []
    comm.barrier()
    return "well"

def lose(comm):
    try:
        while True:
            comm.all_reduce(np.ones(1000))
    except nx.PeerLost as error:
        return error.peer

def gone(comm):
    return [(each.rank, each.left, each.out) for each in comm.failures()]
"""


class Job:
    """Some ranks, of which some are gone."""

    def __init__(self, ranks: Ranks, n: int, way: str) -> None:
        self.ranks: dict[int, Rank] = {}
        # Whoever ends is heard of by the end of its process; nobody is to be silent for want of a core.
        more = {"NEXAR_TRANSPORTS": way, "NEXAR_PEER_TIMEOUT": "20s"}
        with nx.Seed("127.0.0.1:0", n) as seed:
            for rank in range(n):
                self.ranks[rank] = ranks.start(
                    f"rank{rank}", NEXAR_JOIN=seed.join_string, NEXAR_RANK=str(rank), NEXAR_WORLD_SIZE=str(n), **more
                )
            self.before = {rank: held(process.pid) for rank, process in self.ranks.items()}
            self.all("comm = nx.init()")
        self.all(EVERY)
        self.all("old = comm")

    def all(self, code: str) -> list[Any]:
        """On each that is left, at the same time; what came out, by rank."""
        for process in self.ranks.values():
            process.begin(code)
        return [process.end() for process in self.ranks.values()]

    def works(self) -> None:
        members = list(self.ranks)
        assert self.all(f"every(comm, {members})") == ["well"] * len(members)

    def kill(self, rank: int) -> None:
        """The others are at work, and each names it, by its number in the communicator."""
        number = list(self.ranks).index(rank)
        victim = self.ranks.pop(rank)
        for process in self.ranks.values():
            process.begin("lose(comm)")
        victim.kill()
        assert [process.end() for process in self.ranks.values()] == [number] * len(self.ranks)

    def shrink(self) -> None:
        self.all("comm = comm.shrink()")


def held(pid: int) -> tuple[int, int]:
    """Threads and sockets of a process."""
    targets = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            targets.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:  # closed meanwhile
            continue
    return len(os.listdir(f"/proc/{pid}/task")), sum(target.startswith("socket:") for target in targets)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


WAYS = pytest.mark.parametrize("way", ["auto", "shm", "tcp", "quic"])


@WAYS
def test_v1_every_call_works_after_each_recovery(ranks: Ranks, way: str) -> None:
    """And the second recovery is like the first."""
    job = Job(ranks, 5, way)
    job.works()
    for victim in (1, 0, 3):
        job.kill(victim)
        job.shrink()
        job.works()


@WAYS
def test_v2_numbers_of_an_old_communicator_are_not_those_of_the_next(ranks: Ranks, way: str) -> None:
    """The reference keeps the list of the dead by their old numbers, and excludes whoever has these then."""
    job = Job(ranks, 5, way)
    job.kill(0)
    job.shrink()
    job.all("second = comm")
    assert job.all("gone(comm)") == [[]] * 4
    assert job.all("gone(old)") == [[(0, False, True)]] * 4
    job.kill(3)  # number 2 of the second, whose number 3 lives
    job.shrink()
    assert job.all("gone(old)") == [[(0, False, True), (3, False, True)]] * 3
    assert job.all("gone(second)") == [[(2, False, True)]] * 3
    assert job.all("gone(comm)") == [[]] * 3
    job.all("import time; end = time.monotonic() + 1.5")  # three intervals of heartbeats, in which nothing is to happen
    job.all("while comm.all_reduce(np.array(time.monotonic() < end), 'max'): pass")
    job.works()


@WAYS
def test_v3_recovery_waits_for_no_call_and_no_call_waits_for_it(ranks: Ranks, way: str) -> None:
    """In the reference both hold the same lock."""
    job = Job(ranks, 4, way)
    job.all("part = comm.split(comm.rank % 2, comm.rank)")  # 1 is to die, with 3 in its part; 0 and 2 have another
    first, busy = job.ranks[2], job.ranks[0]
    busy.do("import threading; ended, begun = [], threading.Event()")
    busy.do(
        "def waits():\n"
        "    begun.set()\n"
        "    try:\n"
        "        comm.recv(bytearray(1), 2, 77)\n"  # from one that lives, and never sends
        "    except nx.PeerLost as error:\n"
        "        ended.append(error.peer)"
    )
    busy.do("thread = threading.Thread(target=waits); thread.start(); begun.wait()")
    job.ranks.pop(1).kill()
    until(lambda: first.do("gone(comm)"), "nobody hears of the death")
    first.do("op = comm.nb.shrink()")  # the others do not come yet, and the first of them makes it
    for rank in (0, 2):
        job.ranks[rank].begin("part.all_reduce(np.array([comm.rank + 1])).tolist()")
    assert [job.ranks[rank].end() for rank in (0, 2)] == [[4], [4]]
    assert first.do("op.done") is False
    for rank in (0, 3):
        job.ranks[rank].begin("comm = comm.shrink()")
    first.do("comm = op.wait()")
    for rank in (0, 3):
        job.ranks[rank].end()
    busy.do("thread.join(10)")
    assert busy.do("ended") == [1]
    job.works()


@pytest.mark.parametrize("how", ["comm.close()", "del comm, old; import gc; gc.collect()"], ids=["closed", "forgotten"])
@pytest.mark.parametrize("used", [True, False], ids=["used", "never used"])
def test_h4_a_communicator_that_is_given_up_is_gone(ranks: Ranks, used: bool, how: str) -> None:
    """In the reference its connections stay, and its heartbeats, so that the others believe that it lives."""
    job = Job(ranks, 3, "auto")
    if used:
        job.works()
    one = job.ranks.pop(1)
    one.do(how)
    for process in job.ranks.values():
        until(lambda process=process: process.do("gone(comm)"), "nobody is told")
        assert process.do("gone(comm)")[0][:2] == (1, True)
        with pytest.raises(Raised, match=r"rank 1 .*has left: it closed its communicator") as caught:
            process.do("comm.recv(bytearray(1), 1)")
        assert (caught.value.name, caught.value.peer) == ("PeerLost", 1)
    assert job.all("lose(comm)") == [1, 1]
    threads, sockets = job.before[1]
    # The engine stays, with nothing to do, for the next communicator.
    until(lambda: held(one.pid) <= (threads + 1, sockets), "threads or sockets of it are still there")
    assert held(one.pid)[1] == sockets


def test_h5_who_is_gone_why_and_whether_that_is_agreed_is_known_to_all(ranks: Ranks) -> None:
    """The reference has a map of its cluster, and nobody writes into it."""
    job = Job(ranks, 5, "auto")
    job.kill(3)
    job.ranks.pop(1).do("comm.close()")
    for process in job.ranks.values():
        until(lambda process=process: len(process.do("gone(comm)")) == 2, "not all are told")
    job.shrink()
    assert job.all("gone(old)") == [[(1, True, True), (3, False, True)]] * 3
    for why in job.all("[each.why for each in old.failures()]"):
        assert "left" in why[0] or "closed" in why[0], why
        assert "ended" in why[1] or "process" in why[1], why
    job.works()


@pytest.mark.parametrize("way", ["auto", "tcp", "quic"])
def test_e4_any_rank_can_leave(ranks: Ranks, way: str) -> None:
    """In the reference the first cannot, and others wait 60 s for an answer that does not come."""
    job = Job(ranks, 4, way)
    for leaver in (0, 2):
        number = list(job.ranks).index(leaver)
        process = job.ranks.pop(leaver)
        process.do("comm.close(); old.close()", timeout=15)  # NEXAR_LINGER is 5 s, and nobody needs them
        assert job.all("lose(comm)") == [number] * len(job.ranks)
        job.shrink()
        job.works()
