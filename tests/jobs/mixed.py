"""A rank of a job whose other ranks are programs in C (mixed.c): the same calls, every element checked."""

from __future__ import annotations

from typing import Any

import numpy as np

import pynexar as nx

Array = np.ndarray[Any, Any]


def value(of: int, count: int) -> Array:
    i = np.arange(count, dtype=np.int64)
    return ((i * 7 + of * 31 + i // 5) % 101 - 50).astype(np.int32)


def check(got: Array | None, expected: Array) -> None:
    np.testing.assert_array_equal(got, expected, strict=True)


def reductions(comm: nx.Comm, count: int) -> None:
    each = [value(rank, count) for rank in range(comm.size)]
    x, root = each[comm.rank], comm.size - 1
    total = np.sum(each, 0, np.int32)
    check(comm.all_reduce(x), total)
    y = comm.reduce(x, root=root)
    if comm.rank == root:
        check(y, total)
    check(comm.scan(x), np.sum(each[: comm.rank + 1], 0, np.int32))
    check(comm.exclusive_scan(x), np.sum([0 * x, *each[: comm.rank]], 0, np.int32))
    blocks = [value(rank, count * comm.size).reshape(comm.size, count) for rank in range(comm.size)]
    check(comm.reduce_scatter(blocks[comm.rank]), np.sum(blocks, 0, np.int32)[comm.rank])


def moves(comm: nx.Comm, count: int) -> None:
    each = [value(rank, count) for rank in range(comm.size)]
    blocks = [value(rank, count * comm.size).reshape(comm.size, count) for rank in range(comm.size)]
    root = comm.size // 2
    check(comm.broadcast(each[comm.rank].copy(), root), each[root])
    check(comm.all_gather(each[comm.rank]), np.stack(each))
    y = comm.gather(each[comm.rank], root)
    if comm.rank == root:
        check(y, np.stack(each))
    # The blocking form tells the others shape and dtype first, which C does not.
    out = np.empty(count, np.int32)
    check(comm.nb.scatter(blocks[comm.rank] if comm.rank == root else None, root, out).wait(), blocks[root][comm.rank])
    check(comm.all_to_all(blocks[comm.rank]), np.stack([theirs[comm.rank] for theirs in blocks]))


def ragged(comm: nx.Comm, count: int) -> None:
    counts = [count * (rank % 3) for rank in range(comm.size)]
    each = [value(rank, rows) for rank, rows in enumerate(counts)]
    check(comm.all_gather(each[comm.rank], counts=counts), np.concatenate(each))


def messages(comm: nx.Comm, count: int) -> None:
    left, out = (comm.rank - 1) % comm.size, np.empty(count, np.int32)
    x = value(comm.rank, count)
    status = comm.sendrecv(x, (comm.rank + 1) % comm.size, out, nx.ANY, sendtag=5, recvtag=5)
    assert status == (left, 5, out.nbytes)
    check(out, value(left, count))


def main() -> None:
    with nx.init() as comm:
        for _ in range(2):
            for count in (1, 1_003, 40_009):
                for each in (reductions, moves, ragged, messages):
                    each(comm, count)
                comm.barrier()
        print("Python: all as it must be")


if __name__ == "__main__":
    main()
