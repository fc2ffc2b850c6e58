"""What ranks print: whole lines, each with the rank that it came from, to the terminal and to a file per rank."""

from __future__ import annotations

import errno
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_LINE_MAX = 1 << 16  # a longer one is cut into several
_TURN = 16  # reads, before others have theirs
_TAIL_BYTES = 1 << 16
_TAIL_LINES = 20
_COLOURS = (36, 33, 32, 35, 34, 31, 96, 93, 92, 95, 94, 91)
_TRACEBACK = b"Traceback (most recent call last):"
_CHAINED = (b"\nDuring handling of the above exception,", b"\nThe above exception was the direct cause")


class Stream:
    """Standard output or error of one rank."""

    def __init__(self, fd: int, to: int, name: str, number: int, log: BinaryIO | None) -> None:
        """Reads from `fd`, writes to `to` with "[name] " in the colour of `number` before each line; "": as it is."""
        os.set_blocking(fd, False)
        self.fd = fd
        self._to = to
        self._log = log
        self._prefix = prefix(name, number, os.isatty(to)).encode() if name else b""
        self._rest = b""
        self._tail = b""

    def pump(self) -> bool:
        """Passes on some of what there is; False at the end of file."""
        for _ in range(_TURN):
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                if self._rest:
                    self._emit(self._rest.rstrip(b"\r") + b"\n")
                    self._rest = b""
                return False
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
            if self._log is not None:
                self._log.write(data)
                self._log.flush()
            if not self._prefix:
                write(self._to, data)
                continue
            # A progress bar ends its lines with \r alone.
            text = (self._rest + data).replace(b"\r\n", b"\n")
            held = text.endswith(b"\r")  # perhaps a \n follows
            text = text[: len(text) - held].replace(b"\r", b"\n")
            cut = text.rfind(b"\n") + 1
            self._rest = text[cut:] + b"\r" * held
            text = text[:cut]
            if len(self._rest) > _LINE_MAX:
                text += self._rest + b"\n"
                self._rest = b""
            self._emit(text)
        return True

    def tail(self) -> list[str]:
        """The last traceback, with those that led to it, or the last lines."""
        start = self._tail.rfind(_TRACEBACK)
        if start < 0:
            return self._tail.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        while True:
            before = self._tail.rfind(_TRACEBACK, 0, start)
            if before < 0 or not any(words in self._tail[before:start] for words in _CHAINED):
                return self._tail[start:].decode("utf-8", "replace").splitlines()
            start = before

    def _emit(self, lines: bytes) -> None:
        write(self._to, b"".join(self._prefix + line for line in lines.splitlines(keepends=True)))


def prefix(name: str, number: int, colour: bool) -> str:
    """What stands before each line of a rank."""
    if not colour or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return f"[{name}] "
    return f"\x1b[{_COLOURS[number % len(_COLOURS)]}m[{name}]\x1b[0m "


def write(fd: int, data: bytes) -> None:
    """All of it, in as few writes as the descriptor takes, so that lines stay whole.

    Raises:
        BrokenPipeError: nobody reads it any more.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody else who has this terminal or pipe has made it so
            select.select([], [fd], [])
        except OSError as error:
            if error.errno == errno.EIO:  # a terminal that was closed
                raise BrokenPipeError(errno.EPIPE, "the terminal is gone") from None
            raise


def say(text: str) -> None:
    """A line of the launcher's own."""
    write(sys.stderr.fileno(), f"nexar run: {text}\n".encode())
