"""Objects of the C library that Python owns: closed once, in any order, at the latest when the process ends.

A handle belongs to the process that made it: in a child after fork it only says so.
"""

from __future__ import annotations

import atexit
import os
import threading
import warnings
import weakref

from . import errors
from ._ffi import _api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import c_void_p
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    Self = TypeVar("Self", bound="Handle")

_open: weakref.WeakSet[Handle] = weakref.WeakSet()


class Handle:
    """One object of the C library, and who may use it.

    Attributes:
        lock: held around each short C call with the pointer, so that nobody closes it meanwhile
    """

    _pointer: Any = None

    def __init__(self, pointer: c_void_p) -> None:
        """Takes it over with the last step: an exception before that, as Ctrl-C, leaves it to the caller."""
        self._pid = _pid
        self._long_calls: set[object] = set()
        self.lock = threading.RLock()
        self._idle = threading.Condition(self.lock)
        _open.add(self)
        self._pointer = pointer

    def give_up(self, pointer: c_void_p, close: Callable[[Any], object]) -> None:
        """After an exception, wherever it came between C's call and the end of __init__: closes what C has made."""
        if self._pointer is None:
            close(pointer)
        else:
            self.close()

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._pointer is None

    def pointer(self, call: str) -> Any:
        """What C gets.  Call it, and use the result, with the lock held.

        Raises:
            Closed: it was closed.
            UsageError: this process is a child that fork made.
        """
        if self._pid != _pid:
            raise errors.UsageError(
                f"{call}: {self} belongs to process {self._pid}, of which this one is a child after fork; "
                "start processes by nexar.launch, nexar run or subprocess instead",
                code=_api.NEXAR_EFORK,
                op=call,
            )
        if self._pointer is None:
            raise errors.Closed(f"{call}: {self} is closed", op=call)
        return self._pointer

    def close(self) -> None:
        """Gives it back.  Legal more than once, and after fork, where it does nothing."""
        if self._pid != _pid or self._pointer is None:
            return
        with self.lock:
            pointer, self._pointer = self._pointer, None
            if pointer is None:
                return
            while self._long_calls:
                self._idle.wait()
        _open.discard(self)
        self._release(pointer)

    def _release(self, pointer: Any) -> None:
        raise NotImplementedError

    def begin_long_call(self, call: str, mark: object) -> Any:
        """As pointer(), for a call that lasts too long to hold the lock.  end_long_call with the same mark, which is
        nobody else's, follows in any case: Ctrl-C may come before the caller knows that it has begun."""
        with self.lock:
            pointer = self.pointer(call)
            self._long_calls.add(mark)
            return pointer

    def end_long_call(self, mark: object) -> None:
        with self.lock:
            self._long_calls.discard(mark)
            self._idle.notify_all()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None and self._pid == _pid:
            warnings.warn(f"{self} was not closed", ResourceWarning, source=self, stacklevel=1)
            self.close()


def _remember_pid() -> None:
    global _pid  # noqa: PLW0603
    _pid = os.getpid()


def _close_all() -> None:
    for handle in list(_open):
        handle.close()


_pid = os.getpid()
os.register_at_fork(after_in_child=_remember_pid)
atexit.register(_close_all)
