"""A rank that checks every element of every collective: `nexar run -n 4 hosts.py 0,0,1,1`, where it claims a host.

What is asked for twice is the same bits; sums of floats are by rank, whatever the hosts.  At the end it says how many
bytes passed between hosts, of each collective.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

import pynexar as nx

Array = np.ndarray[Any, Any]
COUNTS = (0, 1, 7, 1_000, 20_011)
LONG = 1_200_007
OPS = {"sum": np.add, "max": np.maximum, "prod": np.multiply}


def values(rank: int, count: int, dtype: str, seed: int = 0) -> Array:
    """Floats whose sum depends on the order, or small integers."""
    rng = np.random.default_rng([rank, count, seed])
    if dtype[0] == "f":
        return (rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)).astype(dtype)
    return rng.integers(-100, 100, count).astype(dtype)


class Checks:
    """One rank with a communicator."""

    def __init__(self, comm: nx.Comm) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size

    def same(self, got: Any, want: Array, what: str) -> None:
        got = np.asarray(got)
        if got.dtype != want.dtype or got.reshape(-1).tobytes() != want.reshape(-1).tobytes():
            where = np.flatnonzero(got.reshape(-1) != want.reshape(-1)) if got.size == want.size else []
            raise ValueError(f"rank {self.rank} of {self.size}: {what}: wrong from {where[:3]} on, {got.shape}")

    def all(self, count: int, dtype: str, seed: int = 0) -> list[Array]:
        return [values(rank, count, dtype, seed) for rank in range(self.size)]

    def reductions(self, count: int, dtype: str, op: str) -> None:
        with np.errstate(all="ignore"):
            given = self.all(count, dtype)
            total = reduce(OPS[op], given)
            rows = self.all(self.size * 3, dtype, seed=count + 1)
            blocks = reduce(OPS[op], rows).reshape(self.size, 3)
        what = f"{op} of {count} {dtype}"
        mine = given[self.rank].copy()
        self.same(self.comm.all_reduce(mine, op), total, f"all_reduce, {what}")
        self.same(mine, given[self.rank], "what was given")
        first, second = self.comm.nb.all_reduce(mine, op), self.comm.nb.reduce(mine, op, self.size - 1)
        self.same(first.wait(), total, f"nb.all_reduce, {what}")
        result = second.wait()
        if self.rank == self.size - 1:
            self.same(result, total, f"nb.reduce, {what}")
        for root in range(self.size):
            result = self.comm.reduce(mine, op, root)
            if self.rank == root:
                self.same(result, total, f"reduce to {root}, {what}")
        self.comm.all_reduce(mine, op, out=mine)
        self.same(mine, total, f"all_reduce in place, {what}")
        table = rows[self.rank].reshape(self.size, 3).copy()
        self.same(self.comm.reduce_scatter(table, op), blocks[self.rank], f"reduce_scatter, {what}")
        self.same(self.comm.reduce_scatter(table, op, out=table[self.rank]), blocks[self.rank], f"in place, {what}")

    def scans(self, count: int) -> None:
        given = self.all(count, "f4")
        self.same(self.comm.scan(given[self.rank]), reduce(np.add, given[: self.rank + 1]), f"scan of {count}")

    def moves(self, count: int, dtype: str) -> None:
        given = self.all(count, dtype)
        whole = np.concatenate(given)
        self.same(self.comm.all_gather(given[self.rank]), whole, f"all_gather of {count} {dtype}")
        out = np.zeros((self.size, count), dtype)
        out[self.rank] = given[self.rank]
        self.comm.all_gather(out[self.rank], out)
        self.same(out, whole, f"all_gather in place of {count} {dtype}")
        for root in range(self.size):
            x = given[root].copy() if self.rank == root else np.zeros(count, dtype)
            self.comm.broadcast(x, root)
            self.same(x, given[root], f"broadcast of {count} {dtype} from {root}")
        root = count % self.size
        gathered = self.comm.gather(given[self.rank], root)
        if self.rank == root:
            self.same(gathered, whole, f"gather of {count} {dtype}")
        table = np.stack(given)
        self.same(
            self.comm.scatter(table if self.rank == root else None, root, out[0].copy()), given[self.rank], "scatter"
        )
        self.same(self.comm.all_to_all(np.stack([given[self.rank]] * self.size)), table, f"all_to_all of {count}")

    def unequal(self, count: int) -> None:
        counts = [(count * (rank + 1)) % 97 + (rank == 1) * count for rank in range(self.size)]
        given = [values(rank, counts[rank], "i4") for rank in range(self.size)]
        whole = np.concatenate(given)
        self.same(self.comm.all_gather(given[self.rank], None, counts), whole, f"all_gather of {counts}")
        for dtype in ("i8", "f4"):
            rows = self.all(sum(counts), dtype)
            begin = sum(counts[: self.rank])
            want = reduce(np.add, rows)[begin : begin + counts[self.rank]]
            self.same(
                self.comm.reduce_scatter(rows[self.rank], "sum", None, counts), want, f"reduce_scatter of {counts}"
            )

    def buckets(self) -> None:
        sizes, kinds = (1, 1000, 30_000, 7), ("f4", "i4", "f4", "f8")
        given = [[values(rank, n, kind) for n, kind in zip(sizes, kinds)] for rank in range(self.size)]
        arrays = [x.copy() for x in given[self.rank]]
        self.comm.all_reduce_bucketed(arrays)
        for i, x in enumerate(arrays):
            self.same(x, reduce(np.add, [each[i] for each in given]), f"bucketed, array {i}")

    def everything(self, counts: tuple[int, ...]) -> None:
        for count in counts:
            for dtype in ("f4", "i4", "f2", "i1", "f8"):
                for op in OPS:
                    self.reductions(count, dtype, op)
            self.scans(count)
            for dtype in ("i8", "u1"):
                self.moves(count, dtype)
            self.unequal(count)
            self.comm.barrier()
        self.buckets()
        self.same(np.array(self.comm.all_gather_object(self.rank)), np.arange(self.size), "objects")


def between(comm: nx.Comm, call: Callable[[], object]) -> int:
    """Bytes that all ranks together sent to other hosts meanwhile."""

    def sent() -> int:
        ways = comm.stats()["transports"]
        return sum(way["bytes_sent"] for name, way in ways.items() if name != "shm")

    comm.barrier()
    before = sent()
    call()
    comm.barrier()
    return int(comm.all_reduce(np.array([sent() - before]))[0])


def traffic(comm: nx.Comm) -> dict[str, int]:
    ints, floats = np.ones(1 << 18, np.int32), np.ones(1 << 18, np.float32)
    calls: dict[str, Callable[[], object]] = {
        "all_reduce-i4": lambda: comm.all_reduce(ints),
        "all_reduce-f4": lambda: comm.all_reduce(floats),
        "broadcast": lambda: comm.broadcast(ints),
        "reduce-i4": lambda: comm.reduce(ints),
        "all_gather": lambda: comm.all_gather(ints),
        "reduce_scatter-i4": lambda: comm.reduce_scatter(np.ones((comm.size, 1 << 18), np.int32)),
    }
    return {name: between(comm, call) for name, call in calls.items()}


def main() -> None:
    if len(sys.argv) > 1:
        os.environ["NEXAR_GROUP"] = "host " + sys.argv[1].split(",")[int(os.environ["NEXAR_RANK"])]
    with nx.init() as comm:
        checks = Checks(comm)
        checks.everything(COUNTS)
        checks.reductions(LONG, "f4", "sum")
        checks.reductions(LONG, "i4", "sum")
        with comm.split(0, -comm.rank) as backwards, comm.split(comm.rank % 2, comm.rank) as half:
            Checks(backwards).everything((7, 1_000, 20_011))
            Checks(half).everything((1_000, 20_011))
        sent = traffic(comm)
        print("rank", comm.rank, "has checked all;", *(f"{name}={nbytes}" for name, nbytes in sent.items()), flush=True)


if __name__ == "__main__":
    main()
