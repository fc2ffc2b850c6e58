"""Calls of functions of other ranks: bytes there, bytes back."""

from __future__ import annotations

import threading
from ctypes import byref, sizeof, string_at

from . import errors
from ._ffi import _api, lib
from ._ffi.buffer import source
from ._ffi.call import check, error_of, index, last_error, usage
from .op import Op, handling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .comm import Comm

__all__ = ["Request", "current_request"]

_NANO = 1_000_000_000
_MOST = _api.NEXAR_RPC_BYTES_MAX
_AT_ONCE = 32_768  # C copies what is not larger: it needs the payload no longer than the call that starts it lasts
_SLICE_NS = 200_000_000  # as in op.py
_NOT_YET = (_api.NEXAR_EAGAIN, _api.NEXAR_EINTR)
_SPARE = 4  # threads that stay, beyond those that are configured, for functions that wait for others
_THREADS_MOST = 512  # of one communicator
_here = threading.local()


class Request:
    """The call that a function is handling: see current_request().

    Attributes:
        caller: rank that calls
        name: the name, or the number, of the function
        left: seconds that the caller still waited when the call was taken; infinity: without end
    """

    __slots__ = ("caller", "left", "name", "pointer")

    def __init__(self, info: Any, name: str | int) -> None:
        self.pointer: int | None = info.request.value  # None once it is answered
        self.caller: int = info.caller
        self.name = name
        self.left = float("inf") if info.left_ns == _api.NEXAR_FOREVER else info.left_ns / _NANO

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for the answer: the caller has cancelled it, has run out of time, or is gone; or it is
        answered.  For the thread that handles the call, until it returns."""
        return self.pointer is None or lib.nexar_request_wanted(_api.nexar_request(self.pointer)) != _api.NEXAR_OK


def current_request() -> Request | None:
    """In a function that was called from another rank: who calls, how long there is, whether anybody still waits.
    None elsewhere."""
    now = getattr(_here, "now", None)
    if now is None:
        return None
    if _here.request is None:
        _here.request = Request(*now)
    request: Request = _here.request
    return request


class _Desk:
    """The functions of a communicator, and the threads that run them."""

    def __init__(self, pointer: _api.nexar_desk) -> None:
        self.pointer: Any = pointer
        self.lock = threading.Lock()
        self.functions: dict[int, tuple[str | int, Callable[[bytes], Any]]] = {}
        self.cookie = 0
        self.by_name: dict[str | int, int] = {}
        self.base = lib.nexar_desk_threads(pointer)
        self.running = 0  # threads
        self.waiting = 0  # of these, in functions that wait for something of nexar

    def register(self, name: str | int, fn: Callable[[bytes], Any] | None) -> None:
        with self.lock:
            if self.pointer is None:
                raise errors.Closed("register: the communicator is closed", op="register")
            self.cookie += 1
            cookie = self.cookie if fn is not None else 0
            if fn is not None:
                self.functions[cookie] = (name, fn)  # before the first call can come
            number = name if isinstance(name, int) else 0
            text = None if isinstance(name, int) else name.encode()
            try:
                check(lib.nexar_desk_register(self.pointer, text, number, cookie))
            except BaseException:
                self.functions.pop(cookie, None)
                raise
            # One that was replaced stays for the calls that came before.
            if fn is not None:
                self.by_name[name] = cookie
            else:
                self.by_name.pop(name, None)
            while fn is not None and self.running < self.base:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"nexar-rpc-{self.running}", daemon=True)
        thread.start()
        self.running += 1  # it takes the lock before it looks at this

    def _is_one_too_many(self) -> bool:
        if self.running - self.waiting <= self.base + _SPARE:
            return False
        with self.lock:
            if self.running - self.waiting <= self.base + _SPARE:
                return False
            self.running -= 1
            return True

    def waits(self) -> None:
        """A function is about to wait, perhaps for one that is called back: another thread takes its place."""
        with self.lock:
            self.waiting += 1
            if self.pointer is not None and self.running - self.waiting < self.base and self.running < _THREADS_MOST:
                try:
                    self._start()
                except RuntimeError:  # the system has no more: calls that come wait for those that are there
                    pass

    def waited(self) -> None:
        with self.lock:
            self.waiting -= 1

    def _run(self) -> None:
        info = _api.nexar_request_info(size=sizeof(_api.nexar_request_info))
        at, desk, following, forever = byref(info), self.pointer, lib.nexar_desk_next, _api.NEXAR_FOREVER
        handling.desk = self
        while True:
            status = following(desk, forever, at)
            if status == _api.NEXAR_OK:
                self._handle(info)
                if self._is_one_too_many():
                    return
            elif status != _api.NEXAR_EINTR:
                break  # the communicator is closed
        with self.lock:
            self.running -= 1
            if self.running == 0:
                lib.nexar_desk_close(self.pointer)
                self.pointer = None

    def _handle(self, info: Any) -> None:
        address: Any
        name, fn = self.functions[info.cookie]
        pointer = _api.nexar_request(info.request.value)  # the struct is used again
        _here.request, _here.now = None, (info, name)
        try:
            payload = string_at(info.payload, info.nbytes) if info.nbytes else b""
            answer = fn(payload)
            if type(answer) is bytes:
                address, nbytes = answer, len(answer)
            elif isinstance(answer, (bytearray, memoryview)):
                view = source(answer, "the answer", "call")
                address, nbytes = view.address, view.nbytes
            else:
                raise TypeError(f"the function returned {type(answer).__name__}; it must return bytes")
        except BaseException as error:  # whatever it is belongs to the caller
            from traceback import format_exc

            _over()
            first = f"{type(error).__name__}: {error}".split("\n", 1)[0]
            said = f"{first}\n{format_exc()}".encode("utf-8", "replace")
            lib.nexar_request_fail(pointer, said, len(said))
        else:
            _over()
            lib.nexar_request_answer(pointer, address, nbytes)  # if it cannot be sent, nobody waits for it


def _over() -> None:
    """The request is about to be given back."""
    if _here.request is not None:
        _here.request.pointer = None
    _here.now = _here.request = None


class RpcNb:
    """The non-blocking face."""

    _comm: Comm

    def call(self, dest: int, name: str | int, payload: Any = b"", *, timeout: float | None = None) -> Op:
        """See Comm.call.  `payload` must not change before the op is done."""
        comm = self._comm
        if type(payload) is bytes and len(payload) <= _AT_ONCE and timeout is None:
            op = _Call(comm, None, _answer_of)
            _start(comm, dest, name, payload, op.pointer)
            return op
        function, where = _name(name, "call")
        dest = index(dest, "dest", "call", comm.size)
        address: Any
        if type(payload) is bytes:
            address, nbytes, keep = payload, len(payload), payload
        else:
            view = source(payload, "payload", "call")
            address, nbytes, keep = view.address, view.nbytes, view.keep
        if nbytes > _MOST:
            usage(f"payload has {nbytes} bytes; {_MOST} are allowed", "call")
        start = lib.nexar_rpc_call if where is None else lib.nexar_rpc_call_number
        arguments = (dest, function if where is None else where, address, nbytes)
        return comm.start("call", start, arguments, timeout, keep, finish=_answer_of, kind=_Call)


class Rpc:
    """The blocking face."""

    nb: Any
    pointer: Callable[[str], Any]
    _desk: _Desk | None = None

    def register(self, name: str | int, fn: Callable[[bytes], Any] | None) -> None:
        """Makes `fn(payload: bytes) -> bytes` known to the other ranks under a name, or under a number of 0 to 65 535;
        None takes it back.  It runs on a thread of a small pool (`rpc_threads` of the configuration), whatever the main
        thread does, several calls at the same time.  Another function with that name is replaced.

        Raises:
            UsageError: a name that is empty or longer than 120 bytes, a number out of range, or no function.
            Closed: the communicator is closed.
        """
        _name(name, "register")
        if fn is not None and not callable(fn):
            usage(f"fn is {fn!r}; it must be a function, or None", "register")
        self._desk_of().register(name, fn)

    def call(self, dest: int, name: str | int, payload: Any = b"", timeout: float | None = None) -> bytes:
        """Calls a function of rank `dest`, which may be this one, with bytes, and returns its answer.

        Raises:
            RemoteError: there is no such function, or it has failed; `traceback` is what was seen there.
            Timeout, PeerLost, Closed, Cancelled: there is no answer.
            UsageError: a wrong argument; nothing was sent.
        """
        if type(payload) is not bytes or len(payload) > _AT_ONCE or timeout is not None:
            answer: bytes = self.nb.call(dest, name, payload, timeout=timeout).complete()
            return answer
        op = _api.nexar_op()
        try:
            _start(self, dest, name, payload, op)
            desk = getattr(handling, "desk", None)
            if desk is None:
                return _wait(op)
            desk.waits()
            try:
                return _wait(op)
            finally:
                desk.waited()
        finally:
            lib.nexar_op_close(op)  # cancels it, if something has interrupted the wait

    def _desk_of(self) -> _Desk:
        lock: threading.RLock = self.lock  # type: ignore[attr-defined]  # of Handle
        with lock:
            if self._desk is None:
                desk = _api.nexar_desk()
                check(lib.nexar_desk_open(self.pointer("register"), byref(desk)))
                self._desk = _Desk(desk)
            return self._desk


def _wait(op: _api.nexar_op) -> bytes:
    while True:
        status = lib.nexar_op_wait(op, _SLICE_NS)
        if status == _api.NEXAR_OK:
            return _taken(op)
        if status not in _NOT_YET:
            raise _failed(op)


class _Call(Op):
    """A call; if it has failed on the other side, its error has the traceback of there."""

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> Any:
        """See Op.wait."""
        handles = getattr(handling, "desk", None) is not None
        if self._over or handles or timeout is not None or lib.nexar_op_wait(self.pointer, _SLICE_NS) != _api.NEXAR_OK:
            return super().wait(timeout)
        self._end(None)
        return self._value

    def _end(self, error: errors.NexarError | None) -> None:
        if isinstance(error, errors.RemoteError) and not error.traceback:
            _add_traceback(error, self.pointer)
        super()._end(error)


def _start(comm: Any, dest: int, name: str | int, payload: Any, op: _api.nexar_op) -> None:
    """The payload is small: C has copied it when this returns."""
    function, number = _name(name, "call")
    dest = index(dest, "dest", "call", comm.size)
    with comm.lock:
        if number is None:
            status = lib.nexar_rpc_call(comm.pointer("call"), dest, function, payload, len(payload), None, op)
        else:
            status = lib.nexar_rpc_call_number(comm.pointer("call"), dest, number, payload, len(payload), None, op)
        check(status)


def _answer_of(op: Op) -> bytes:
    return _taken(op.pointer)


def _taken(pointer: _api.nexar_op) -> bytes:
    out = _api.nexar_iov()
    check(lib.nexar_rpc_take(pointer, out))
    if not out.base:
        return b""
    try:
        return string_at(out.base, out.nbytes)
    finally:
        lib.nexar_free(out.base)


def _failed(pointer: _api.nexar_op) -> errors.NexarError:
    info = _api.nexar_error(size=sizeof(_api.nexar_error))
    if lib.nexar_op_error(pointer, byref(info)) != _api.NEXAR_OK:
        return last_error()  # of waiting
    error = error_of(info)
    if isinstance(error, errors.RemoteError):
        _add_traceback(error, pointer)
    return error


def _add_traceback(error: errors.RemoteError, pointer: _api.nexar_op) -> None:
    try:
        said = _taken(pointer).decode("utf-8", "replace")
    except errors.NexarError:  # another thread that waits has it
        said = ""
    error.traceback = said.partition("\n")[2]


def _name(name: str | int, call: str) -> tuple[bytes, int | None]:
    """For C: the name, or the number."""
    if isinstance(name, str):
        text = name.encode("utf-8", "surrogatepass")
        if not text or len(text) > _api.NEXAR_RPC_NAME_MAX or b"\0" in text:
            usage(f"name is {name!r}; it must be 1 to {_api.NEXAR_RPC_NAME_MAX} bytes", call)
        return text, None
    return b"", index(name, "name", call, 1 << 16)
