"""A rank that makes every collective and checks every element: `everycall.py [hosts]`, started by any launcher.

With `hosts` it expects sums by rank within each host and then by host, else by rank.  Data depends on rank and index
and is such that another order of float sums shows (oracle.py).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

import oracle
import pynexar as nx
from oracle import FLOATS, Array, average, equal, identity, ops_of

Groups = tuple[tuple[int, ...], ...]  # ranks whose sum is made first, in order

PERIOD = 2_008  # of oracle.elements: what it would give for long vectors is repeated, which costs less

SHORT = (0, 1, 7, 1_000)
LONG = 100_003
LARGE = 1_100_003  # more than 4 MiB of float32
OPS = {
    "float32": ("sum", "avg", "max"),
    "bfloat16": ("sum", "min"),
    "float64": ("sum", "prod"),
    "int32": ("sum", "avg", "bxor"),
    "int8": ("sum", "prod"),
}


def elements(rank: int, shape: tuple[int, ...], dtype: str) -> Array:
    return np.resize(oracle.elements(rank, (PERIOD,), dtype), shape)


@lru_cache(256)
def reduced_period(groups: Groups, op: str, dtype: str) -> Array:
    ufunc = ops_of(dtype)[op]
    with np.errstate(all="ignore"):  # wrapping and overflow are meant
        sums = [
            functools.reduce(ufunc, (oracle.elements(rank, (PERIOD,), dtype) for rank in group)) for group in groups
        ]
        total: Array = functools.reduce(ufunc, sums)
        return average(total, sum(map(len, groups)), dtype) if op == "avg" else total


def reduced(groups: Groups, shape: tuple[int, ...], op: str, dtype: str) -> Array:
    return np.resize(reduced_period(groups, op, dtype), shape)


def by_rank(n: int) -> Groups:
    return (tuple(range(n)),)


def uneven(count: int, n: int) -> list[int]:
    """Rows of each rank, one of which has none."""
    return [0 if rank == 1 else count + 3 * rank for rank in range(n)]


def part(rows: Sequence[int], rank: int) -> slice:
    begin = sum(rows[:rank])
    return slice(begin, begin + rows[rank])


class Member:
    """One rank with its communicator."""

    def __init__(self, comm: nx.Comm, groups: Groups) -> None:
        self.comm = comm
        self.groups = groups
        own = [group for group in groups if comm.rank in group]
        self.scattered = (*own, *(group for group in groups if group not in own))  # reduce_scatter: the own host first
        self.n = comm.size
        self.rank = comm.rank

    def everything(self, *, long: bool = True) -> None:
        for count in SHORT if long else SHORT[2:]:
            for dtype, ops in OPS.items():
                for op in ops:
                    self.reductions(count, dtype, op)
            self.blocks(count, "float64")
            self.blocks(count, "int8")
        if long:
            for dtype in ("float32", "bfloat16", "int32"):
                self.reductions(LONG, dtype, "sum")
            self.blocks(LONG // 8, "float32")
        self.at_once()
        self.objects()
        self.barrier()

    def large(self) -> None:
        """Longer than what any of the rules, windows and segments is made for."""
        for dtype in ("float32", "int32"):
            x = elements(self.rank, (LARGE,), dtype)
            total = reduced(self.groups, (LARGE,), "sum", dtype)
            equal(self.comm.all_reduce(x), total, f"all_reduce of {LARGE} {dtype}")
            got = self.comm.reduce(x, root=self.n - 1)
            if self.rank == self.n - 1:
                equal(got, total, f"reduce of {LARGE} {dtype}")
        x = elements(1, (LARGE,), "int32").copy() if self.rank == 1 else np.zeros(LARGE, "i4")
        equal(self.comm.broadcast(x, 1), elements(1, (LARGE,), "int32"), f"broadcast of {LARGE}")
        block = (LARGE // self.n,)
        expected = np.stack([elements(rank, block, "int32") for rank in range(self.n)])
        equal(self.comm.all_gather(elements(self.rank, block, "int32")), expected, f"all_gather of {block}")

    def reductions(self, count: int, dtype: str, op: str) -> None:
        comm, n, rank = self.comm, self.n, self.rank
        what = f"{op} of {count} {dtype}"
        x = elements(rank, (count,), dtype)
        total = reduced(self.groups, (count,), op, dtype)
        equal(comm.all_reduce(x, op), total, f"all_reduce, {what}")
        place = x.copy()
        equal(comm.all_reduce(place, op, out=place), total, f"all_reduce in place, {what}")
        for root, begun in enumerate([comm.nb.reduce(x, op, root) for root in range(n)]):
            got = begun.wait()
            if rank == root:
                equal(got, total, f"reduce to {root}, {what}")
        root = count % n
        place = x.copy()
        comm.reduce(place, op, root, out=place if rank == root else None)
        equal(place, total if rank == root else x, f"reduce to {root} in place, {what}")
        if op != "avg":
            so_far = reduced(by_rank(rank + 1), (count,), op, dtype)
            equal(comm.scan(x, op), so_far, f"scan, {what}")
            before = np.full_like(x, identity(op, dtype))
            if rank:
                before = reduced(by_rank(rank), (count,), op, dtype)
            equal(comm.exclusive_scan(x, op), before, f"exclusive_scan, {what}")
        rows = reduced(self.scattered, (n, count), op, dtype)
        x = elements(rank, (n, count), dtype)
        equal(comm.reduce_scatter(x, op), rows[rank], f"reduce_scatter, {what}")
        place = x.copy()
        equal(comm.reduce_scatter(place, op, place[rank]), rows[rank], f"reduce_scatter in place, {what}")
        counts = uneven(count, n)
        x = elements(rank, (sum(counts),), dtype)
        piece = reduced(self.scattered, (sum(counts),), op, dtype)[part(counts, rank)]
        equal(comm.reduce_scatter(x, op, counts=counts), piece, f"reduce_scatter by counts, {what}")

    def blocks(self, count: int, dtype: str) -> None:
        comm, n, rank = self.comm, self.n, self.rank
        what = f"{count} {dtype}"
        x = elements(rank, (count,), dtype)
        all_of_them = np.stack([elements(other, (count,), dtype) for other in range(n)])
        counts = uneven(count, n)
        ragged = np.concatenate([elements(other, (counts[other],), dtype) for other in range(n)])
        mine = elements(rank, (counts[rank],), dtype)
        equal(comm.all_gather(x), all_of_them, f"all_gather of {what}")
        out = np.zeros_like(all_of_them)
        out[rank] = x
        equal(comm.all_gather(out[rank], out), all_of_them, f"all_gather in place of {what}")
        equal(comm.all_gather(mine, counts=counts), ragged, f"all_gather by counts of {what}")
        for root in range(n):
            own = elements(root, (count,), dtype)
            place = own.copy() if rank == root else np.zeros_like(own)
            equal(comm.broadcast(place, root), own, f"broadcast of {what} from {root}")
            got = comm.gather(x, root)
            if rank == root:
                equal(got, all_of_them, f"gather of {what} to {root}")
            got = comm.gather(mine, root, counts=counts)
            if rank == root:
                equal(got, ragged, f"gather by counts of {what} to {root}")
            equal(comm.scatter(all_of_them if rank == root else None, root), x, f"scatter of {what} from {root}")
            got = comm.scatter(ragged if rank == root else None, root, counts=counts)
            equal(got, mine, f"scatter by counts of {what} from {root}")
        # Block i of rank r: elements that begin with r * n + i.
        sent = np.stack([elements(rank * n + to, (count,), dtype) for to in range(n)])
        came = np.stack([elements(source * n + rank, (count,), dtype) for source in range(n)])
        equal(comm.all_to_all(sent), came, f"all_to_all of {what}")
        out_rows, in_rows = [count + rank + to for to in range(n)], [count + source + rank for source in range(n)]
        sent = np.concatenate([elements(rank * n + to, (out_rows[to],), dtype) for to in range(n)])
        came = np.concatenate([elements(source * n + rank, (in_rows[source],), dtype) for source in range(n)])
        got = comm.all_to_all(sent, send_counts=out_rows, recv_counts=in_rows)
        equal(got, came, f"all_to_all by counts of {what}")

    def at_once(self) -> None:
        """Different ones, of several lengths, all begun before any is waited for."""
        comm, n, rank = self.comm, self.n, self.rank
        begun: list[tuple[nx.Op, Array, str]] = []
        for count in (3, 20_011, 1, LONG, 1_000):
            for dtype in ("float32", "int32"):
                x, what = elements(rank, (count,), dtype), f"of {count} {dtype} at once"
                begun.append((comm.nb.all_reduce(x), reduced(self.groups, (count,), "sum", dtype), f"sum {what}"))
                every = np.stack([elements(other, (count,), dtype) for other in range(n)])
                begun.append((comm.nb.all_gather(x), every, f"all_gather {what}"))
                root = count % n
                place = x.copy() if rank == root else np.zeros_like(x)
                begun.append((comm.nb.broadcast(place, root), every[root], f"broadcast {what}"))
                rows = elements(rank, (n, count), dtype)
                own = reduced(self.scattered, (n, count), "sum", dtype)[rank]
                begun.append((comm.nb.reduce_scatter(rows), own, f"reduce_scatter {what}"))
                comm.barrier()
        for op, expected, what in reversed(begun):
            equal(op.wait(), expected, what)

    def objects(self) -> None:
        comm, n, rank = self.comm, self.n, self.rank
        mine = {"rank": rank, "values": list(range(rank * 100))}
        every = [{"rank": other, "values": list(range(other * 100))} for other in range(n)]
        assert comm.all_gather_object(mine) == every
        for root in range(n):
            assert comm.broadcast_object(mine if rank == root else None, root) == every[root]
            assert comm.gather_object(mine, root) == (every if rank == root else None)
            assert comm.scatter_object(every if rank == root else None, root) == mine

    def barrier(self) -> None:
        """Nobody is through before the last one has come."""
        comm, n, rank = self.comm, self.n, self.rank
        for last in range(n):
            if rank == last:
                for _ in range(n - 1):
                    comm.recv(bytearray(1), nx.ANY, tag=last)
                comm.barrier()
            else:
                through = comm.nb.barrier()
                early = through.done
                comm.send(b"x", last, tag=last)
                through.wait()
                assert not early, f"a barrier without rank {last}"


def groups_of(comm: nx.Comm, by_host: bool) -> Groups:
    """The order of its sums."""
    if not by_host:
        return by_rank(comm.size)
    with comm.split_by_host() as host:
        mates = host.all_gather_object(comm.rank)
    return tuple(sorted({tuple(each) for each in comm.all_gather_object(mates)}))


def main(by_host: bool) -> None:
    with nx.init() as world:
        member = Member(world, groups_of(world, by_host))
        member.everything()
        member.large()
        keys = [(rank * 3 + 1) % world.size for rank in range(world.size)]  # others beside each other
        shuffled = world.split(0, keys[world.rank])
        halves = world.split(world.rank % 2)
        with world.split_by_host() as host, shuffled as other, halves as half:  # type: ignore[union-attr]
            Member(other, groups_of(other, by_host)).everything(long=False)
            for smaller in (host, half):
                Member(smaller, groups_of(smaller, by_host)).reductions(LONG, "int32", "sum")
                Member(smaller, by_rank(smaller.size)).blocks(7, "float64")
        for dtype in FLOATS:  # ranks that have the same bits of what is rounded
            total = world.all_reduce(elements(world.rank, (LONG,), dtype)).tobytes()
            assert set(world.all_gather_object(total)) == {total}, dtype
        print("rank", world.rank, "of", world.size, "is through", flush=True)


if __name__ == "__main__":
    main("hosts" in sys.argv[1:])
