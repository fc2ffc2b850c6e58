"""Python objects as messages: pickled, with large buffers beside the pickle, all in one message of any size.

Objects have a space of tags of their own: no array is ever received as an object, nor the other way round.

Unpickling runs what the sender says.  All ranks of a job have shown that they know its secret, so an object comes from
one who may run code on this machine anyway; do not give the secret to anybody who may not.
"""

from __future__ import annotations

import pickle
import struct
import threading
import time
import weakref
from ctypes import byref, c_char
from types import SimpleNamespace

from . import errors
from ._ffi import _api, lib
from ._ffi.buffer import numpy_module, source
from ._ffi.call import check, index, nanoseconds, usage
from .op import Op, wait_all
from .p2p import ANY, start_send, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .comm import Comm

# A message: magic, number of buffers, length of the pickle, length of each buffer; the pickle; the buffers, each at a
# multiple of ALIGN.
_HEAD = struct.Struct("<4sIQ")
_MAGIC = b"nxo1"
_ALIGN = 16
_SMALL = 4096  # what is smaller goes into the pickle, so that no small array keeps a large message alive
_MOST = (1 << 63) - 1

_MESSAGES, _COLLECTIVES = 1, 2  # spaces
_CALLS = {
    "broadcast_object": 0x6F626A01,
    "all_gather_object": 0x6F626A02,
    "gather_object": 0x6F626A03,
    "scatter_object": 0x6F626A04,
}


