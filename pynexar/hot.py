"""Blocking calls that are one call of C with one argument: what prepared calls are made of, and the cache behind the
plain names, which finds that a call was made before with the very same arrays.

An array is the same if the object has the same address, and its memory, shape, type and flags are what they were: C
compares the fields of numpy's object before each call.  If it is another object after all, the call is the same none
the less.  So the cache has no references to arrays, not even weak ones, with which numpy resizes no array.
"""

from __future__ import annotations

from ctypes import CFUNCTYPE, byref, c_int, c_void_p, cast, create_string_buffer, pointer, sizeof, string_at
from struct import calcsize, unpack
from threading import get_native_id

from . import errors
from ._ffi import _api, lib
from ._ffi.call import last_error, options
from .op import CANCEL_NS, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .comm import Comm

# Without the types of arguments, which would be checked in each call: byref() of a struct is all that it ever gets.
# CFUNCTYPE lets go of Python's lock, which is 35 of the 110 ns that such a call takes.  PYFUNCTYPE would keep it, and
# then no other thread would run while a call waits for its peer, which may be one of them.
_address = cast(lib.nexar_prepared_run, c_void_p).value or 0  # type: ignore[arg-type]
run: Callable[[Any], int] = CFUNCTYPE(c_int)(_address)

_VECTORS = "send recv count dtype"
_FORMS = {
    "nexar_send": (_api.NEXAR_PREPARED_SEND, "send count rank tag"),
    "nexar_recv_nb": (_api.NEXAR_PREPARED_RECV, "recv count rank tag"),
    "nexar_all_reduce": (_api.NEXAR_PREPARED_ALL_REDUCE, _VECTORS + " op"),
    "nexar_reduce": (_api.NEXAR_PREPARED_REDUCE, _VECTORS + " op rank"),
    "nexar_scan": (_api.NEXAR_PREPARED_SCAN, _VECTORS + " op"),
    "nexar_exclusive_scan": (_api.NEXAR_PREPARED_EXCLUSIVE_SCAN, _VECTORS + " op"),
    "nexar_broadcast": (_api.NEXAR_PREPARED_BROADCAST, "recv count dtype rank"),
    "nexar_all_gather": (_api.NEXAR_PREPARED_ALL_GATHER, _VECTORS),
    "nexar_gather": (_api.NEXAR_PREPARED_GATHER, _VECTORS + " rank"),
    "nexar_scatter": (_api.NEXAR_PREPARED_SCATTER, _VECTORS + " rank"),
    "nexar_reduce_scatter": (_api.NEXAR_PREPARED_REDUCE_SCATTER, _VECTORS + " op"),
    "nexar_all_to_all": (_api.NEXAR_PREPARED_ALL_TO_ALL, _VECTORS),
    "nexar_barrier": (_api.NEXAR_PREPARED_BARRIER, ""),
}
# From the type on: type, data, number of dimensions, dimensions, strides, base, dtype, flags.  They are part of numpy's
# binary interface.
_FIELDS = "PPixxxxPPPPixxxx"
_WRITEABLE = 0x0400
_MOST = 64  # calls that a communicator remembers
_TRIES = 8


class Hot:
    """A call whose arguments lie in C's struct.  Who calls it keeps the arrays alive."""

    __slots__ = ("__weakref__", "_comm", "_finish", "_held", "_struct", "a", "b", "c", "ref", "value")

    def __init__(self, comm: Comm, struct: _api.nexar_prepared, value: Any, finish: Callable[[Op], Any] | None) -> None:
        self._comm = comm
        self._struct = struct
        self._finish = finish
        self._held: Any = None
        self.ref = byref(struct)
        self.value = value  # of the call that was done last
        self.a: Any = None  # see Cache
        self.b: Any = None
        self.c: Any = None

    def again(self, keep: Any) -> bool:
        """Makes the call.  False: nothing was done, and the long way is to be taken.

        The plain names have these lines instead of a call of it: where a call takes 200 ns, 50 count.  For the same
        reason nothing there makes a closure, which slows down every use of a variable.
        """
        try:
            status = run(self.ref)
        except BaseException:
            self.leave(keep)
            raise
        return not status or self.ended(status, keep)

    def ended(self, status: int, keep: Any) -> bool:
        """What follows if run() did not return 0.  False: nothing was done, and the long way is to be taken."""
        struct = self._struct
        if status == _api.NEXAR_PREPARED_TOLD:
            from .p2p import Status

            self.value = Status(struct.got_source, struct.got_tag, struct.got)
            struct.busy = 0
            return True
        if status > 0 or status == _api.NEXAR_EFORK:
            return False
        if status != _api.NEXAR_EAGAIN:
            raise last_error()
        self.value = self._take(keep).complete()
        return True

    def leave(self, keep: Any) -> None:
        """An exception has come while this thread was in run(), or just after it."""
        if self._struct.busy != get_native_id():
            return
        if not self._struct.running:
            self._struct.got_source = _api.NEXAR_ANY  # nobody may have read it
            self._struct.busy = 0
            return
        op = self._take(keep)
        op.cancel()
        op.block(CANCEL_NS)

    def _take(self, keep: Any) -> Op:
        """The op that goes on; as Comm.start() makes them."""
        struct = self._struct
        op = Op(self._comm, self.value, self._finish)
        self._comm.enter(op.pointer, keep)
        op.pointer.value = struct.running.value  # type: ignore[union-attr]
        struct.running = None
        struct.got_source = _api.NEXAR_ANY  # what this one gets C does not see: it tells the next one's in any case
        struct.busy = 0
        return op

    def watch(self, arrays: tuple[Any, ...]) -> bool:
        """From now on it is only made if they are what they are now.  False: that cannot be seen."""
        pieces: list[tuple[int, bytes]] = []
        for x in {id(x): x for x in arrays}.values():
            seen = _look(x)
            if seen is None:
                return False
            pieces += seen
        copies = [create_string_buffer(was, len(was)) for _, was in pieces]
        list_type = _api.nexar_watch * len(pieces)
        watches = list_type(
            *(_api.nexar_watch(at, cast(copy, c_void_p), len(was)) for (at, was), copy in zip(pieces, copies))
        )
        self._held = (watches, copies, [x.dtype for x in arrays])  # so that no other dtype gets its address
        self._struct.watch = watches
        self._struct.watches = len(pieces)
        return True


