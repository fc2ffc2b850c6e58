"""A rank's word to the launcher that started it: "I am failing, since now".

The order of exits is not the order of failures: a rank that raises says goodbye to the others, which fail in their
turn and may be gone before it.  So a rank under `nexar run` writes one line into a pipe when an exception leaves its
communicator or its program.  Nothing else depends on it.

A rank of an elastic job also says where the job is now, each time that it has formed anew, so that the launcher can
start others.
"""

from __future__ import annotations

import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

VARIABLE = "PYNEXAR_LAUNCHER"  # DESCRIPTOR:INODE of the pipe

_pid = 0  # of the process that is a rank
_failed_at = 0
_aborted = False


class Aborted(Exception):  # noqa: N818
    """How the launcher calls what a rank that has aborted its communicator fails with."""


def report(error: BaseException) -> None:
    """Tells the launcher that this process is about to fail with `error`; each error once, none after an Aborted."""
    global _failed_at, _aborted  # noqa: PLW0603
    if (
        _aborted
        or os.getpid() != _pid
        or _was_reported(error)
        or (isinstance(error, SystemExit) and error.code in (None, 0))
    ):
        return
    _aborted = isinstance(error, Aborted)
    _failed_at = time.monotonic_ns()
    try:
        error._nexar_reported = True  # type: ignore[attr-defined]
        fd = _pipe()
        if fd >= 0:
            os.write(fd, f"{os.environ['NEXAR_LOCAL_RANK']} {_failed_at} {type(error).__name__}\n".encode()[:512])
    except (AttributeError, KeyError, OSError):  # an exception without a __dict__; a launcher that is gone
        pass


def tell_join(join: str) -> None:
    """Tells the launcher the join string of an elastic job, as it is now."""
    try:
        fd = _pipe()
        if fd >= 0 and os.getpid() == _pid:
            os.write(fd, f"{os.environ['NEXAR_LOCAL_RANK']} join {join}\n".encode())
    except (KeyError, OSError):  # a launcher that is gone
        pass


def listens() -> bool:
    """Whether there is a launcher that wants to know."""
    return _pipe() >= 0


def failed_at() -> int:
    """When the last error was reported, on the monotonic clock; 0: none was."""
    return _failed_at


def watch() -> None:
    """This process is a rank; from now on, an uncaught exception is reported."""
    global _pid  # noqa: PLW0603
    _pid = os.getpid()
    if getattr(sys.excepthook, "_nexar", False):
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        report(error)
        previous(kind, error, traceback)

    hook._nexar = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def variable_for(fd: int) -> str:
    """What the launcher puts into VARIABLE of a child that inherits `fd`."""
    return f"{fd}:{os.fstat(fd).st_ino}"


def _was_reported(error: BaseException | None) -> bool:
    """True also for one that was raised while another one, which was reported, was handled."""
    seen = set()
    while error is not None and id(error) not in seen:
        if getattr(error, "_nexar_reported", False):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _pipe() -> int:
    """The descriptor, or -1: none was given, or it is something else by now."""
    try:
        fd, inode = (int(word) for word in os.environ.get(VARIABLE, "").split(":"))
        status = os.fstat(fd)
    except (ValueError, OSError):
        return -1
    return fd if stat.S_ISFIFO(status.st_mode) and status.st_ino == inode else -1
