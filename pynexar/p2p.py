"""Messages between two ranks of a communicator."""

from __future__ import annotations

import time
from collections import namedtuple
from ctypes import byref, sizeof

from . import errors
from ._ffi import _api, lib
from ._ffi.buffer import View, apart, pieces, source, target
from ._ffi.call import check, index, last_error, nanoseconds
from .hot import run
from .op import CANCEL_NS, Op, Pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NamedTuple

    from .comm import Comm
    from .hot import Cache

    class Status(NamedTuple):
        """What a receive got."""

        src: int
        tag: int
        nbytes: int

else:
    Status = namedtuple("Status", "src tag nbytes")
    Status.__doc__ = "What a receive got."

__all__ = ["ANY", "Status"]

ANY = _api.NEXAR_ANY
"""Any source, or any tag, in `recv` and `probe`."""

_LOOK_NS = 200_000_000  # of a probe, between two looks for signals


def status_of(op: Op) -> Status:
    info = _api.nexar_recv_info()
    check(lib.nexar_op_recv_info(op.pointer, byref(info)))
    return Status(info.source, info.tag, info.nbytes)


class P2pNb:
    """The non-blocking face: the same arguments, and an Op as the result."""

    _comm: Comm

    def send(self, x: Any, dest: int, tag: int = 0, *, timeout: float | None = None) -> Op:
        """See Comm.send.  `x` must not change before the op is done."""
        return _send(self._comm, "send", _send_arguments(self._comm, "send", x, dest, tag), timeout)

    def recv(self, out: Any, src: int, tag: int = 0, *, timeout: float | None = None) -> Op:
        """See Comm.recv."""
        return _recv(self._comm, "recv", _recv_arguments(self._comm, "recv", out, src, tag), timeout)

    def sendrecv(
        self,
        x: Any,
        dest: int,
        out: Any,
        src: int,
        sendtag: int = 0,
        recvtag: int = 0,
        *,
        timeout: float | None = None,
    ) -> Op:
        """See Comm.sendrecv."""
        call = "sendrecv"
        sending = _send_arguments(self._comm, call, x, dest, sendtag, "sendtag")
        receiving = _recv_arguments(self._comm, call, out, src, recvtag, "recvtag")
        for x_view in sending[0]:
            for out_view in receiving[0]:
                apart(x_view, out_view, "x", "out", call)
        recv = _recv(self._comm, call, receiving, timeout)  # first: what comes then needs no buffer in between
        try:
            return Pair(recv, _send(self._comm, call, sending, timeout))
        except BaseException:
            recv.cancel()
            recv.block(CANCEL_NS)
            raise


