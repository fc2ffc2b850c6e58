"""Something in flight: a collective, a send, a receive.  There is no other kind of future."""

from __future__ import annotations

import threading
import time
from ctypes import byref, c_size_t, sizeof

from . import _handle, errors
from ._ffi import _api, lib
from ._ffi.call import error_of, last_error, nanoseconds, short_text, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any

    from .comm import Comm

__all__ = ["Op", "wait_all", "wait_any"]

# A signal that comes between two instructions of Python, just before a thread sleeps in C, is seen this much later.
_SLICE_NS = 200_000_000
CANCEL_NS = 500_000_000
_NOT_YET = (_api.NEXAR_EAGAIN, _api.NEXAR_EINTR)
# On a thread that handles calls (rpc.py): `desk`, which puts another in its place while it waits.
handling = threading.local()


class Op:
    """An operation in flight, made by the calls of `comm.nb`.

    Its buffers stay until C is done with them; one that is dropped unfinished goes on.
    It can be awaited: `y = await comm.nb.all_reduce(x)`.  Several threads may wait for one.
    """

    __slots__ = (
        "__weakref__",
        "_comm",
        "_error",
        "_finish",
        "_over",
        "_pid",
        "_value",
        "pointer",
        "watched_out",
        "watchers",
    )

    def __init__(self, comm: Comm, value: Any, finish: Callable[[Op], Any] | None = None) -> None:
        self.pointer = _api.nexar_op()  # NULL until it is started
        self._comm = comm
        self._value = value
        self._finish = finish
        self._over = False
        self._pid = _handle._pid
        self._error: errors.NexarError | None = None
        self.watchers: list[Any] = []  # aio.py's: futures, and whether they were told
        self.watched_out = False

    @property
    def done(self) -> bool:
        """True when it has finished, well or not, and its buffers are free.  Never blocks."""
        return self._over or self._settle()

    @property
    def result(self) -> Any:
        """What the blocking call would return, or raise; waits if it is not done.  `Cancelled` after a cancel."""
        return self.wait()

    def wait(self, timeout: float | None = None) -> Any:
        """Waits until it is done, at most `timeout` seconds, and returns the result.

        Raises:
            Timeout: it is not done in time, and goes on.
            NexarError: what went wrong with it; see the blocking call.
        """
        if not self._over:
            limit = _api.NEXAR_FOREVER if timeout is None else nanoseconds(timeout, "timeout", "wait")
            if not self.block(limit):
                raise self._not_done("wait", timeout)
        return self._outcome()

    def cancel(self) -> None:
        """Asks for it to end early.  It is done, with `Cancelled` unless it finished first, when its buffers are free:
        wait for that.  A collective that one rank cancels fails on all.
        """
        if not self._over:
            self._check_fork("cancel")
            lib.nexar_op_cancel(self.pointer)

    def __await__(self) -> Generator[Any, None, Any]:
        from . import aio

        return aio.wait(self).__await__()

    def __repr__(self) -> str:
        if self._pid != _handle._pid:
            return "<Op of another process>"
        if not self.pointer:
            return "<Op that was not started>"
        return f"<Op {short_text(lib.nexar_op_describe, self.pointer)}>"

    # ------------------------------------------------------------------------------------------- inside the package
    @property
    def comm(self) -> Comm:
        return self._comm

    @property
    def parts(self) -> Sequence[Op]:
        """The ops, each one of C, of which this one consists."""
        return (self,)

    def complete(self) -> Any:
        """The rest of a blocking call: waits without end; whatever interrupts the wait also ends the operation."""
        try:
            self.block(_api.NEXAR_FOREVER)
        except BaseException:
            self.cancel()
            self.block(CANCEL_NS)  # until C has let go of the buffers; if it still cannot, they stay alive
            raise
        try:
            return self._outcome()
        finally:
            self._error = None  # it would hold this frame, and this frame the buffers

    def _not_done(self, call: str, timeout: float | None) -> errors.Timeout:
        """What is raised when block() has returned False."""
        return errors.Timeout(f"{call}: not done after {timeout:g} s, and goes on: {self!r}", op=call)

    def block(self, limit: int) -> bool:
        """False if the time is over before it is done."""
        self._check_fork("wait")
        desk = getattr(handling, "desk", None)
        if desk is None or self._over:
            return self._block(limit)
        desk.waits()
        try:
            return self._block(limit)
        finally:
            desk.waited()

    def _block(self, limit: int) -> bool:
        deadline = None if limit == _api.NEXAR_FOREVER else time.monotonic_ns() + limit
        while not self._over:
            span = _SLICE_NS if deadline is None else max(0, min(_SLICE_NS, deadline - time.monotonic_ns()))
            status = lib.nexar_op_wait(self.pointer, span)
            if status == _api.NEXAR_OK:
                self._end(None)
            elif status not in _NOT_YET:
                if not self._settle():
                    raise last_error()  # of waiting
            elif span == 0 and status == _api.NEXAR_EAGAIN:
                return False
        return True

    def _settle(self) -> bool:
        """Takes the outcome if there is one."""
        self._check_fork("done")
        if lib.nexar_op_test(self.pointer) == _api.NEXAR_EAGAIN:
            return False
        info = _api.nexar_error(size=sizeof(_api.nexar_error))
        lib.nexar_op_error(self.pointer, byref(info))
        self._end(None if info.status == _api.NEXAR_OK else error_of(info))
        return True

    def _end(self, error: errors.NexarError | None) -> None:
        """Several threads may come here at once."""
        if error is not None:
            self._error = error
        elif self._finish is not None:
            with self._comm.lock:
                if not self._over:
                    self._value = self._finish(self)
                    self._over = True
        self._over = True
        self._comm.release(self.pointer)

    def _outcome(self) -> Any:
        """Of one that is over."""
        if self._error is not None:
            note = getattr(self._comm, "note", None)  # of one with a policy
            if note is not None:
                note(self._error)
            raise self._error
        return self._value

    def _check_fork(self, call: str) -> None:
        if self._pid != _handle._pid:
            usage(f"the operation belongs to process {self._pid}, of which this one is a child after fork", call)

    def __del__(self) -> None:
        try:
            if self._pid == _handle._pid:
                self._comm.drop(self.pointer)
        except (AttributeError, TypeError):  # the interpreter is ending, and modules are gone
            pass