# ------------------------------------------------------------------------------------------------------------- messages
def pack(obj: Any, call: str) -> bytes:
    """The message for an object; each large buffer is copied once, into it.

    Raises:
        UsageError: it cannot be pickled.
    """
    pickled: list[Any] = []
    buffers: list[memoryview] = []

    def into_the_pickle(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # it has gaps
            return True
        if raw.nbytes >= _SMALL:
            buffers.append(raw)
        return raw.nbytes < _SMALL

    file: Any = SimpleNamespace(write=pickled.append)  # the pickler hands over what is large without a copy
    try:
        pickle.Pickler(file, 5, buffer_callback=into_the_pickle).dump(obj)
    except Exception as error:
        raise errors.UsageError(
            f"{call}: the object cannot be pickled: {type(error).__name__}: {error}", op=call
        ) from error
    sizes = [raw.nbytes for raw in buffers]
    length = sum(memoryview(part).nbytes for part in pickled)
    parts = [_HEAD.pack(_MAGIC, len(sizes), length), struct.pack(f"<{len(sizes)}Q", *sizes), *pickled]
    end = _HEAD.size + 8 * len(sizes) + length
    for raw in buffers:
        parts += (bytes(-end % _ALIGN), raw)
        end += -end % _ALIGN + raw.nbytes
    return b"".join(parts)


def unpack(message: memoryview, call: str, src: int) -> Any:
    """The object of a message.  Its large buffers lie in the message, which lives as long as one of them.

    Raises:
        NexarError: it cannot be unpickled; or the message is no object.
    """
    pickled, buffers = _split(message, call, src)
    try:
        return pickle.loads(pickled, buffers=buffers)
    except Exception as error:
        raise errors.NexarError(
            f"{call}: the object from rank {src} came, but cannot be unpickled: {type(error).__name__}: {error}",
            op=call,
            peer=src,
            hint="see that this rank can import what the object is made of, in the same version",
        ) from error


def _split(message: memoryview, call: str, src: int) -> tuple[memoryview, list[memoryview]]:
    try:
        magic, count, length = _HEAD.unpack_from(message)
        sizes = struct.unpack_from(f"<{count}Q", message, _HEAD.size)
        end = _HEAD.size + 8 * count + length
        pickled, buffers = message[end - length : end], []
        for size in sizes:
            end += -end % _ALIGN
            buffers.append(message[end : end + size])
            end += size
        if magic == _MAGIC and end == message.nbytes:
            return pickled, buffers
    except (struct.error, OverflowError):
        pass
    raise errors.NexarError(
        f"{call}: the message of {message.nbytes} bytes from rank {src} is no object",
        code=_api.NEXAR_EPROTO,
        op=call,
        peer=src,
    )


def _memory(op: Op) -> memoryview:
    """What a receive into C's memory got; freed with the last view of it."""
    got = _api.nexar_iov()
    check(lib.nexar_recv_take(op.pointer, byref(got)))
    if not got.base:
        return memoryview(b"")
    array = (c_char * got.nbytes).from_address(got.base)
    weakref.finalize(array, lib.nexar_free, got.base).atexit = False  # others may use it until the very end
    return pickle.PickleBuffer(array).raw()


class Receive(Op):
    """A receive of an object, which is unpickled by the first who asks for it."""

    __slots__ = ("_message", "_unpacked", "_unpacking", "call", "with_status")

    def __init__(self, comm: Comm, value: Any, finish: Callable[[Op], Any] | None) -> None:
        super().__init__(comm, value, finish)
        self.call = "recv_object"
        self.with_status = False
        self._message: memoryview | None = None
        self._unpacked = False
        self._unpacking = threading.RLock()

    def _outcome(self) -> Any:
        with self._unpacking:
            if not self._unpacked and self._error is None:
                if self._message is None:
                    self._message = _memory(self)
                try:
                    value = unpack(self._message, self.call, self._value.src)
                    self._value = (value, self._value) if self.with_status else value
                except errors.NexarError as error:
                    self._error = error
                self._unpacked, self._message = True, None
        return super()._outcome()


# ---------------------------------------------------------------------------------------------------------------- calls
class ObjectsNb:
    """The non-blocking face: the same arguments, and an Op as the result."""

    _comm: Comm

    def send_object(self, obj: Any, dest: int, tag: int = 0, *, timeout: float | None = None) -> Op:
        """See Comm.send_object.  The object is pickled at once, and may change afterwards."""
        call = "send_object"
        dest, tag = index(dest, "dest", call, self._comm.size), index(tag, "tag", call, ANY)
        nanoseconds(timeout, "timeout", call)
        message = source(pack(obj, call), "obj", call)
        return start_send(self._comm, call, message, dest, tag, timeout, _MESSAGES)

    def recv_object(self, src: int, tag: int = 0, *, with_status: bool = False, timeout: float | None = None) -> Op:
        """See Comm.recv_object.  It is unpickled when its result is asked for, by the thread that asks."""
        call = "recv_object"
        src, tag = index(src, "src", call, self._comm.size, ANY), index(tag, "tag", call, ANY, ANY)
        op = _receive(self._comm, call, src, tag, timeout, _MESSAGES)
        op.with_status = with_status
        return op


class Objects:
    """The blocking face.

    Whatever can be pickled, of any size.  Arrays and other large buffers inside are copied once on the sending side and
    not at all on the receiving one; those that came together stay in memory together.  Only for jobs whose ranks trust
    each other: unpickling runs what the sender says, and whoever knows the secret of the job can be a sender.
    """

    nb: Any
    rank: int
    size: int

    def send_object(self, obj: Any, dest: int, tag: int = 0, *, timeout: float | None = None) -> None:
        """Sends an object to rank `dest`, for recv_object() alone; in order, per tag.

        Raises:
            UsageError: a wrong argument, or the object cannot be pickled; nothing was sent.
            Timeout, PeerLost, Closed, Cancelled: as send().
        """
        self.nb.send_object(obj, dest, tag, timeout=timeout).complete()

    def recv_object(self, src: int, tag: int = 0, *, with_status: bool = False, timeout: float | None = None) -> Any:
        """Receives an object from rank `src` with `tag`; either may be ANY.  Unpickling runs what the sender says.

        Args:
            src: a rank, or ANY
            tag: of send_object(), or ANY
            with_status: return (object, Status) instead
            timeout: seconds; None: the communicator's default

        Raises:
            NexarError: the object came and cannot be unpickled here; its `__cause__` says why.
            UsageError, Timeout, PeerLost, Closed, Cancelled: nothing was received.
        """
        return self.nb.recv_object(src, tag, with_status=with_status, timeout=timeout).complete()

    def broadcast_object(self, obj: Any = None, root: int = 0, *, timeout: float | None = None) -> Any:
        """Returns rank `root`'s object on every rank; the root gets its own back, not a copy.

        As all collectives of objects it is two or more of the other collectives, so it needs its place in the order of
        all of them, and there is none in `comm.nb`.

        Raises:
            UsageError: a wrong argument, or the root's object cannot be pickled: on that rank, with nothing sent.
            NexarError: the object came and cannot be unpickled here; the communicator is as good as before.
            Mismatch, Timeout, PeerLost, Closed: as all_reduce().
        """
        call = "broadcast_object"
        root = index(root, "root", call, self.size)
        left = _Left(self._comm, call, timeout)
        message: Any = pack(obj, call) if self.rank == root else b""
        sizes = _agree(self._comm, call, root, len(message), left)
        if self.rank != root:
            message = numpy_module().empty(sizes[root], "u1")
        self._comm.broadcast(message, root, timeout=left())
        return obj if self.rank == root else unpack(memoryview(message), call, root)

    def all_gather_object(self, obj: Any, *, timeout: float | None = None) -> list[Any]:
        """Returns the objects of all ranks, by rank, on every rank; this rank's own is no copy.

        Raises:
            NexarError: as broadcast_object().
        """
        call = "all_gather_object"
        left = _Left(self._comm, call, timeout)
        message = pack(obj, call)
        sizes = _agree(self._comm, call, 0, len(message), left)
        empty = numpy_module().empty
        messages: list[Any] = [message if src == self.rank else empty(size, "u1") for src, size in enumerate(sizes)]
        wait_all([self.nb.broadcast(message, src, timeout=left()) for src, message in enumerate(messages)])
        return [
            obj if src == self.rank else unpack(memoryview(message), call, src) for src, message in enumerate(messages)
        ]

    def gather_object(self, obj: Any, root: int = 0, *, timeout: float | None = None) -> list[Any] | None:
        """Returns the objects of all ranks, by rank, on rank `root`, and None elsewhere; the root's own is no copy.

        Raises:
            NexarError: as broadcast_object().
        """
        call = "gather_object"
        comm, root = self._comm, index(root, "root", call, self.size)
        left = _Left(comm, call, timeout)
        message = pack(obj, call) if self.rank != root else b""
        _agree(comm, call, root, 0, left)
        turn = comm.next_turn()
        if self.rank != root:
            start_send(comm, call, source(message, "obj", call), root, turn, left(), _COLLECTIVES).complete()
            return None
        ops = {
            src: _receive(comm, call, src, turn, left(), _COLLECTIVES) for src in range(self.size) if src != self.rank
        }
        wait_all(list(ops.values()))
        return [obj if src == self.rank else ops[src].result for src in range(self.size)]

    def scatter_object(self, objs: Sequence[Any] | None = None, root: int = 0, *, timeout: float | None = None) -> Any:
        """Returns `objs[rank]` of rank `root`'s sequence, which has one object for each rank; others give None.

        Raises:
            UsageError: not one object for each rank.
            NexarError: as broadcast_object().
        """
        call = "scatter_object"
        comm, root = self._comm, index(root, "root", call, self.size)
        left = _Left(comm, call, timeout)
        messages = _packed_for_each(objs, call, self.rank, self.size) if self.rank == root else {}
        _agree(comm, call, root, 0, left)
        turn = comm.next_turn()
        if objs is None or self.rank != root:
            return _receive(comm, call, root, turn, left(), _COLLECTIVES).complete()
        views = {dest: source(message, "objs", call) for dest, message in messages.items()}
        wait_all([start_send(comm, call, view, dest, turn, left(), _COLLECTIVES) for dest, view in views.items()])
        return objs[root]

    @property
    def _comm(self) -> Comm:
        comm: Comm = self.nb._comm
        return comm


def _receive(comm: Comm, call: str, src: int, tag: int, timeout: float | None, space: int) -> Receive:
    op: Any = comm.start(
        call,
        lib.nexar_recv_alloc_nb,
        (_MOST, src, tag),
        timeout,
        None,
        finish=status_of,
        space=space,
        kind=Receive,
    )
    op.call = call
    received: Receive = op
    return received


def _packed_for_each(objs: Any, call: str, rank: int, size: int) -> dict[int, bytes]:
    try:
        count = len(objs)
    except TypeError:
        usage(f"objs is {type(objs).__name__}; it must be a sequence of {size} objects", call)
    if count != size:
        usage(f"objs has {count} objects; it must have one for each of the {size} ranks", call)
    return {dest: pack(objs[dest], call) for dest in range(size) if dest != rank}


class _Left:
    """What is left of a call's time, for its next part."""

    def __init__(self, comm: Comm, call: str, timeout: float | None) -> None:
        limit = nanoseconds(comm.default_timeout if timeout is None else timeout, "timeout", call)
        self._deadline = None if limit == _api.NEXAR_FOREVER else time.monotonic_ns() + limit

    def __call__(self) -> float:
        if self._deadline is None:
            return float("inf")
        return max(0.0, (self._deadline - time.monotonic_ns()) / 1e9)


def _agree(comm: Comm, call: str, root: int, size: int, left: _Left) -> list[int]:
    """All ranks tell which call they make and how long their message is; returns the lengths, by rank.

    Raises:
        Mismatch: a rank makes another call, or has another root.
    """
    mine = [_CALLS[call], root, size]
    table = comm.all_gather(numpy_module().array(mine, "i8"), timeout=left()).tolist()
    for rank, row in enumerate(table):
        if row[:2] != mine[:2]:
            theirs = next((f"{name} (root {row[1]})" for name in _CALLS if _CALLS[name] == row[0]), "all_gather")
            raise errors.Mismatch(
                f"{call}: rank {rank} calls {theirs}, and rank {comm.rank} {call} (root {root})",
                op=call,
                comm=comm.id,
                peer=rank,
                hint="all ranks must make the same calls, in the same order",
            )
    return [row[2] for row in table]
