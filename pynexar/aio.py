"""Ops in asyncio: one descriptor per node is readable while finished ops wait to be told of.  No threads, no polling.

Every loop that awaits an op watches the descriptor; whichever wakes first hands on what belongs to the others.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from ctypes import byref, c_int32, c_uint64

from . import errors
from ._ffi import _api, lib
from ._ffi.call import check
from .op import CANCEL_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .comm import Comm
    from .op import Op

    Future = asyncio.Future[None]


async def wait(op: Op) -> Any:
    """What `await op` does.  Cancelling the task cancels the op, and waits until its buffers are free."""
    try:
        while not op.done:
            await _all_parts(op)
    except asyncio.CancelledError:
        op.cancel()
        await _let_go(op)
        raise
    return op.wait()


async def _let_go(op: Op) -> None:
    """Until C has no buffer of it; if that takes long, its memory stays alive."""
    while not op.done:
        try:
            await asyncio.wait_for(_all_parts(op), CANCEL_NS / 1e9)
        except asyncio.TimeoutError:
            return
        except asyncio.CancelledError:  # once is enough
            continue


async def _all_parts(op: Op) -> None:
    for part in op.parts:
        if not part.done:
            await part.comm.completions.watch(part)


# Communicators of one node share a queue of finished ops: whoever looks into it finds those of the others, too.
_cookies = itertools.count(1)
_ops: dict[int, Op] = {}  # by cookie; alive while somebody waits


class Completions:
    """Who waits for the ops of a communicator."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm
        self.lock = threading.Lock()
        self._fd = -1
        self._closed = False
        self._loops: dict[asyncio.AbstractEventLoop, int] = {}  # how many futures each waits for

    def watch(self, op: Op) -> Future:
        """A future of the running loop that is done when the op is."""
        loop = asyncio.get_running_loop()
        future: Future = loop.create_future()
        with self.lock:
            if self._closed or op.watched_out:  # done since the caller looked
                future.set_result(None)
                return future
            self._add_loop(loop)
            future.add_done_callback(self._forget)
            op.watchers.append(future)
            if len(op.watchers) == 1:
                cookie = next(_cookies)
                _ops[cookie] = op
                check(lib.nexar_op_notify(op.pointer, cookie))
        return future

    def close(self) -> None:
        """The communicator was closed: all its ops are done, and the library tells no more of them."""
        with self.lock:
            self._closed = True
            mine = [cookie for cookie, op in list(_ops.items()) if op.comm is self._comm]
            ops = [op for op in (_ops.pop(cookie, None) for cookie in mine) if op is not None]
            for loop in [loop for loop in self._loops if loop.is_closed()]:
                del self._loops[loop]
            self._close_fd()
        for op in ops:
            _wake(op)

    def _add_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._fd < 0:
            fd = c_int32()
            with self._comm.lock:
                check(lib.nexar_completion_fd(self._comm.pointer("await"), byref(fd)))
                self._fd = os.dup(fd.value)  # stays good until no loop watches it, whenever the library closes its own
        if loop not in self._loops:
            loop.add_reader(self._fd, self._ready)
        self._loops[loop] = self._loops.get(loop, 0) + 1

    def _forget(self, future: Future) -> None:
        """In the future's loop."""
        loop = future.get_loop()
        with self.lock:
            if self._loops.get(loop, 0) > 1:
                self._loops[loop] -= 1
            elif loop in self._loops:
                del self._loops[loop]
                loop.remove_reader(self._fd)
            self._close_fd()

    def _close_fd(self) -> None:
        if self._closed and not self._loops and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _ready(self) -> None:
        cookie = c_uint64()
        while True:
            try:
                with self._comm.lock:
                    if lib.nexar_completion_next(self._comm.pointer("await"), byref(cookie)) != _api.NEXAR_OK:
                        return
            except errors.Closed:  # close() wakes those who wait
                return
            op = _ops.pop(cookie.value, None)
            if op is not None:
                _wake(op)


def _wake(op: Op) -> None:
    with op.comm.completions.lock:
        futures, op.watchers, op.watched_out = op.watchers, [], True
    here = asyncio._get_running_loop()
    for future in futures:
        loop = future.get_loop()
        if loop is here:
            _finish(future)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_finish, future)


def _finish(future: Future) -> None:
    if not future.done():
        future.set_result(None)
