"""Collectives: every rank of the communicator makes the same call, in the same order.

Here are those whose result is like their argument; those that move blocks are in blocks.py.
"""

from __future__ import annotations

from ._ffi import _api, lib
from ._ffi.buffer import NO_CODE, known, like, reduce_op, same, source, target
from ._ffi.call import index, usage
from .blocks import Blocks, BlocksNb
from .hot import run
from .op import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from ._ffi.buffer import View
    from .comm import Comm
    from .compression import Compression
    from .hot import Cache

    T = TypeVar("T")


class CollectivesNb(BlocksNb):
    """The non-blocking face: the same arguments, and an Op as the result."""

    _comm: Comm

    def all_reduce(
        self,
        x: Any,
        op: Any = "sum",
        out: Any = None,
        compression: Compression | None = None,
        *,
        timeout: float | None = None,
    ) -> Op:
        """See Comm.all_reduce.  `x` must not change before the op is done."""
        if compression is None:
            return self._reduced("all_reduce", lib.nexar_all_reduce, x, op, out, timeout)
        return self._compressed(x, op, out, compression, timeout)

    def all_reduce_bucketed(self, arrays: Any, op: Any = "sum", *, timeout: float | None = None) -> Op:
        """See Comm.all_reduce_bucketed.  The arrays must not change before the op is done."""
        call = "all_reduce_bucketed"
        reduction = reduce_op(op, call)
        if not isinstance(arrays, (list, tuple)):
            usage(f"arrays is {type(arrays).__name__}; it must be a list of arrays", call)
        views = [target(x, f"arrays[{i}]", call) for i, x in enumerate(arrays)]
        vectors = [
            _api.nexar_vector(view.address, view.count, known(view, f"arrays[{i}]", call), 0)
            for i, view in enumerate(views)
        ]
        keep = [view.keep for view in views]
        arguments = ((_api.nexar_vector * len(vectors))(*vectors), len(vectors), reduction)
        return self._comm.start(call, lib.nexar_all_reduce_bucketed, arguments, timeout, keep, arrays)

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

    def _compressed(self, x: Any, op: Any, out: Any, compression: Compression, timeout: float | None) -> Op:
        from .compression import Compression

        call = "all_reduce"
        if not isinstance(compression, Compression):
            usage(
                f"compression is {compression!r}; it must be nexar.BFloat16(), Float8(), Int8(), TopK(ratio), "
                "RandomK(ratio) or None",
                call,
            )
        reduction = reduce_op(op, call)
        send, recv, out = self._vectors(call, x, out)
        how, lent = compression.begin(send, call)
        arguments = (send.address, recv.address, send.count, known(send, "x", call), reduction, how)
        keep = (send.keep, recv.keep, lent)
        try:
            started = self._comm.start(call, lib.nexar_all_reduce_compressed, arguments, timeout, keep, out)
        except BaseException:
            compression.refused()
            raise
        compression.started()
        return started

    @staticmethod
    def _vectors(call: str, x: Any, out: Any) -> tuple[View, View, Any]:
        """An array, and where a result of its shape goes."""
        send = source(x, "x", call)
        known(send, "x", call)
        if out is None:
            out = like(x, send, call)
            return send, target(out, "out", call), out
        recv = target(out, "out", call)
        same(send, recv, "x", "out", call)
        return send, recv, out

    def _reduced(self, call: str, function: Any, x: Any, op: Any, out: Any, timeout: float | None, *more: int) -> Op:
        reduction = reduce_op(op, call)
        send, recv, out = self._vectors(call, x, out)
        arguments = (send.address, recv.address, send.count, send.code, reduction, *more)
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
    cache: Cache
    prepare_all_reduce: Callable[..., Any]
    prepare_barrier: Callable[..., Any]

    def all_reduce(
        self,
        x: Any,
        op: Any = "sum",
        out: Any = None,
        compression: Compression | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Reduces the arrays of all ranks, element by element, and returns the result on every rank.

        Args:
            x: an array of the same shape and dtype on every rank
            op: "sum", "prod", "min", "max", "avg", "band", "bor", "bxor", or numpy's ufunc for it
            out: where the result goes; `out=x` for in place; None: a new array like x
            compression: nexar.BFloat16(), Float8(), Int8(), TopK() or RandomK(), equal on all ranks, for the sum or
                average of float32 in fewer bytes
            timeout: seconds; None: the communicator's default

        Raises:
            UsageError: a wrong argument, or a dtype that this op does not have; nothing was sent.
            Mismatch: ranks called different things, or with different arguments; the communicator takes no further
                collectives.
            Timeout, PeerLost, Closed, Cancelled: it was not finished; what `out` holds is undefined.
        """
        hot = self.cache.all_reduce
        if hot.a == id(x) and hot.b == id(out) and hot.c is op and timeout is None and compression is None:
            try:
                status = run(hot.ref)
            except BaseException:
                hot.leave((x, out))
                raise
            if not status or hot.ended(status, (x, out)):
                return out
        elif type(op) is str and out is not None and timeout is None and compression is None:
            found = self.cache.find("all_reduce", id(x), id(out), op)
            if found is not None and found.again((x, out)):
                return out
        else:
            return self.nb.all_reduce(x, op, out, compression, timeout=timeout).complete()
        result = self.nb.all_reduce(x, op, out).complete()
        self.cache.note("all_reduce", (id(x), id(out), op), (x, out), self.prepare_all_reduce, x, op, out)
        return result

    def all_reduce_bucketed(self, arrays: Any, op: Any = "sum", *, timeout: float | None = None) -> Any:
        """Reduces a list of arrays in place, as all_reduce() does each of them, in one operation, and returns the list.

        The arrays of each dtype are joined and cut into buckets of 4 MiB; some buckets travel while others are filled
        and emptied.  So many small arrays cost little more than one large one.

        Args:
            arrays: a list of arrays, of the same shapes and dtypes in the same order on every rank; dtypes may be
                mixed, arrays may be empty; none may overlap another
            op: as for all_reduce(), one that all dtypes have
            timeout: seconds; None: the communicator's default

        Raises:
            UsageError: a wrong argument; nothing was sent.
            NexarError: as all_reduce(); what the arrays hold is undefined.
        """
        return self.nb.all_reduce_bucketed(arrays, op, timeout=timeout).complete()

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
        if timeout is not None:
            self.nb.barrier(timeout=timeout).complete()
            return
        hot = self.cache.found.get(("barrier",))
        if hot is None or not hot.again(None):
            self.nb.barrier().complete()
            self.cache.note("barrier", (), (), self.prepare_barrier)
