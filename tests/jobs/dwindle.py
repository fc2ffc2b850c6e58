"""A rank of a job that gets smaller: `nexar run -n 5 --keep-going dwindle.py SEED` ends when one rank is left.

What it does is drawn, the same on all ranks, and each element of what comes out is checked.  When another rank is lost
it says which, when, and how long its threads had stood in the queue for a core since it began what failed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pynexar as nx
from recover import Array, array_of, check

LAST_TURNS = 10
COUNTS = (1, 100, 4096, 30_001, 200_003)


def queued() -> float:
    """Seconds that the threads of this process could have run and did not, as there was no core for them."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[1])
        except FileNotFoundError:  # it has ended, or the kernel does not count
            continue
    return total / 1e9


class Turn:
    """One call in one communicator, with what all its ranks bring."""

    def __init__(self, comm: nx.Comm, members: list[int], turn: int, dice: random.Random) -> None:
        self.names = {comm.id: members}  # by communicator: errors have its ranks
        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        count = dice.choice(COUNTS)
        self.root = dice.randrange(comm.size)
        self.given = [array_of(rank, turn, count) for rank in members]
        self.tables = [array_of(rank, turn, comm.size * (count // 8 + 1)).reshape(comm.size, -1) for rank in members]
        self.mine, self.table = self.given[self.rank].copy(), self.tables[self.rank].copy()
        self.right, self.left = (self.rank + 1) % self.size, (self.rank - 1) % self.size

    def all_reduce(self) -> None:
        check(self.comm.all_reduce(self.mine), np.sum(self.given, axis=0), "all_reduce")

    def all_reduce_max(self) -> None:
        check(self.comm.all_reduce(self.mine, "max"), np.max(self.given, axis=0), "all_reduce max")

    def reduce(self) -> None:
        got = self.comm.reduce(self.mine, "sum", self.root)
        if self.rank == self.root:
            check(got, np.sum(self.given, axis=0), "reduce")

    def broadcast(self) -> None:
        self.comm.broadcast(self.mine, self.root)
        check(self.mine, self.given[self.root], "broadcast")

    def all_gather(self) -> None:
        check(self.comm.all_gather(self.mine), np.stack(self.given), "all_gather")

    def reduce_scatter(self) -> None:
        check(self.comm.reduce_scatter(self.table), np.sum(self.tables, axis=0)[self.rank], "reduce_scatter")

    def all_to_all(self) -> None:
        expected = np.stack([table[self.rank] for table in self.tables])
        check(self.comm.all_to_all(self.table), expected, "all_to_all")

    def scan(self) -> None:
        check(self.comm.scan(self.mine), np.sum(self.given[: self.rank + 1], axis=0), "scan")

    def gather(self) -> None:
        got = self.comm.gather(self.mine, self.root)
        if self.rank == self.root:
            check(got, np.stack(self.given), "gather")

    def ring(self) -> None:
        got = np.empty_like(self.mine)
        self.comm.sendrecv(self.mine, self.right, got, self.left)
        check(got, self.given[self.left], "sendrecv")

    def at_once(self) -> None:
        got: Array = np.empty_like(self.mine)
        receive = self.comm.nb.recv(got, self.left)
        total = self.comm.nb.all_reduce(self.mine)
        send = self.comm.nb.send(self.mine, self.right)
        largest = self.comm.nb.all_reduce(self.mine, "max")
        check(total.wait(), np.sum(self.given, axis=0), "nb.all_reduce")
        send.wait()
        receive.wait()
        check(got, self.given[self.left], "nb.recv")
        check(largest.wait(), np.max(self.given, axis=0), "nb.all_reduce max")

    def part(self) -> None:
        with self.comm.split(self.rank % 2, -self.rank) as half:
            self.names[half.id] = self.names[self.comm.id][self.rank % 2 :: 2][::-1]
            rows = self.given[self.rank % 2 :: 2]
            check(half.all_reduce(self.mine), np.sum(rows, axis=0), "all_reduce of a half")

    def barrier(self) -> None:
        self.comm.barrier()


CALLS: list[Callable[[Turn], Any]] = [call for name, call in vars(Turn).items() if not name.startswith("_")]


def main(seed: int) -> None:
    comm = nx.init()
    me = comm.rank
    print("works:", os.getpid(), flush=True)
    members = list(range(comm.size))
    while True:
        dice = random.Random(f"{seed} {members}")
        began, turn = queued(), Turn(comm, members, 0, dice)
        try:
            same = [int(rank) for rank in comm.all_gather(np.array([me]))[:, 0]]
            assert same == members, (same, members)
            print("members:", *members, flush=True)
            done = 0
            while comm.size > 1 or done < LAST_TURNS:
                began, turn = queued(), Turn(comm, members, done, dice)
                dice.choice(CALLS)(turn)
                done += 1
            break
        except nx.QuorumLost:
            raise
        except nx.PeerLost as error:
            heard = time.monotonic()
            peer = turn.names[error.comm][error.peer]
            print(f"lost: {peer} at {heard} queued {queued() - began:.6f} {error}", flush=True)
            shrunk = comm.shrink()
            out = {failure.rank for failure in comm.failures() if failure.out}
            members = [member for rank, member in enumerate(members) if rank not in out]
            assert shrunk.size == len(members), (shrunk.size, members)
            assert members[shrunk.rank] == me, (shrunk.rank, members)
            comm.close()
            comm = shrunk
    assert comm.failures() == []
    print("done:", done, flush=True)
    comm.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