class Pair(Op):
    """A receive and a send at the same time; its result is the receive's."""

    __slots__ = ("_recv", "_send")

    def __init__(self, recv: Op, send: Op) -> None:
        super().__init__(recv.comm, None)
        self._recv = recv
        self._send = send

    @property
    def parts(self) -> Sequence[Op]:
        return (self._recv, self._send)

    def cancel(self) -> None:
        self._send.cancel()
        self._recv.cancel()

    def __repr__(self) -> str:
        return f"<Op sendrecv: {self._send!r}, {self._recv!r}>"

    def block(self, limit: int) -> bool:
        deadline = time.monotonic_ns() + limit
        if not self._send.block(limit):
            return False
        if self._send._error is not None:
            self._recv.cancel()  # nobody is left who could use what it gets
        if limit != _api.NEXAR_FOREVER:
            limit = max(0, deadline - time.monotonic_ns())
        return self._recv.block(limit) and self._settle()

    def _settle(self) -> bool:
        if not (self._send.done and self._recv.done):
            return False
        self._value = self._recv._value
        self._end(self._send._error or self._recv._error)
        return True


def wait_all(ops: Sequence[Op], timeout: float | None = None) -> list[Any]:
    """Waits for all of them, and returns their results in their order.

    Raises:
        Timeout: they are not all done in time; those that are not go on.
        NexarError: that of the first, in their order, which failed; the others go on.
    """
    limit = _api.NEXAR_FOREVER if timeout is None else nanoseconds(timeout, "timeout", "wait_all")
    deadline = time.monotonic_ns() + limit
    results = []
    for op in list(ops):
        left = limit if limit == _api.NEXAR_FOREVER else max(0, deadline - time.monotonic_ns())
        if not op.block(left):
            raise op._not_done("wait_all", timeout)
        results.append(op.wait())
    return results


def wait_any(ops: Sequence[Op], timeout: float | None = None) -> int:
    """Waits until one of them is done, well or not, and returns its position.

    Raises:
        Timeout: none is done in time; they go on.
        UsageError: there are none.
    """
    ops = list(ops)
    if not ops:
        usage("it needs at least one op", "wait_any")
    limit = _api.NEXAR_FOREVER if timeout is None else nanoseconds(timeout, "timeout", "wait_any")
    deadline = None if limit == _api.NEXAR_FOREVER else time.monotonic_ns() + limit
    index = c_size_t()
    while True:
        for position, op in enumerate(ops):
            if op.done:
                return position
        parts = [part for op in ops for part in op.parts if not part.done]
        pointers = (_api.nexar_op * len(parts))(*(part.pointer for part in parts))
        span = _SLICE_NS if deadline is None else max(0, min(_SLICE_NS, deadline - time.monotonic_ns()))
        status = lib.nexar_op_wait_any(pointers, len(parts), span, byref(index)) if parts else _api.NEXAR_OK
        if status not in (_api.NEXAR_OK, *_NOT_YET):
            raise last_error()
        if span == 0 and status == _api.NEXAR_EAGAIN:
            raise errors.Timeout(f"wait_any: none of {len(ops)} is done after {timeout:g} s; they go on", op="wait_any")
