"""Collectives that move blocks: gathers, scatters, reduce_scatter, all_to_all.

Without counts all blocks have the same shape, and an array of blocks has one more axis in front, as long as there are
ranks.  With counts, axis 0 of one array is cut into rows, so many for each rank.
"""

from __future__ import annotations

import math
import time
from ctypes import c_size_t

from ._ffi import _api, lib
from ._ffi.buffer import NO_CODE, View, fits, known, like, name_of, named, reduce_op, source, target
from ._ffi.call import index, usage
from .op import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional

    from .comm import Comm

    Counts = Optional[Sequence[int]]
    Shape = tuple[int, ...]

_HEADER = 64 + 8 * 65  # of a scatter: name of the dtype, number of axes, at most 64 of them


def _rows(counts: Sequence[int], name: str, call: str, size: int) -> list[int]:
    try:
        rows = [index(count, f"{name}[{i}]", call, 1 << 62) for i, count in enumerate(counts)]
    except TypeError:
        usage(f"{name} is {counts!r}; it must be a list of {size} numbers of rows", call)
    if len(rows) != size:
        usage(f"{name} has {len(rows)} numbers; there are {size} ranks", call)
    return rows


def _check_rows(view: View, rows: int, name: str, counts: str, call: str) -> None:
    if not view.shape or view.shape[0] != rows:
        usage(f"{name} has shape {view.shape}; {counts} says {rows} rows", call)


def _check_blocks(view: View, name: str, size: int, call: str) -> None:
    if not view.shape or view.shape[0] != size:
        usage(f"{name} has shape {view.shape}; its first axis must be {size}, a block for each rank", call)


def _unit(view: View) -> tuple[int, int]:
    """nexar_dtype, and how many of its elements one of the array is: types that C does not know go as bytes."""
    if view.code != NO_CODE:
        return view.code, 1
    return _api.NEXAR_UINT8, view.nbytes // view.count if view.count else 1


def _elements(rows: list[int], shape: Shape, unit: int) -> Any:
    width = math.prod(shape[1:]) * unit
    return (c_size_t * len(rows))(*(count * width for count in rows))


def _result(x: Any, view: View, out: Any, shape: Shape, call: str) -> tuple[Any, View]:
    """Where a result of this shape goes: `out`, checked, or a new array like x."""
    if out is None:
        out = like(x, view, call, shape)
        return out, target(out, "out", call)
    recv = target(out, "out", call)
    fits(recv, shape, view, "out", call)
    return out, recv


