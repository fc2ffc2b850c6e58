"""What a library offers to be measured from Python: the same work, by the same method, for ours and for its peers.

Each method gives a call without arguments, bound to its arrays once, so that little but the library is timed.  A face
that has `zeros` makes the arrays, too.
"""

from __future__ import annotations

import os
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable

    import numpy as np

    from pynexar.comm import Comm

    Array = np.ndarray[Any, Any]
    Call = Callable[[], object]


class Nexar:
    """By the public functions on plain arrays; blocks are rows."""

    name = "nexar"

    def __init__(self, comm: Comm) -> None:
        self.comm = comm
        self.rank = comm.rank
        self.size = comm.size
        self.one_host = os.environ.get("NEXAR_LOCAL_SIZE") == str(comm.size)
        self.barrier = comm.barrier
        self._before = self._sent()

    @classmethod
    def join(cls) -> Nexar:
        from pynexar.node import init

        return cls(init())

    def close(self) -> None:
        self.comm.close()

    def _sent(self) -> dict[str, int]:
        return {name: way["messages_sent"] for name, way in self.comm.stats()["transports"].items()}

    def transport(self) -> str:
        """Those that have carried messages since the last time."""
        before, self._before = self._before, self._sent()
        return "+".join(name for name, sent in self._before.items() if sent != before.get(name, 0)) or "none"

    def tell(self, numbers: Sequence[float]) -> Array:
        """Every rank's numbers: one row each."""
        import numpy as np

        rows: Array = self.comm.all_gather(np.array(numbers, np.float64))
        return rows

    def _rows(self, x: Array) -> Array:
        return x.reshape(self.size, -1)

    def all_reduce(self, x: Array) -> Call:
        return partial(self.comm.all_reduce, x, "sum", x)

    def broadcast(self, x: Array, root: int) -> Call:
        return partial(self.comm.broadcast, x, root)

    def reduce(self, x: Array, y: Array, root: int) -> Call:
        return partial(self.comm.reduce, x, root=root, out=y if self.rank == root else None)

    def all_gather(self, x: Array, y: Array) -> Call:
        return partial(self.comm.all_gather, x, self._rows(y))

    def reduce_scatter(self, x: Array, y: Array) -> Call:
        return partial(self.comm.reduce_scatter, self._rows(x), out=y)

    def all_to_all(self, x: Array, y: Array) -> Call:
        return partial(self.comm.all_to_all, self._rows(x), self._rows(y))

    def gather(self, x: Array, y: Array, root: int) -> Call:
        return partial(self.comm.gather, x, root, self._rows(y) if self.rank == root else None)

    def scatter(self, x: Array, y: Array, root: int) -> Call:
        rows = self._rows(x) if self.rank == root else None
        return lambda: self.comm.nb.scatter(rows, root, y).wait()  # comm.scatter broadcasts a header first

    def scan(self, x: Array, y: Array) -> Call:
        return partial(self.comm.scan, x, out=y)

    def send(self, x: Array, to: int) -> Call:
        return partial(self.comm.send, x, to)

    def recv(self, x: Array, source: int) -> Call:
        return partial(self.comm.recv, x, source)


class NexarAlloc(Nexar):
    """The same on arrays of comm.alloc."""

    name = "nexar-alloc"

    def zeros(self, count: int, dtype: Any) -> Array:
        array: Array = self.comm.alloc(count, dtype)
        return array


