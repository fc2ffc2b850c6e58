"""A rank that checks every element of every result: `nexar run -n 4 matrix.py`, or `matrix.py N` with threads as ranks.

`matrix.py once` makes one round alone, and says how many bytes took which way.

What ranks put in is made of small integers, so that sums are exact in every type, and depends on rank and index, so
that an element that is lost, doubled or in the wrong place shows.  Noise shows whether all ranks have the same bits.
"""

from __future__ import annotations

import hashlib
import sys
import time
from typing import Any, Callable

import numpy as np

import pynexar as nx

Array = np.ndarray[Any, Any]

SILENCE = 5.0
LARGE = 4_194_311
OPS: dict[str, Callable[[Array, Array], Array]] = {
    "sum": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "prod": np.multiply,
}


def counts_for(n: int) -> list[int]:
    return sorted({0, 1, n - 1, n, n + 1, 1_000, 65_537})


def base(count: int) -> tuple[Array, Array]:
    """Rank r puts in first + r * second."""
    index = np.arange(count, dtype=np.int32)
    return (index * 7 + index // 5) % 1021 - 510, index % 13 - 6


def array_of(rank: int, count: int, dtype: str) -> Array:
    first, second = base(count)
    values: Array = (first + rank * second).astype(dtype)
    return values


def factors_of(rank: int, count: int, dtype: str) -> Array:
    """For products that fit into every type."""
    factors: Array = ((np.arange(count) + rank) % 4 - 1).astype(dtype)
    return factors


class Member:
    """One rank with its communicator."""

    def __init__(self, comm: nx.Comm) -> None:
        self.comm = comm
        self.rank = comm.rank
        self.size = comm.size
        self.digest = hashlib.sha256()  # of all results of a round, in their order

    def round(self) -> str:
        """Everything once; the digest of all results, which all ranks have found to be the same."""
        self.digest = hashlib.sha256()
        for count in counts_for(self.size):
            for dtype in ("f4", "f8", "i4", "i8"):
                for op in OPS:
                    self.all_reduce(count, dtype, op)
            self.noise(count)
            for root in range(self.size):
                self.broadcast(count, root)
            self.sendrecv(count)
            self.barrier()
        self.large()
        digest = self.digest.digest()
        for other, theirs in enumerate(self.all_gather(digest)):
            if theirs != digest:
                raise ValueError(f"other bits on rank {other} than on rank {self.rank}")
        return digest.hex()

    def check(self, got: Array, expected: Array, what: str) -> None:
        if got.dtype != expected.dtype or got.shape != expected.shape:
            raise ValueError(f"{what}: {got.dtype}{got.shape} instead of {expected.dtype}{expected.shape}")
        wrong = np.flatnonzero(got != expected)
        if wrong.size:
            i = int(wrong[0])
            raise ValueError(f"{what}: {wrong.size} wrong, the first is {got[i]} instead of {expected[i]} at {i}")

    def all_reduce(self, count: int, dtype: str, op: str) -> None:
        make = factors_of if op == "prod" else array_of
        x = make(self.rank, count, dtype)
        expected = make(0, count, dtype)
        for rank in range(1, self.size):
            expected = OPS[op](expected, make(rank, count, dtype))
        y = self.comm.all_reduce(x, op)
        self.check(y, expected, f"{op} of {count} {dtype}")
        self.check(x, make(self.rank, count, dtype), f"{op} of {count} {dtype}, what was given")
        self.comm.all_reduce(x, op, out=x)
        self.check(x, expected, f"{op} of {count} {dtype}, in place")
        self.digest.update(y.tobytes())

    def noise(self, count: int) -> None:
        x = np.random.default_rng([self.rank, count]).standard_normal(count, np.float32)
        y = self.comm.all_reduce(x)
        expected = np.zeros(count)
        for rank in range(self.size):
            expected += np.random.default_rng([rank, count]).standard_normal(count, np.float32)
        if not np.allclose(y, expected, rtol=1e-5, atol=1e-5):
            raise ValueError(f"noise of {count}: not even nearly right")
        self.digest.update(y.tobytes())

    def large(self) -> None:
        first, second = base(LARGE)
        x = (first + self.rank * second).astype(np.float32)
        expected = (self.size * first + self.size * (self.size - 1) // 2 * second).astype(np.float32)
        self.comm.all_reduce(x, out=x)
        self.check(x, expected, f"sum of {LARGE} f4")
        x = np.random.default_rng(self.rank).random(LARGE, np.float32)
        self.comm.all_reduce(x, out=x)
        self.digest.update(x.tobytes())
        self.sendrecv(LARGE)
        self.broadcast(LARGE, self.size - 1)

    def broadcast(self, count: int, root: int) -> None:
        x = array_of(self.rank, count, "f4")
        if self.comm.broadcast(x, root) is not x:
            raise ValueError("not in place")
        self.check(x, array_of(root, count, "f4"), f"broadcast of {count} from {root}")

    def sendrecv(self, count: int) -> None:
        """To the right, from the left."""
        left = (self.rank - 1) % self.size
        out = np.full(count, -1, np.float32)
        status = self.comm.sendrecv(array_of(self.rank, count, "f4"), (self.rank + 1) % self.size, out, left, 3, 3)
        self.check(out, array_of(left, count, "f4"), f"{count} from {left}")
        if (status.src, status.tag, status.nbytes) != (left, 3, out.nbytes):
            raise ValueError(f"{status} for {out.nbytes} bytes from {left}")

    def barrier(self) -> None:
        """Nobody leaves before the last has come; all are on one host, with one clock."""
        came = time.monotonic_ns()
        self.comm.barrier()
        left = time.monotonic_ns()
        last = int(self.comm.all_reduce(np.array(came), "max"))
        if left < last:
            raise ValueError(f"left the barrier {last - left} ns before the last had come")

    def all_gather(self, mine: bytes) -> list[bytes]:
        """By messages alone."""
        ops = [self.comm.nb.send(mine, other, 9) for other in range(self.size)]
        gathered = []
        for other in range(self.size):
            out = bytearray(len(mine))
            self.comm.recv(out, other, 9)
            gathered.append(bytes(out))
        nx.wait_all(ops)
        return gathered


def run(comm: nx.Comm) -> str:
    """Twice, and again after silence; always the same bits."""
    member = Member(comm)
    first = member.round()
    if member.round() != first:
        raise ValueError("other bits the second time")
    time.sleep(SILENCE)
    if member.round() != first:
        raise ValueError("other bits after silence")
    return first


def once(comm: nx.Comm) -> str:
    digest = Member(comm).round()
    ways = comm.stats()["transports"]
    return " ".join([digest, *(f"{name}={way['bytes_sent']}" for name, way in sorted(ways.items()))])


def main() -> None:
    if sys.argv[1:] == ["once"]:
        with nx.init() as comm:
            print(f"rank {comm.rank} of {comm.size}: {once(comm)}")
    elif len(sys.argv) > 1:
        with nx.local_cluster(int(sys.argv[1])) as comms:
            for rank, digest in enumerate(comms.run(run)):
                print(f"rank {rank} of {len(comms)}: {digest}")
    else:
        with nx.init() as comm:
            print(f"rank {comm.rank} of {comm.size}: {run(comm)}")


if __name__ == "__main__":
    main()