class BlocksNb:
    """The non-blocking face: the same arguments, and an Op as the result."""

    _comm: Comm

    def all_gather(self, x: Any, out: Any = None, counts: Counts = None, *, timeout: float | None = None) -> Op:
        """See Comm.all_gather.  `x` must not change before the op is done."""
        call, size = "all_gather", self._comm.size
        send = source(x, "x", call)
        code, unit = _unit(send)
        if counts is None:
            out, recv = _result(x, send, out, (size, *send.shape), call)
            arguments: tuple[Any, ...] = (send.address, recv.address, send.count * unit, code)
            return self._comm.start(call, lib.nexar_all_gather, arguments, timeout, (send.keep, recv.keep), out)
        rows = _rows(counts, "counts", call, size)
        _check_rows(send, rows[self._comm.rank], "x", f"counts[{self._comm.rank}]", call)
        out, recv = _result(x, send, out, (sum(rows), *send.shape[1:]), call)
        elements = _elements(rows, send.shape, unit)
        arguments = (send.address, send.count * unit, recv.address, elements, None, code)
        return self._comm.start(call, lib.nexar_all_gather_v, arguments, timeout, (send.keep, recv.keep), out)

    def gather(
        self, x: Any, root: int = 0, out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Op:
        """See Comm.gather.  `x` must not change before the op is done."""
        call, size, rank = "gather", self._comm.size, self._comm.rank
        root = index(root, "root", call, size)
        send = source(x, "x", call)
        code, unit = _unit(send)
        rows = None if counts is None else _rows(counts, "counts", call, size)
        if rows is not None:
            _check_rows(send, rows[rank], "x", f"counts[{rank}]", call)
        keep, address, value = send.keep, None, None
        if rank == root:
            shape = (size, *send.shape) if rows is None else (sum(rows), *send.shape[1:])
            value, recv = _result(x, send, out, shape, call)
            keep, address = (send.keep, recv.keep), recv.address
        if rows is None:
            arguments: tuple[Any, ...] = (send.address, address, send.count * unit, code, root)
            return self._comm.start(call, lib.nexar_gather, arguments, timeout, keep, value)
        elements = _elements(rows, send.shape, unit)
        arguments = (send.address, send.count * unit, address, elements, None, code, root)
        return self._comm.start(call, lib.nexar_gather_v, arguments, timeout, keep, value)

    def scatter(
        self, x: Any, root: int = 0, out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Op:
        """See Comm.scatter.  On ranks other than the root `out` is required: there is nothing yet to learn its shape
        from.  `x` must not change before the op is done.
        """
        call = "scatter"
        root = index(root, "root", call, self._comm.size)
        rows = None if counts is None else _rows(counts, "counts", call, self._comm.size)
        if self._comm.rank != root:
            if out is None:
                usage("out is None; a rank that is not the root must give it to comm.nb.scatter", call)
            recv = target(out, "out", call)
            if rows is not None:
                _check_rows(recv, rows[self._comm.rank], "out", f"counts[{self._comm.rank}]", call)
            return self._scatter(None, None, recv, rows, root, out, timeout)
        send = source(x, "x", call)
        if rows is None:
            _check_blocks(send, "x", self._comm.size, call)
        else:
            _check_rows(send, sum(rows), "x", "the sum of counts", call)
        shape = send.shape[1:] if rows is None else (rows[root], *send.shape[1:])
        out, recv = _result(x, send, out, shape, call)
        return self._scatter(send.address, send.keep, recv, rows, root, out, timeout)

    def _scatter(
        self, address: int | None, keep: Any, recv: View, rows: list[int] | None, root: int, out: Any, timeout: Any
    ) -> Op:
        code, unit = _unit(recv)
        count = recv.count * unit
        keep = (keep, recv.keep)
        if rows is None:
            arguments: tuple[Any, ...] = (address, recv.address, count, code, root)
            return self._comm.start("scatter", lib.nexar_scatter, arguments, timeout, keep, out)
        elements = _elements(rows, recv.shape, unit)
        arguments = (address, elements, None, recv.address, count, code, root)
        return self._comm.start("scatter", lib.nexar_scatter_v, arguments, timeout, keep, out)

    def reduce_scatter(
        self, x: Any, op: Any = "sum", out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Op:
        """See Comm.reduce_scatter.  `x` must not change before the op is done."""
        call, size = "reduce_scatter", self._comm.size
        reduction = reduce_op(op, call)
        send = source(x, "x", call)
        code = known(send, "x", call)
        if counts is None:
            _check_blocks(send, "x", size, call)
            out, recv = _result(x, send, out, send.shape[1:], call)
            arguments: tuple[Any, ...] = (send.address, recv.address, recv.count, code, reduction)
            return self._comm.start(call, lib.nexar_reduce_scatter, arguments, timeout, (send.keep, recv.keep), out)
        rows = _rows(counts, "counts", call, size)
        _check_rows(send, sum(rows), "x", "the sum of counts", call)
        out, recv = _result(x, send, out, (rows[self._comm.rank], *send.shape[1:]), call)
        arguments = (send.address, recv.address, _elements(rows, send.shape, 1), code, reduction)
        return self._comm.start(call, lib.nexar_reduce_scatter_v, arguments, timeout, (send.keep, recv.keep), out)

    def all_to_all(
        self,
        x: Any,
        out: Any = None,
        send_counts: Counts = None,
        recv_counts: Counts = None,
        *,
        timeout: float | None = None,
    ) -> Op:
        """See Comm.all_to_all.  `x` must not change before the op is done."""
        call, size = "all_to_all", self._comm.size
        send = source(x, "x", call)
        code, unit = _unit(send)
        if (send_counts is None) != (recv_counts is None):
            usage("send_counts and recv_counts must be given together", call)
        if send_counts is None or recv_counts is None:
            _check_blocks(send, "x", size, call)
            out, recv = _result(x, send, out, send.shape, call)
            arguments: tuple[Any, ...] = (send.address, recv.address, send.count * unit // size, code)
            return self._comm.start(call, lib.nexar_all_to_all, arguments, timeout, (send.keep, recv.keep), out)
        sent = _rows(send_counts, "send_counts", call, size)
        received = _rows(recv_counts, "recv_counts", call, size)
        _check_rows(send, sum(sent), "x", "the sum of send_counts", call)
        out, recv = _result(x, send, out, (sum(received), *send.shape[1:]), call)
        arguments = (
            send.address,
            _elements(sent, send.shape, unit),
            None,
            recv.address,
            _elements(received, send.shape, unit),
            None,
            code,
        )
        return self._comm.start(call, lib.nexar_all_to_all_v, arguments, timeout, (send.keep, recv.keep), out)


class Blocks:
    """The blocking face."""

    nb: Any
    rank: int
    size: int

    def all_gather(self, x: Any, out: Any = None, counts: Counts = None, *, timeout: float | None = None) -> Any:
        """Gives every rank the arrays of all ranks.

        Args:
            x: an array, of the same dtype on every rank, and of the same shape if there are no counts
            out: where the result goes; None: a new array.  Its own part of it may be x: all_gather(out[rank], out)
            counts: how many rows each rank's x has; the same list on every rank
            timeout: seconds; None: the communicator's default

        Returns:
            An array of shape (size, *x.shape); with counts the arrays joined along axis 0.

        Raises:
            NexarError: as all_reduce().
        """
        return self.nb.all_gather(x, out, counts, timeout=timeout).complete()

    def gather(
        self, x: Any, root: int = 0, out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Any:
        """Gives rank `root` the arrays of all ranks, as all_gather() does to all, and None to the others.

        `out` is looked at on the root alone; counts must be the same list on every rank.

        Raises:
            NexarError: as all_reduce(); a mismatch may show on the others only with their next collective.
        """
        return self.nb.gather(x, root, out, counts, timeout=timeout).complete()

    def scatter(
        self,
        x: Any = None,
        root: int = 0,
        out: Any = None,
        counts: Counts = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Gives each rank its block of rank `root`'s array.

        The root first tells the others what it has, which costs a broadcast; comm.nb.scatter does without.

        Args:
            x: on the root an array of shape (size, *shape), or with counts of so many rows; else None
            root: the rank that has it
            out: where this rank's block goes; None: a new array
            counts: how many rows each rank gets; the same list on every rank
            timeout: seconds; None: the communicator's default

        Returns:
            The block: of shape x.shape[1:], or with counts (counts[rank], *x.shape[1:]).

        Raises:
            NexarError: as broadcast().
        """
        call, began = "scatter", time.monotonic()
        root = index(root, "root", call, self.size)
        rows = None if counts is None else _rows(counts, "counts", call, self.size)
        header = bytearray(_HEADER)
        op: Op | None = None
        if self.rank == root:
            view = source(x, "x", call)
            header = _describe(view, call)
        elif out is not None:
            target(out, "out", call)
        self.nb.broadcast(header, root, timeout=timeout).complete()
        if self.rank != root and out is None:
            dtype, shape = _described(header)
            out = named(dtype, shape[1:] if rows is None else (rows[self.rank], *shape[1:]), call)
        if timeout is not None:
            timeout = max(0.0, timeout - (time.monotonic() - began))
        op = self.nb.scatter(x, root, out, rows, timeout=timeout)
        return op.complete()

    def reduce_scatter(
        self, x: Any, op: Any = "sum", out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Any:
        """Reduces the arrays of all ranks, element by element, and gives each rank its block of the result.

        Args:
            x: an array of the same shape and dtype on every rank; x.shape[0] is the number of ranks, or with counts
                the sum of them
            op: as for all_reduce()
            out: where this rank's block goes; None: a new array
            counts: how many rows each rank gets; the same list on every rank
            timeout: seconds; None: the communicator's default

        Returns:
            The block: of shape x.shape[1:], or with counts (counts[rank], *x.shape[1:]).

        Raises:
            NexarError: as all_reduce().
        """
        return self.nb.reduce_scatter(x, op, out, counts, timeout=timeout).complete()

    def all_to_all(
        self,
        x: Any,
        out: Any = None,
        send_counts: Counts = None,
        recv_counts: Counts = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Sends block i of x to rank i, and returns the blocks that came: block i is from rank i.

        Args:
            x: an array whose first axis is the number of ranks, or with counts the sum of send_counts
            out: where the result goes, not overlapping x; None: a new array
            send_counts: how many rows of x each rank gets
            recv_counts: how many rows come from each rank
            timeout: seconds; None: the communicator's default

        Returns:
            An array of the shape of x, or with counts (sum(recv_counts), *x.shape[1:]).

        Raises:
            NexarError: as all_reduce().
        """
        return self.nb.all_to_all(x, out, send_counts, recv_counts, timeout=timeout).complete()


def _describe(view: View, call: str) -> bytearray:
    """What the root of a scatter tells the others of its array."""
    name = name_of(known(view, "x", call)).encode()
    axes = [len(view.shape), *view.shape]
    return bytearray(name.ljust(64, b"\0") + b"".join(n.to_bytes(8, "little") for n in axes)).ljust(_HEADER, b"\0")


def _described(header: bytearray) -> tuple[str, Shape]:
    name = bytes(header[:64]).rstrip(b"\0").decode()
    axes = [int.from_bytes(header[at : at + 8], "little") for at in range(64, _HEADER, 8)]
    return name, tuple(axes[1 : 1 + min(axes[0], 64)])
