"""Between Python values and C: statuses become exceptions, seconds become nanoseconds, buffers of text become str."""

from __future__ import annotations

import math
from ctypes import byref, c_size_t, create_string_buffer, sizeof

from pynexar import errors

from . import _api, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn, Optional

    Options = Optional[_api.nexar_call_opts]

_NANO = 1_000_000_000


def error_of(info: _api.nexar_error) -> errors.NexarError:
    """The exception for an error of the C library."""
    return errors.class_of(info.status)(
        info.text.decode("utf-8", "replace"),
        code=info.status,
        op=info.op.decode("utf-8", "replace"),
        comm=info.comm or None,
        seq=info.sequence or None,
        peer=None if info.peer == _api.NEXAR_NO_RANK else info.peer,
        elapsed=info.elapsed_ns / _NANO,
        hint=info.hint.decode("utf-8", "replace"),
    )


def last_error() -> errors.NexarError:
    """The exception for the call of this thread that failed last."""
    info = _api.nexar_error(size=sizeof(_api.nexar_error))
    lib.nexar_last_error_info(byref(info))
    return error_of(info)


def check(status: int) -> None:
    """Raises what went wrong in the call that returned `status`."""
    if status != _api.NEXAR_OK:
        raise last_error()


def usage(text: str, op: str = "") -> NoReturn:
    """Raises a UsageError that was found on this side of the library."""
    raise errors.UsageError(f"{op}: {text}" if op else text, op=op)


def nanoseconds(seconds: float | None, name: str, op: str = "") -> int:
    """A span of time as C has it: None is 0, which stands for the default, and infinity NEXAR_FOREVER.

    Raises:
        UsageError: no number, or below 0.
    """
    if seconds is None:
        return 0
    if isinstance(seconds, bool) or not hasattr(seconds, "__float__"):
        usage(f"{name} is {seconds!r}; it must be a number of seconds or None", op)
    seconds = float(seconds)
    if math.isnan(seconds) or seconds < 0:
        usage(f"{name} is {seconds!r}; it must not be below 0", op)
    if seconds * _NANO >= _api.NEXAR_FOREVER:
        return _api.NEXAR_FOREVER
    return max(1, int(seconds * _NANO))


def options(timeout: float | None, op: str, space: int = 0) -> Options:
    """What a call with this `timeout=` gets as its last argument but one."""
    if timeout is None and space == 0:
        return None
    limit = nanoseconds(timeout, "timeout", op)
    return _api.nexar_call_opts(size=sizeof(_api.nexar_call_opts), space=space, timeout_ns=limit)


def index(value: Any, name: str, op: str, limit: int, special: int | None = None) -> int:
    """An int in range(limit), or `special`.  Numpy's integers are ints, bools and floats are none.

    Raises:
        UsageError: anything else.
    """
    if isinstance(value, bool):
        usage(f"{name} is {value!r}; it must be an int", op)
    try:
        number = int(value.__index__())
    except (AttributeError, TypeError):
        usage(f"{name} is {value!r}; it must be an int", op)
    if not 0 <= number < limit and number != special:
        usage(f"{name} is {number}; it must be {f'0 to {limit - 1}' if limit > 1 else '0'}", op)
    return number


def text(function: Callable[[Any, int, Any], int]) -> str:
    """What a function that writes text of any length into (buffer, capacity, &needed) has to say."""
    need = c_size_t(4096)
    while True:
        buffer = create_string_buffer(need.value)
        status = function(buffer, len(buffer), byref(need))
        if need.value <= len(buffer):
            check(status)
            return buffer.value.decode("utf-8", "replace")


def short_text(function: Callable[..., int], *arguments: Any, capacity: int = 1024) -> str:
    """What a function that cuts its text at the capacity of its buffer has to say."""
    buffer = create_string_buffer(capacity)
    check(function(*arguments, buffer, len(buffer)))
    return buffer.value.decode("utf-8", "replace")
