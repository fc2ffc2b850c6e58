"""Collectives: every rank of the communicator makes the same call, in the same order.

Here are those whose result is like their argument; those that move blocks are in blocks.py.
"""

from __future__ import annotations

from ._ffi import _api, lib
from ._ffi.buffer import NO_CODE, known, like, reduce_op, same, source, target
from ._ffi.call import index
from .blocks import Blocks, BlocksNb
from .op import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from .comm import Comm

    T = TypeVar("T")


class CollectivesNb(BlocksNb):
    """The non-blocking face: the same arguments, and an Op as the result."""

    _comm: Comm

    def all_reduce(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Op:
        """See Comm.all_reduce.  `x` must not change before the op is done."""
        return self._reduced("all_reduce", lib.nexar_all_reduce, x, op, out, timeout)

    def reduce(self, x: Any, op: Any = "sum", root: int = 0, out: Any = None, *, timeout: float | None = None) -> Op:
        """See Comm.reduce.  `x` must not change before the op is done."""
        call = "reduce"
        root = index(root, "root", call, self._comm.size)
        if self._comm.rank == root:
            return self._reduced(call, lib.nexar_reduce, x, op, out, timeout, root)
        reduction = reduce_op(op, call)
        send = source(x, "x", call)
        arguments = (send.address, None, send.count, known(send, "x", call), reduction, root)
        return self._comm.start(call, lib.nexar_reduce, arguments, timeout, send.keep)

    def scan(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Op:
        """See Comm.scan.  `x` must not change before the op is done."""
        return self._reduced("scan", lib.nexar_scan, x, op, out, timeout)

    def exclusive_scan(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Op:
        """See Comm.exclusive_scan.  `x` must not change before the op is done."""
        return self._reduced("exclusive_scan", lib.nexar_exclusive_scan, x, op, out, timeout)

    def _reduced(self, call: str, function: Any, x: Any, op: Any, out: Any, timeout: float | None, *more: int) -> Op:
        reduction = reduce_op(op, call)
        send = source(x, "x", call)
        dtype = known(send, "x", call)
        if out is None:
            out = like(x, send, call)
            recv = target(out, "out", call)
        else:
            recv = target(out, "out", call)
            same(send, recv, "x", "out", call)
        arguments = (send.address, recv.address, send.count, dtype, reduction, *more)
        return self._comm.start(call, function, arguments, timeout, (send.keep, recv.keep), out)

    def broadcast(self, x: Any, root: int = 0, *, timeout: float | None = None) -> Op:
        """See Comm.broadcast."""
        call = "broadcast"
        root = index(root, "root", call, self._comm.size)
        view = source(x, "x", call) if self._comm.rank == root else target(x, "x", call)
        code, count = (view.code, view.count) if view.code != NO_CODE else (_api.NEXAR_UINT8, view.nbytes)
        return self._comm.start(call, lib.nexar_broadcast, (view.address, count, code, root), timeout, view.keep, x)

    def barrier(self, *, timeout: float | None = None) -> Op:
        """See Comm.barrier."""
        return self._comm.start("barrier", lib.nexar_barrier, (), timeout, None)


class Collectives(Blocks):
    """The blocking face."""

    nb: Any

    def all_reduce(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Any:
        """Reduces the arrays of all ranks, element by element, and returns the result on every rank.

        Args:
            x: an array of the same shape and dtype on every rank
            op: "sum", "prod", "min", "max", "avg", "band", "bor", "bxor", or numpy's ufunc for it
            out: where the result goes; `out=x` for in place; None: a new array like x
            timeout: seconds; None: the communicator's default

        Raises:
            UsageError: a wrong argument, or a dtype that this op does not have; nothing was sent.
            Mismatch: ranks called different things, or with different arguments; the communicator takes no further
                collectives.
            Timeout, PeerLost, Closed, Cancelled: it was not finished; what `out` holds is undefined.
        """
        return self.nb.all_reduce(x, op, out, timeout=timeout).complete()

    def reduce(self, x: Any, op: Any = "sum", root: int = 0, out: Any = None, *, timeout: float | None = None) -> Any:
        """Reduces the arrays of all ranks as all_reduce() does, and returns the result on rank `root`, None elsewhere.

        `out` is looked at on the root alone.

        Raises:
            NexarError: as all_reduce(); a mismatch may show on the others only with their next collective.
        """
        return self.nb.reduce(x, op, root, out, timeout=timeout).complete()

    def scan(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Any:
        """Returns the reduction of the arrays of ranks 0 to this one.  There is no "avg".

        Raises:
            NexarError: as all_reduce().
        """
        return self.nb.scan(x, op, out, timeout=timeout).complete()

    def exclusive_scan(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Any:
        """Returns the reduction of the arrays of ranks 0 to the one before this one.

        Rank 0 gets what changes nothing: 0 for "sum", 1 for "prod", the greatest value for "min" (+inf of floats) ...

        Raises:
            NexarError: as all_reduce().
        """
        return self.nb.exclusive_scan(x, op, out, timeout=timeout).complete()

    def broadcast(self, x: T, root: int = 0, *, timeout: float | None = None) -> T:
        """Copies the elements of rank `root`'s array into every other rank's, and returns x.

        Raises:
            NexarError: as all_reduce(); a mismatch may show on the root only with its next collective.
        """
        result: T = self.nb.broadcast(x, root, timeout=timeout).complete()
        return result

    def barrier(self, *, timeout: float | None = None) -> None:
        """Returns when every rank has called it.

        Raises:
            NexarError: as all_reduce().
        """
        self.nb.barrier(timeout=timeout).complete()