class Mpi:
    """mpi4py's calls on buffers, with the MPI that it finds."""

    name = "mpi"
    one_host = True

    def __init__(self) -> None:
        from mpi4py import MPI  # type: ignore[import-not-found,unused-ignore]

        self.mpi: Any = MPI
        self.comm = MPI.COMM_WORLD
        self.rank: int = self.comm.rank
        self.size: int = self.comm.size
        self.barrier = self.comm.Barrier

    @classmethod
    def join(cls) -> Mpi:
        return cls()

    def close(self) -> None:
        self.mpi.Finalize()

    def transport(self) -> str:
        version: str = self.mpi.Get_library_version()
        return "mpich" if "MPICH" in version else "openmpi" if "Open MPI" in version else "mpi"

    def tell(self, numbers: Sequence[float]) -> Array:
        import numpy as np

        return np.array(self.comm.allgather(list(numbers)))

    def _whole(self, x: Array) -> list[Any]:
        return [x, x.size, self.mpi.FLOAT if x.dtype == "float32" else self.mpi.BYTE]

    def _blocks(self, x: Array) -> list[Any]:
        return [x, x.size // self.size, self.mpi.FLOAT]  # mpi4py counts one block

    def all_reduce(self, x: Array) -> Call:
        return partial(self.comm.Allreduce, self.mpi.IN_PLACE, self._whole(x))

    def broadcast(self, x: Array, root: int) -> Call:
        return partial(self.comm.Bcast, self._whole(x), root)

    def reduce(self, x: Array, y: Array, root: int) -> Call:
        return partial(self.comm.Reduce, self._whole(x), self._whole(y), self.mpi.SUM, root)

    def all_gather(self, x: Array, y: Array) -> Call:
        return partial(self.comm.Allgather, self._whole(x), self._blocks(y))

    def reduce_scatter(self, x: Array, y: Array) -> Call:
        return partial(self.comm.Reduce_scatter_block, self._blocks(x), self._whole(y))

    def all_to_all(self, x: Array, y: Array) -> Call:
        return partial(self.comm.Alltoall, self._blocks(x), self._blocks(y))

    def gather(self, x: Array, y: Array, root: int) -> Call:
        return partial(self.comm.Gather, self._whole(x), self._blocks(y) if self.rank == root else None, root)

    def scatter(self, x: Array, y: Array, root: int) -> Call:
        return partial(self.comm.Scatter, self._blocks(x) if self.rank == root else None, self._whole(y), root)

    def scan(self, x: Array, y: Array) -> Call:
        return partial(self.comm.Scan, self._whole(x), self._whole(y))

    def send(self, x: Array, to: int) -> Call:
        return partial(self.comm.Send, self._whole(x), to)

    def recv(self, x: Array, source: int) -> Call:
        return partial(self.comm.Recv, self._whole(x), source)


class Gloo:
    """torch.distributed with the backend gloo; RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say who is who."""

    name = "gloo"
    one_host = True
    barrier: Call

    def __init__(self) -> None:
        import torch  # type: ignore[import-not-found,unused-ignore]
        import torch.distributed as dist  # type: ignore[import-not-found,unused-ignore]

        torch.set_num_threads(1)
        dist.init_process_group("gloo")
        self.torch: Any = torch
        self.dist: Any = dist
        self.rank: int = dist.get_rank()
        self.size: int = dist.get_world_size()
        self.barrier = dist.barrier

    @classmethod
    def join(cls) -> Gloo:
        return cls()

    def close(self) -> None:
        self.dist.destroy_process_group()

    def transport(self) -> str:
        return "gloo"

    def tell(self, numbers: Sequence[float]) -> Array:
        rows = self.torch.zeros(self.size, len(numbers), dtype=self.torch.float64)
        self.dist.all_gather(list(rows.unbind()), self.torch.tensor(numbers, dtype=self.torch.float64))
        result: Array = rows.numpy()
        return result

    def _blocks(self, x: Array) -> list[Any]:
        return list(self.torch.from_numpy(x).reshape(self.size, -1).unbind())

    def all_reduce(self, x: Array) -> Call:
        return partial(self.dist.all_reduce, self.torch.from_numpy(x))

    def broadcast(self, x: Array, root: int) -> Call:
        return partial(self.dist.broadcast, self.torch.from_numpy(x), root)

    def reduce(self, x: Array, y: Array, root: int) -> Call:
        """It works in place, so the sum goes where x is copied to first."""
        given, got = self.torch.from_numpy(x), self.torch.from_numpy(y)

        def call() -> None:
            got.copy_(given)
            self.dist.reduce(got, root)

        return call

    def all_gather(self, x: Array, y: Array) -> Call:
        return partial(self.dist.all_gather_into_tensor, self.torch.from_numpy(y), self.torch.from_numpy(x))

    def reduce_scatter(self, x: Array, y: Array) -> Call:
        return partial(self.dist.reduce_scatter_tensor, self.torch.from_numpy(y), self.torch.from_numpy(x))

    def all_to_all(self, x: Array, y: Array) -> Call:
        return partial(self.dist.all_to_all_single, self.torch.from_numpy(y), self.torch.from_numpy(x))

    def gather(self, x: Array, y: Array, root: int) -> Call:
        rows = self._blocks(y) if self.rank == root else None
        return partial(self.dist.gather, self.torch.from_numpy(x), rows, root)

    def scatter(self, x: Array, y: Array, root: int) -> Call:
        rows = self._blocks(x) if self.rank == root else None
        return partial(self.dist.scatter, self.torch.from_numpy(y), rows, root)

    def send(self, x: Array, to: int) -> Call:
        return partial(self.dist.send, self.torch.from_numpy(x), to)

    def recv(self, x: Array, source: int) -> Call:
        return partial(self.dist.recv, self.torch.from_numpy(x), source)


FACES: dict[str, Any] = {face.name: face for face in (Nexar, NexarAlloc, Mpi, Gloo)}
