"""Going on after ranks were lost: who is gone, what the others agree on, and a communicator of those who are left."""

from __future__ import annotations

import sys
import threading
from ctypes import byref, c_uint32, sizeof
from typing import NamedTuple

from . import errors, launched
from ._ffi import _api, lib
from ._ffi.call import check, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from .comm import Comm
    from .op import Op

__all__ = ["Agreed", "Failure", "FailureWatch"]

_FLAG_END = 1 << 64


class Agreed(NamedTuple):
    """What agree() gave: the same on all ranks that return.

    Attributes:
        value: the bitwise and of the flags of all who had part in it; True or False if this rank's flag was
        missing: ranks that had no part in it, because they are out
    """

    value: int
    missing: list[int]


class Failure(NamedTuple):
    """A rank that is gone.

    Attributes:
        rank: in the communicator
        left: True: it has closed its communicators in good order; False: it was lost
        out: True once the members have agreed that it is out
        why: in words
    """

    rank: int
    left: bool
    out: bool
    why: str


class MembersNb:
    """The non-blocking face of Members."""

    _comm: Comm

    def shrink(self, *, timeout: float | None = None) -> Op:
        """See Comm.shrink.  The result is the communicator."""
        return self._comm.start("shrink", lib.nexar_shrink_start, (), timeout, None, finish=_shrunk)

    def agree(self, flag: int = True, *, timeout: float | None = None) -> Op:
        """See Comm.agree."""
        comm = self._comm
        kind, number = type(flag), _flag(flag)

        def finish(op: Op) -> Agreed:
            return _agreed(op, comm.size, kind)

        return comm.start("agree", lib.nexar_agree_start, (number,), timeout, None, finish=finish)


class FailureWatch:
    """Tells of ranks that are gone, until it is closed or the communicator is.  A context manager.

    Its callback runs on a thread of its own, one call at a time; what it raises is printed, as of any thread.
    """

    def __init__(self, comm: Any, callback: Callable[[Failure], object]) -> None:
        self._comm = comm
        self._callback = callback
        self._op: Op = _next_failure(comm, 0)
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="nexar-failures", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No call begins after this; one that has begun may still run.  Legal more than once, also in the callback."""
        with self._lock:
            self._closed = True
            self._op.cancel()

    def __enter__(self) -> FailureWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        told: set[int] = set()
        while True:
            try:
                self._op.wait()
                new = [failure for failure in self._comm.failures() if failure.rank not in told]
            except (errors.Closed, errors.Cancelled):
                return
            for failure in new:
                if self._closed:
                    return
                told.add(failure.rank)
                try:
                    self._callback(failure)
                except Exception:
                    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            try:
                with self._lock:
                    if self._closed:
                        return
                    self._op = _next_failure(self._comm, len(told))
            except errors.Closed:
                return


def _next_failure(comm: Any, known: int) -> Op:
    op: Op = comm.start("failure", lib.nexar_failure_start, (known,), None, None)
    return op


class Members:
    """The calls of a communicator that outlive its ranks."""

    nb: Any
    pointer: Callable[[str], Any]

    def shrink(self, *, timeout: float | None = None) -> Comm:
        """Makes a communicator of the ranks that are left, in their order: waits until the members have agreed that
        each rank of it that is lost to this one, or to another, is out.

        A collective of those who are left: each calls it, after a PeerLost, say.  If another rank dies meanwhile, it
        begins again, or the next operation says so, and one shrinks again.  If a rank is lost, this communicator is
        given up on all of its ranks: what they have in flight in it raises PeerLost, and it is to be closed.

        Raises:
            QuorumLost: for the configuration's `recovery_timeout` too few members were in reach to agree.
            PeerLost: with this rank's own number: the others have excluded it, because they did not hear it.
            Timeout, Closed, ResourceError.
        """
        made: Comm = self.nb.shrink(timeout=timeout).complete()
        return made

    def agree(self, flag: int = True, *, timeout: float | None = None) -> Agreed:
        """Agrees on a value in spite of deaths: all ranks that return have the same value, the bitwise and of the flags
        of all who had part in it, and the same ranks missing.  It never fails because a rank is lost; one that lives
        and does not call it holds the others up.

        The communicator must have all members of the job: the world, or what was shrunk from it.  One that ran out of
        time is still open with its flag: the next call goes on with it.

        Args:
            flag: True, False, or 0 to 2**64 - 1

        Raises:
            UsageError: a wrong flag; a communicator without some members; another agree() is open on this rank.
            QuorumLost, PeerLost, Timeout, Closed: as shrink().
        """
        agreed: Agreed = self.nb.agree(flag, timeout=timeout).complete()
        return agreed

    def failures(self) -> list[Failure]:
        """The ranks that are gone, as far as this rank knows, by rank."""
        found: list[Failure] = []
        info = _api.nexar_failure(size=sizeof(_api.nexar_failure))
        lock: Any = self.lock  # type: ignore[attr-defined]  # of Handle
        while True:
            with lock:
                status = lib.nexar_comm_failure(self.pointer("failures"), len(found), byref(info))
            if status == _api.NEXAR_EAGAIN:
                return found
            check(status)
            why = bytes(info.why).decode("utf-8", "replace")
            found.append(Failure(info.rank, bool(info.left), bool(info.out), why))

    def on_failure(self, callback: Callable[[Failure], object]) -> FailureWatch:
        """Calls `callback(failure)` for each rank of this communicator that is gone, those that are already included.

        Returns:
            what ends it: its close(), or a `with` of it

        Raises:
            UsageError: it is no function.
            Closed: the communicator is closed.
        """
        if not callable(callback):
            usage(f"callback is {callback!r}; it must be a function", "on_failure")
        return FailureWatch(self, callback)

    async def failure_events(self) -> AsyncIterator[Failure]:
        """The same for asyncio: `async for failure in comm.failure_events(): ...` until the communicator is closed."""
        told: set[int] = set()
        while True:
            try:
                await _next_failure(self, len(told))
                new = [failure for failure in self.failures() if failure.rank not in told]
            except errors.Closed:
                return
            for failure in new:
                told.add(failure.rank)
                yield failure


def _flag(flag: Any) -> int:
    try:
        number = int(flag.__index__())
    except (AttributeError, TypeError):
        usage(f"flag is {flag!r}; it must be True, False, or an int", "agree")
    if not 0 <= number < _FLAG_END:
        usage(f"flag is {number}; it must be 0 to 2**64 - 1", "agree")
    return number


def _agreed(op: Op, size: int, kind: type) -> Agreed:
    info = _api.nexar_agreed(size=sizeof(_api.nexar_agreed))
    ranks = (c_uint32 * size)()
    check(lib.nexar_agree_take(op.pointer, byref(info), ranks, size))
    value = bool(info.value & 1) if kind is bool else int(info.value)
    return Agreed(value, list(ranks[: info.missing]))


def _shrunk(op: Op) -> Comm:
    from .comm import Comm

    made, comm = _api.nexar_comm(), Comm.__new__(Comm)
    try:
        check(lib.nexar_shrink_take(op.pointer, made))
        Comm.__init__(comm, made, op.comm._timeout)
    except BaseException:  # Ctrl-C at any point
        comm.give_up(made, lib.nexar_comm_close)
        raise
    op.comm.made.add(comm)
    if launched.listens():
        from .elastic import tell_launcher

        tell_launcher(comm)
    return comm