class P2p:
    """The blocking face."""

    nb: Any
    cache: Cache
    prepare_send: Callable[..., Any]
    prepare_recv: Callable[..., Any]

    def send(self, x: Any, dest: int, tag: int = 0, *, timeout: float | None = None) -> None:
        """Sends the bytes of an array, or of a list of arrays as one message, to rank `dest`; `x` is free again when it
        returns.

        Messages to one rank are received in the order in which they were sent, per tag.  Sending to oneself works at
        any size.

        Raises:
            UsageError: a wrong argument; nothing was sent.
            Timeout, PeerLost, Closed, Cancelled: nobody has received it, or nobody knows.
        """
        hot = self.cache.send
        if hot.a == id(x) and hot.b is dest and hot.c is tag and timeout is None:
            try:
                status = run(hot.ref)
            except BaseException:
                hot.leave(x)
                raise
            if not status or hot.ended(status, x):
                return
        elif type(dest) is int and type(tag) is int and timeout is None:
            found = self.cache.find("send", id(x), dest, tag)
            if found is not None and found.again(x):
                return
        else:
            self.nb.send(x, dest, tag, timeout=timeout).complete()
            return
        self.nb.send(x, dest, tag).complete()
        self.cache.note("send", (id(x), dest, tag), (x,), self.prepare_send, x, dest, tag)

    def recv(self, out: Any, src: int, tag: int = 0, *, timeout: float | None = None) -> Status:
        """Receives a message of at most the size of `out` from rank `src` with `tag`; either may be ANY.

        `out` may be a list of arrays, which are filled one after the other.

        Raises:
            UsageError: a wrong argument, or the message is larger than `out`: then it is still there to be received.
            Timeout, PeerLost, Closed, Cancelled: nothing was received.
        """
        hot = self.cache.recv
        if hot.a == id(out) and hot.b is src and hot.c is tag and timeout is None:
            try:
                status = run(hot.ref)
            except BaseException:
                hot.leave(out)
                raise
            if not status or hot.ended(status, out):
                return hot.value  # type: ignore[no-any-return]
        elif type(src) is int and type(tag) is int and timeout is None:
            found = self.cache.find("recv", id(out), src, tag)
            if found is not None and found.again(out):
                return found.value  # type: ignore[no-any-return]
        else:
            return self.nb.recv(out, src, tag, timeout=timeout).complete()  # type: ignore[no-any-return]
        got: Status = self.nb.recv(out, src, tag).complete()
        self.cache.note("recv", (id(out), src, tag), (out,), self.prepare_recv, out, src, tag)
        return got

    def sendrecv(
        self,
        x: Any,
        dest: int,
        out: Any,
        src: int,
        sendtag: int = 0,
        recvtag: int = 0,
        *,
        timeout: float | None = None,
    ) -> Status:
        """Sends and receives at the same time, so that a ring of ranks that all call it cannot deadlock.

        Raises:
            NexarError: as send() and recv().
        """
        status: Status = self.nb.sendrecv(x, dest, out, src, sendtag, recvtag, timeout=timeout).complete()
        return status

    def probe(self, src: int, tag: int = 0, timeout: float | None = None) -> Status:
        """Waits until a message from `src` with `tag` (either may be ANY) could be received, without receiving it.

        Raises:
            Timeout: none came in time; 0 looks without waiting.
            UsageError, PeerLost, Closed: as recv().
        """
        comm: Comm = self.nb._comm
        call = "probe"
        where = (index(src, "src", call, comm.size, ANY), index(tag, "tag", call, ANY, ANY))
        limit = nanoseconds(comm.default_timeout if timeout is None else timeout, "timeout", call)
        deadline = time.monotonic_ns() + limit
        info = _api.nexar_recv_info()
        opts = _api.nexar_call_opts(size=sizeof(_api.nexar_call_opts))
        mark = object()
        try:
            pointer = comm.begin_long_call(call, mark)
            while True:
                left = deadline - time.monotonic_ns()
                opts.timeout_ns = max(1, min(left, _LOOK_NS))
                if lib.nexar_probe(pointer, *where, byref(info), byref(opts)) == _api.NEXAR_OK:
                    return Status(info.source, info.tag, info.nbytes)
                error = last_error()
                if comm.closed:
                    raise errors.Closed(f"probe: {comm} was closed", op=call)
                if not isinstance(error, errors.Timeout) or left <= _LOOK_NS:
                    raise error
        finally:
            comm.end_long_call(mark)


def _send_arguments(comm: Comm, call: str, x: Any, dest: int, tag: int, tag_name: str = "tag") -> tuple[Any, ...]:
    views = pieces(source, x, "x", call)
    return views, index(dest, "dest", call, comm.size), index(tag, tag_name, call, ANY)


def _recv_arguments(comm: Comm, call: str, out: Any, src: int, tag: int, tag_name: str = "tag") -> tuple[Any, ...]:
    views = pieces(target, out, "out", call)
    return views, index(src, "src", call, comm.size, ANY), index(tag, tag_name, call, ANY, ANY)


def _send(comm: Comm, call: str, arguments: tuple[Any, ...], timeout: float | None) -> Op:
    views, dest, tag = arguments
    if len(views) == 1:
        return start_send(comm, call, views[0], dest, tag, timeout)
    keep = [view.keep for view in views]
    return comm.start(call, lib.nexar_sendv, (_list(views), len(views), dest, tag), timeout, keep)


def start_send(comm: Comm, call: str, view: View, dest: int, tag: int, timeout: float | None, space: int = 0) -> Op:
    arguments = (view.address, view.nbytes, dest, tag)
    return comm.start(call, lib.nexar_send, arguments, timeout, view.keep, space=space)


def _recv(comm: Comm, call: str, arguments: tuple[Any, ...], timeout: float | None) -> Op:
    views, src, tag = arguments
    if len(views) == 1:
        arguments = (views[0].address, views[0].nbytes, src, tag)
        return comm.start(call, lib.nexar_recv_nb, arguments, timeout, views[0].keep, finish=status_of)
    keep = [view.keep for view in views]
    arguments = (_list(views), len(views), src, tag)
    return comm.start(call, lib.nexar_recvv_nb, arguments, timeout, keep, finish=status_of)


def _list(views: list[View]) -> Any:
    """What C gets for several pieces of memory."""
    return (_api.nexar_iov * len(views))(*(_api.nexar_iov(view.address, view.nbytes) for view in views))
