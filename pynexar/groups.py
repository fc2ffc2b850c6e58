"""Communicators made from others: by color, by host, or of the same ranks."""

from __future__ import annotations

from ._ffi import _api, lib
from ._ffi.call import check, index, options, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .comm import Comm

_SLICE_NS = 200_000_000  # of a wait, between two looks for signals
_KEY_END = 1 << 31


class Groups:
    """The calls of a communicator that make others.

    They are collectives: all ranks make them, in the same order as others.  What they make shares the connections, so
    it costs some memory and no connection; it has ranks, tags, operations and failures of its own, and lives on when
    the communicator that it was made from is closed.
    """

    def split(self, color: int | None, key: int = 0, *, timeout: float | None = None) -> Comm | None:
        """Makes one communicator for each color, and returns the one of this rank's color: that of all ranks that gave
        it, in the order of `key`, those with equal keys in the order of their ranks here.

        Args:
            color: 0 to 4 294 967 294; None: this rank wants none, and gets None
            key: -2 147 483 648 to 2 147 483 647
            timeout: seconds; None: the communicator's default

        Raises:
            UsageError: a wrong argument; nothing was sent.
            Mismatch: ranks called different things; this communicator takes no further collectives.
            Timeout, PeerLost, Closed: not all ranks came; nobody has a new communicator.
            ResourceError: this rank, or the one that the text names, has no memory for it; nobody has one.
        """
        colored = _api.NEXAR_NO_COLOR if color is None else index(color, "color", "split", _api.NEXAR_NO_COLOR)
        return _make(self, "split", _api.NEXAR_SPLIT_BY_COLOR, colored, _key(key), timeout)

    def split_by_host(self, *, timeout: float | None = None) -> Comm:
        """Makes one communicator for each host, and returns the one of this rank's: its ranks in their order here.

        One host are those that run on one kernel, with one /dev/shm and one network namespace, so that containers which
        cannot share memory are different hosts; or those that have the same NEXAR_GROUP, where that is set.

        Raises:
            NexarError: as split().
        """
        made = _make(self, "split_by_host", _api.NEXAR_SPLIT_BY_HOST, 0, 0, timeout)
        assert made is not None
        return made

    def dup(self, *, timeout: float | None = None) -> Comm:
        """Makes a communicator of the same ranks: for a library, say, whose calls must not meet its users'.

        Raises:
            NexarError: as split().
        """
        made = _make(self, "dup", _api.NEXAR_SPLIT_DUP, 0, 0, timeout)
        assert made is not None
        return made


def close_with_all(comm: Comm) -> None:
    """Closes it and all that were made from it: the rank leaves the job, whoever still has one of them."""
    for made in list(comm.made):
        close_with_all(made)
    comm.close()


def _key(value: Any) -> int:
    try:
        number = int(value.__index__())
    except (AttributeError, TypeError):
        usage(f"key is {value!r}; it must be an int", "split")
    if isinstance(value, bool):
        usage(f"key is {value!r}; it must be an int", "split")
    if not -_KEY_END <= number < _KEY_END:
        usage(f"key is {number}; it must be {-_KEY_END} to {_KEY_END - 1}", "split")
    return number


def _make(parent: Any, call: str, how: int, color: int, key: int, timeout: float | None) -> Comm | None:
    from . import errors
    from .comm import Comm

    opts = options(timeout, call)
    splitting, made = _api.nexar_splitting(), _api.nexar_comm()
    comm, mark = Comm.__new__(Comm), object()
    try:
        pointer = parent.begin_long_call(call, mark)
        check(lib.nexar_split_start(pointer, how, color, key, opts, splitting))
        while True:
            status = lib.nexar_split_wait(splitting, _SLICE_NS, made)
            if status not in (_api.NEXAR_EAGAIN, _api.NEXAR_EINTR):
                break
            if parent.closed:
                raise errors.Closed(f"{call}: {parent} was closed", op=call)
        check(status)
        if not made:
            return None
        Comm.__init__(comm, made, parent._timeout)
        parent.made.add(comm)
        return comm
    except BaseException:  # Ctrl-C at any point
        comm.give_up(made, lib.nexar_comm_close)
        raise
    finally:
        lib.nexar_split_close(splitting)
        parent.end_long_call(mark)