def prepare(
    comm: Comm,
    call: str,
    function: Any,
    arguments: tuple[Any, ...],
    timeout: float | None,
    _keep: Any,
    value: Any = None,
    finish: Callable[[Op], Any] | None = None,
    space: int = 0,
) -> Hot | None:
    """From what Comm.start() gets; None: C has no such call with one argument."""
    form = _FORMS.get(function.__name__)
    if form is None:
        return None
    code, names = form
    struct = _api.nexar_prepared(size=sizeof(_api.nexar_prepared), call=code, **dict(zip(names.split(), arguments)))
    struct.gate = pointer(comm.gate)
    struct.got_source = _api.NEXAR_ANY  # which no message comes from
    opts = options(timeout, call, space)
    if opts is not None:
        struct.opts = pointer(opts)
    return Hot(comm, struct, value, finish)


_NONE = Hot.__new__(Hot)  # stands where no call is remembered
_NONE.a = None  # which is no address


class Cache:
    """The calls of one communicator that were made with the same arrays before.

    A call is known by its name and three marks: addresses of arrays, and what else distinguishes it.  The one of each
    name that was found last is at hand: to compare its marks with `==` for addresses and `is` for the rest takes half
    as long as to look the call up, and nothing that is merely equal, as True is to 1, passes for it.
    """

    def __init__(self) -> None:
        self.found: dict[Any, Hot] = {}
        self._seen: dict[Any, int] = {}
        self.all_reduce = self.send = self.recv = _NONE

    def find(self, name: str, a: Any, b: Any, c: Any) -> Hot | None:
        """One that is not at hand; from now on it is."""
        hot = self.found.get((name, a, b, c))
        if hot is not None:
            setattr(self, name, hot)
        return hot

    def note(
        self, name: str, marks: tuple[Any, ...], arrays: tuple[Any, ...], prepare: Callable[..., Any], *arguments: Any
    ) -> None:
        """A call has taken the long way; when it does so again with the same marks, it is remembered.

        Arrays that are other ones each time, but have the addresses of the last ones, are not remembered for ever.
        """
        key = (name, *marks)
        times = self._seen.get(key, 0)
        if times == 0 and len(self._seen) >= _MOST:
            self.empty()
        self._seen[key] = times + 1
        if not 1 <= times <= _TRIES or any(type(x).__module__ + type(x).__name__ != "numpyndarray" for x in arrays):
            return
        try:
            hot = prepare(*arguments).hot
        except errors.UsageError:  # it would have to be copied
            return
        if hot is not None and hot.watch(arrays):
            hot.value = None  # who calls has the array
            self.found[key] = hot
            if marks:
                hot.a, hot.b, hot.c = marks
                setattr(self, name, hot)  # where one may be that looks the same, and whose arrays have changed

    def empty(self) -> None:
        self.all_reduce = self.send = self.recv = _NONE
        self.found.clear()
        self._seen.clear()


def _look(x: Any) -> list[tuple[int, bytes]] | None:
    """Where a numpy array has what it is, and what stands there; None if that is not where it should be."""
    size = calcsize(_FIELDS)
    at = id(x) + object.__basicsize__ - sizeof(c_void_p)
    if object.__basicsize__ != 2 * sizeof(c_void_p) or type(x).__basicsize__ < object.__basicsize__ + size - 8:
        return None
    was = string_at(at, size)
    kind, data, ndim, dimensions, strides, _, dtype, flags = unpack(_FIELDS, was)
    if (kind, data, ndim, dtype) != (id(type(x)), x.ctypes.data, x.ndim, id(x.dtype)):
        return None
    if bool(flags & _WRITEABLE) != x.flags.writeable:
        return None
    pieces = [(at, was[: sizeof(c_void_p)]), (at, was)]  # what is of another type may be smaller
    for where, expected in ((dimensions, x.shape), (strides, x.strides)):
        if ndim != 0:
            pieces.append((where, string_at(where, 8 * ndim)))
            if unpack(f"{ndim}n", pieces[-1][1]) != expected:
                return None
    return pieces
