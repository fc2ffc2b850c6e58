"""What nexar bench can measure: which calls a case makes, and what their result must be.

Element i of rank r's vector is i modulo 1021, plus r, so that sums are exact and a block in the wrong place shows.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    import numpy as np

    from .faces import Call

    Array = np.ndarray[Any, Any]


class Case(ABC):
    """A collective on float32: a vector of `nbytes` in all, its blocks one after the other."""

    needs: str  # the face's function
    dtype = "float32"
    blocks = False
    share = 1.0  # of a call, that an operation takes
    ranks_least = 1
    pair = False  # of ranks 0 and 1

    def __init__(self, face: Any, nbytes: int) -> None:
        import numpy as np

        self.face = face
        self.zeros: Callable[[int, Any], Array] = getattr(face, "zeros", np.zeros)
        self.rank: int = face.rank
        self.size: int = face.size
        parts = self.size if self.blocks else 1
        block = max(1, nbytes // 4 // parts)
        self.nbytes = 4 * block * parts
        self.bus = self.carries(self.size)
        self.pattern: Array = np.arange(block * parts, dtype=np.int64) % 1021
        self.own = slice(self.rank * block, (self.rank + 1) * block) if self.blocks else slice(None)
        self.x: Array = self.zeros(block * parts, np.float32)
        self.y: Array = self.zeros(block * parts, np.float32)
        self.prepare(block)

    @staticmethod
    def carries(size: int) -> float:
        """Bytes that each rank's link carries, by bytes of the vector."""
        return (size - 1) / size

    def prepare(self, block: int) -> None:  # noqa: B027
        """What differs from x and y of the whole vector."""

    @abstractmethod
    def call(self, root: int) -> Call:
        """What is measured."""

    @abstractmethod
    def expected(self, root: int) -> Array | None:
        """What y is after a call; None if it is not looked at on this rank."""

    def finish(self) -> None:  # noqa: B027
        """After the last of a row of calls."""

    def fill(self) -> None:
        self.x[:] = self.pattern[: self.x.size] + self.rank
        self.y.fill(-1)

    def result(self) -> Array:
        return self.y

    def total(self, ranks: int) -> Array:
        return self.pattern * ranks + ranks * (ranks - 1) // 2

    def of_each(self) -> Array:
        """Block r is the beginning of rank r's x."""
        import numpy as np

        block = self.pattern.size // self.size
        return (self.pattern[:block] + np.arange(self.size)[:, None]).reshape(-1)

    def check(self) -> int:
        """Elements that one call with known values leaves wrong."""
        root = self.size - 1
        self.fill()
        self.call(root)()
        expected = self.expected(root)
        wrong = 0 if expected is None else int((self.result() != expected).sum())
        self.x.fill(0)  # sums of sums would not stay finite
        return wrong


class AllReduce(Case):
    needs = "all_reduce"

    @staticmethod
    def carries(size: int) -> float:
        return 2 * (size - 1) / size

    def call(self, root: int) -> Call:  # noqa: ARG002
        call: Call = self.face.all_reduce(self.x)
        return call

    def result(self) -> Array:
        return self.x

    def expected(self, root: int) -> Array | None:  # noqa: ARG002
        return self.total(self.size)


class Whole(Case):
    @staticmethod
    def carries(size: int) -> float:  # noqa: ARG004
        return 1.0


class Broadcast(Whole):
    needs = "broadcast"

    def call(self, root: int) -> Call:
        call: Call = self.face.broadcast(self.x, root)
        return call

    def result(self) -> Array:
        return self.x

    def expected(self, root: int) -> Array | None:
        return self.pattern + root


class Reduce(Whole):
    needs = "reduce"

    def call(self, root: int) -> Call:
        call: Call = self.face.reduce(self.x, self.y, root)
        return call

    def expected(self, root: int) -> Array | None:
        return self.total(self.size) if self.rank == root else None


class Scan(Whole):
    needs = "scan"

    def call(self, root: int) -> Call:  # noqa: ARG002
        call: Call = self.face.scan(self.x, self.y)
        return call

    def expected(self, root: int) -> Array | None:  # noqa: ARG002
        return self.total(self.rank + 1)


class ReduceScatter(Case):
    needs = "reduce_scatter"
    blocks = True

    def prepare(self, block: int) -> None:
        self.y = self.zeros(block, "float32")

    def call(self, root: int) -> Call:  # noqa: ARG002
        call: Call = self.face.reduce_scatter(self.x, self.y)
        return call

    def expected(self, root: int) -> Array | None:  # noqa: ARG002
        block: Array = self.total(self.size)[self.own]
        return block


