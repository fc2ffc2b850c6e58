"""Dumps of the flight recorder, read from files that anybody may have written."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FORMAT = "nexar-dump/1"
_BYTES_MAX = 64 << 20
_RANKS_MAX = 1 << 20


class BadDumpError(Exception):
    """Why a file is no dump."""


def plain(text: str, most: int = 512) -> str:
    """Fit for a terminal: nothing that moves the cursor, nothing endless."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])


class Operation:
    """A collective or a message of one rank, running or ended."""

    def __init__(self, fields: Any, running: bool) -> None:
        self.comm = _number(fields, "comm")
        self.call = _text(fields, "call")
        self.begun = _time(fields, "begun")
        self.running = running
        self.ended = None if running else _time(fields, "ended")
        self.status = "" if running else _text(fields, "status")
        self.seq = _number(fields, "seq") if "seq" in fields else None
        self.what = _text(fields, "what") if self.seq is not None else ""
        self.algorithm = _text(fields, "algorithm", optional=True)
        self.other: int | None = None  # rank in the communicator; None: any
        self.tag: int | None = None
        if self.seq is None:
            if self.call not in ("send", "recv"):
                raise BadDumpError(f"{self.call!r} has no seq")
            self.other = _number(fields, "dest" if self.call == "send" else "src", optional=True)
            self.tag = _number(fields, "tag", optional=True)

    @property
    def failed(self) -> bool:
        return not self.running and self.status != "OK"


class Membership:
    """A communicator as one rank has it."""

    def __init__(self, fields: Any) -> None:
        self.id = _number(fields, "id")
        self.seq = _number(fields, "seq")
        self.broken = _text(fields, "broken", optional=True)
        self.world = [_item(rank, "world") for rank in _list(fields, "world")]
        if len(self.world) > _RANKS_MAX or _number(fields, "size") != len(self.world):
            raise BadDumpError("size and world of a communicator differ")


class Dump:
    """What one rank has written."""

    def __init__(self, name: str, fields: Any) -> None:
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise BadDumpError(f"it is no dump ({FORMAT})")
        self.name = name
        self.rank = _number(fields, "rank")
        self.size = _number(fields, "size")
        if not 0 < self.size <= _RANKS_MAX or self.rank >= self.size:
            raise BadDumpError(f"there is no rank {self.rank} of {self.size}")
        self.reason = _text(fields, "reason")
        self.host = _text(fields, "host")
        self.pid = _number(fields, "pid")
        self.written = _time(fields, "unix_time")
        self.now = _time(fields, "now")
        self.comms = {comm.id: comm for comm in map(Membership, _list(fields, "communicators"))}
        self.gone = {_number(peer, "rank"): _text(peer, "why") for peer in _list(fields, "gone")}
        self.running = [Operation(row, True) for row in _list(fields, "running")]
        self.ended = [Operation(row, False) for row in _list(fields, "ended")]

    @property
    def collectives(self) -> list[Operation]:
        return [op for op in (*self.ended, *self.running) if op.seq is not None]


def read(path: str) -> Dump:
    """The dump in a file.

    Raises:
        BadDumpError: there is none.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise BadDumpError(error.strerror or str(error)) from None
    if len(data) > _BYTES_MAX:
        raise BadDumpError(f"it has more than {_BYTES_MAX >> 20} MiB")
    try:
        return Dump(os.path.basename(path), json.loads(data, parse_constant=_no_constant))
    except RecursionError:
        raise BadDumpError("it is nested too deeply") from None
    except ValueError as error:
        raise BadDumpError(f"it is no JSON: {error}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _get(fields: Any, key: str, fits: Callable[[Any], bool], optional: bool) -> Any:
    value = fields.get(key) if isinstance(fields, dict) else None
    if (value is None and not optional) or (value is not None and not fits(value)):
        raise BadDumpError(f"its {key} is missing, or not what it should be")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def _number(fields: Any, key: str, optional: bool = False) -> Any:
    return _get(fields, key, _is_number, optional)


def _item(value: Any, key: str) -> int:
    number: int = _number({key: value}, key)
    return number


def _text(fields: Any, key: str, optional: bool = False) -> str:
    return plain(_get(fields, key, lambda value: isinstance(value, str), optional) or "")


def _time(fields: Any, key: str) -> float:
    return float(_get(fields, key, lambda value: isinstance(value, float) or _is_number(value), False))


def _list(fields: Any, key: str) -> list[Any]:
    found: list[Any] = _get(fields, key, lambda value: isinstance(value, list), False)
    return found
