"""What nexar bench can measure: how a round goes, and what its result must be.

Element i of rank r's array is i modulo 1021, plus r, so that sums are exact and a block in the wrong place shows.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from pynexar.comm import Comm

    Array = np.ndarray[Any, Any]


class Collective:
    """A collective on float32: a vector of `nbytes` in all, its blocks one after the other."""

    dtype = "float32"
    together = True  # all ranks begin a round at the same time
    share = 1.0  # of a round, that an operation takes

    def __init__(self, comm: Comm, nbytes: int) -> None:
        import numpy as np

        self.comm = comm
        count = max(1, nbytes // 4)
        if self.blocks:
            count = max(1, count // comm.size) * comm.size
        self.nbytes = 4 * count
        self.bus = self.carries(comm.size)
        self.pattern: Array = np.arange(count, dtype=np.int64) % 1021
        if self.blocks:
            self.pattern = self.pattern.reshape(comm.size, -1)
        self.x = (self.pattern + comm.rank).astype(np.float32)
        self.y: Array = np.empty_like(self.x)
        self.prepare()

    blocks = False

    @staticmethod
    def carries(size: int) -> float:
        """Bytes that each rank's link carries, by bytes of the vector."""
        return (size - 1) / size

    def prepare(self) -> None:
        """What differs from x and y of the whole vector."""

    def go(self) -> None:
        raise NotImplementedError

    def expected(self) -> Array | None:
        """What y is after a round; None if it is not looked at on this rank."""
        raise NotImplementedError

    def total(self, ranks: int) -> Array:
        return self.pattern * ranks + ranks * (ranks - 1) // 2

    def check(self) -> int:
        """Elements that are wrong."""
        expected = self.expected()
        self.y.fill(-1)
        self.go()
        return 0 if expected is None else int((self.y != expected).sum())


class AllReduce(Collective):
    @staticmethod
    def carries(size: int) -> float:
        return 2 * (size - 1) / size

    def go(self) -> None:
        self.comm.all_reduce(self.x, out=self.y)

    def expected(self) -> Array | None:
        return self.total(self.comm.size)


class Reduce(Collective):
    @staticmethod
    def carries(size: int) -> float:  # noqa: ARG004
        return 1.0

    def go(self) -> None:
        self.comm.reduce(self.x, out=self.y if self.comm.rank == 0 else None)

    def expected(self) -> Array | None:
        return self.total(self.comm.size) if self.comm.rank == 0 else None


class Scan(Collective):
    @staticmethod
    def carries(size: int) -> float:  # noqa: ARG004
        return 1.0

    def go(self) -> None:
        self.comm.scan(self.x, out=self.y)

    def expected(self) -> Array | None:
        return self.total(self.comm.rank + 1)


class Broadcast(Collective):
    @staticmethod
    def carries(size: int) -> float:  # noqa: ARG004
        return 1.0

    def go(self) -> None:
        self.comm.broadcast(self.x)

    def expected(self) -> Array | None:
        return self.pattern

    def check(self) -> int:
        self.x[:] = self.pattern if self.comm.rank == 0 else -1
        self.go()
        return int((self.x != self.pattern).sum())


class ReduceScatter(Collective):
    blocks = True

    def prepare(self) -> None:
        self.y = self.y[0].copy()

    def go(self) -> None:
        self.comm.reduce_scatter(self.x, out=self.y)

    def expected(self) -> Array | None:
        block: Array = self.total(self.comm.size)[self.comm.rank]
        return block


class AllGather(Collective):
    blocks = True

    def prepare(self) -> None:
        self.x = self.x[self.comm.rank].copy()

    def go(self) -> None:
        self.comm.all_gather(self.x, self.y)

    def expected(self) -> Array | None:
        import numpy as np

        result: Array = self.pattern + np.arange(self.comm.size)[:, None]
        return result


class Gather(AllGather):
    def go(self) -> None:
        self.comm.gather(self.x, 0, self.y if self.comm.rank == 0 else None)

    def expected(self) -> Array | None:
        return super().expected() if self.comm.rank == 0 else None


class Scatter(Collective):
    blocks = True

    def prepare(self) -> None:
        self.y = self.y[0].copy()

    def go(self) -> None:
        self.comm.nb.scatter(self.x if self.comm.rank == 0 else None, 0, self.y).wait()

    def expected(self) -> Array | None:
        block: Array = self.pattern[self.comm.rank]
        return block


class AllToAll(Collective):
    blocks = True

    def go(self) -> None:
        self.comm.all_to_all(self.x, self.y)

    def expected(self) -> Array | None:
        import numpy as np

        result: Array = self.pattern[self.comm.rank] + np.arange(self.comm.size)[:, None]
        return result


class Barrier:
    dtype = "none"
    together = False
    share = 1.0
    bus = 1.0
    nbytes = 0

    def __init__(self, comm: Comm, nbytes: int) -> None:  # noqa: ARG002
        self.comm = comm

    def go(self) -> None:
        self.comm.barrier()

    def check(self) -> int:
        """Nobody leaves before the last has come.  Clocks can be compared on one host alone."""
        import numpy as np

        if os.environ.get("NEXAR_LOCAL_SIZE") != str(self.comm.size):
            return 0
        came = time.monotonic_ns()
        self.go()
        left = time.monotonic_ns()
        last = int(self.comm.all_reduce(np.array(came, np.int64), "max"))
        return int(left < last)


class PingPong:
    dtype = "uint8"
    together = False
    share = 0.5
    bus = 1.0

    def __init__(self, comm: Comm, nbytes: int) -> None:
        import numpy as np

        self.comm = comm
        self.nbytes = nbytes
        self.x = np.zeros(nbytes, np.uint8)
        self.y = np.zeros(nbytes, np.uint8)

    def go(self) -> None:
        if self.comm.rank == 0:
            self.comm.send(self.x, 1)
            self.comm.recv(self.y, 1)
        elif self.comm.rank == 1:
            self.comm.recv(self.y, 0)
            self.comm.send(self.y, 0)

    def check(self) -> int:
        import numpy as np

        pattern = (np.arange(self.nbytes) % 251).astype(np.uint8)
        self.x[:] = pattern
        self.y.fill(255)
        self.go()
        return int((self.y != pattern).sum()) if self.comm.rank < 2 else 0


CASES: dict[str, tuple[Any, str]] = {
    "all_reduce": (AllReduce, "every rank gets the sum of all ranks' arrays"),
    "broadcast": (Broadcast, "rank 0's array to every rank"),
    "reduce": (Reduce, "rank 0 gets the sum of all ranks' arrays"),
    "all_gather": (AllGather, "every rank gets every rank's block"),
    "reduce_scatter": (ReduceScatter, "rank r gets block r of the sum"),
    "all_to_all": (AllToAll, "block i goes to rank i"),
    "gather": (Gather, "rank 0 gets every rank's block"),
    "scatter": (Scatter, "rank r gets block r of rank 0's array"),
    "scan": (Scan, "rank r gets the sum of the arrays of ranks 0 to r"),
    "barrier": (Barrier, "every rank waits for every other"),
    "p2p": (PingPong, "a message from rank 0 to rank 1 and back; times are one way"),
}