class AllGather(Case):
    needs = "all_gather"
    blocks = True

    def prepare(self, block: int) -> None:
        self.x = self.zeros(block, "float32")

    def call(self, root: int) -> Call:  # noqa: ARG002
        call: Call = self.face.all_gather(self.x, self.y)
        return call

    def expected(self, root: int) -> Array | None:  # noqa: ARG002
        return self.of_each()


class Gather(AllGather):
    needs = "gather"

    def call(self, root: int) -> Call:
        call: Call = self.face.gather(self.x, self.y, root)
        return call

    def expected(self, root: int) -> Array | None:
        return self.of_each() if self.rank == root else None


class Scatter(ReduceScatter):
    needs = "scatter"

    def call(self, root: int) -> Call:
        call: Call = self.face.scatter(self.x, self.y, root)
        return call

    def expected(self, root: int) -> Array | None:
        block: Array = self.pattern[self.own] + root
        return block


class AllToAll(Case):
    needs = "all_to_all"
    blocks = True

    def call(self, root: int) -> Call:  # noqa: ARG002
        call: Call = self.face.all_to_all(self.x, self.y)
        return call

    def expected(self, root: int) -> Array | None:  # noqa: ARG002
        import numpy as np

        return (self.pattern[self.own] + np.arange(self.size)[:, None]).reshape(-1)


class Barrier(Whole):
    needs = "barrier"
    dtype = "none"

    def prepare(self, block: int) -> None:  # noqa: ARG002
        self.nbytes = 0

    def call(self, root: int) -> Call:  # noqa: ARG002
        call: Call = self.face.barrier
        return call

    def expected(self, root: int) -> None:
        """Nothing moves."""

    def check(self) -> int:
        """Nobody leaves before the last has come.  Clocks can be compared on one host alone."""
        came = time.monotonic_ns()
        self.face.barrier()
        left = time.monotonic_ns()
        times = self.face.tell([came / 1e3, left / 1e3])
        return int(self.face.one_host and times[self.rank, 1] < times[:, 0].max())


class Messages(Whole):
    """Of bytes, between ranks 0 and 1."""

    needs = "send"
    dtype = "uint8"
    ranks_least = 2
    pair = True

    def __init__(self, face: Any, nbytes: int) -> None:
        super().__init__(face, 0)
        import numpy as np

        self.nbytes = nbytes
        self.pattern = np.arange(nbytes, dtype=np.int64) % 241
        self.x = self.zeros(nbytes, np.uint8)
        self.y = self.zeros(nbytes, np.uint8)
        self.ack = np.zeros(8, np.uint8)
        if self.rank < 2:
            other = 1 - self.rank
            self.send: Call = face.send(self.x, other)
            self.recv: Call = face.recv(self.y, other)
            self.answer: Call = face.recv(self.ack, other) if self.rank == 0 else face.send(self.ack, other)

    def fill(self) -> None:
        self.x[:] = self.pattern + self.rank
        self.y.fill(255)

    def idle(self) -> None:
        pass


class PingPong(Messages):
    share = 0.5

    def call(self, root: int) -> Call:  # noqa: ARG002
        return (self.first, self.second, self.idle)[min(self.rank, 2)]

    def first(self) -> None:
        self.send()
        self.recv()

    def second(self) -> None:
        self.recv()
        self.send()

    def expected(self, root: int) -> Array | None:  # noqa: ARG002
        return self.pattern + 1 - self.rank if self.rank < 2 else None


class Stream(Messages):
    def call(self, root: int) -> Call:  # noqa: ARG002
        return self.idle if self.rank > 1 else self.send if self.rank == 0 else self.recv

    def finish(self) -> None:
        """It is over when the receiver says so."""
        if self.rank < 2:
            self.answer()

    def expected(self, root: int) -> Array | None:  # noqa: ARG002
        return self.pattern if self.rank == 1 else None


CASES: dict[str, tuple[type[Case], str]] = {
    "all_reduce": (AllReduce, "every rank gets the sum of all ranks' arrays, in place"),
    "broadcast": (Broadcast, "one rank's array to every rank"),
    "reduce": (Reduce, "one rank gets the sum of all ranks' arrays"),
    "all_gather": (AllGather, "every rank gets every rank's block"),
    "reduce_scatter": (ReduceScatter, "rank r gets block r of the sum"),
    "all_to_all": (AllToAll, "block i goes to rank i"),
    "gather": (Gather, "one rank gets every rank's block"),
    "scatter": (Scatter, "rank r gets block r of one rank's array"),
    "scan": (Scan, "rank r gets the sum of the arrays of ranks 0 to r"),
    "barrier": (Barrier, "every rank waits for every other"),
    "p2p": (PingPong, "a message from rank 0 to rank 1 and back; times are one way, half of the round trip"),
    "stream": (Stream, "messages from rank 0 to rank 1 without a pause; times are of one message"),
}
