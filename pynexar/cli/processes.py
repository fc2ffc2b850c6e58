"""Processes and those they have started: found, signalled, and ended to the last one.

A launcher adopts what its ranks leave behind (it is a "child subreaper"), so that the processes of a job are exactly
its descendants, whatever sessions and groups they have made for themselves.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl: {os.strerror(error)}")


def adopt_orphans() -> None:
    """From now on, descendants whose parents die become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, signum: int) -> None:
    """In a fresh child: be sent `signum` when `parent`'s thread that made it ends, or end now if it has."""
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)


def descendants(of: int) -> list[int]:
    """Everything that the process `of` has started, and what that has started; zombies left out."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:  # gone
                continue
            if state not in (b"Z", b"X"):
                children.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    todo = [of]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def send(pids: Iterable[int], signum: int) -> None:
    """Signals those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):
            pass


def send_groups(groups: Iterable[int], signum: int) -> None:
    """Signals process groups, as far as they are still there."""
    for group in groups:
        try:
            os.killpg(group, signum)
        except (ProcessLookupError, PermissionError):
            pass


def reap() -> dict[int, int]:
    """Takes the children that have ended: exit status by process, 128 + signal for those that a signal ended."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = exit_status(status)


class Ends:
    """When processes end: in the order in which they did, also when they are asked for later."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._pids: dict[int, int] = {}

    def add(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # an old kernel, or an old Python: then the order is not known
            return
        self._pids[fd] = pid
        self._epoll.register(fd, select.EPOLLIN)

    def take(self) -> list[int]:
        """Those that have ended since the last time."""
        ended = []
        for fd, _ in self._epoll.poll(0):
            self._epoll.unregister(fd)
            os.close(fd)
            ended.append(self._pids.pop(fd))
        return ended


def exit_status(wait_status: int) -> int:
    """As a shell has it: 128 + signal for a process that a signal ended."""
    code = os.waitstatus_to_exitcode(wait_status)
    return 128 - code if code < 0 else code


def in_words(status: int) -> str:
    """ "exit status 1", "killed by SIGSEGV"."""
    if status > 128:
        try:
            return f"killed by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"exit status {status}"


def kill_all() -> None:
    """Ends every descendant of this process, which must adopt orphans; returns when none is left."""
    while True:
        send(descendants(os.getpid()), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)  # one of those just killed, so that this does not wait long
        except ChildProcessError:
            return
