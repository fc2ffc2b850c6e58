"""A job from a function call: n processes on this host, each of which runs the function."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection, wait
from typing import Any, Callable, TypeVar

from . import launched
from ._ffi.call import index, usage
from .cli.processes import die_with_parent
from .config import Config
from .errors import PeerLost
from .seed import Seed

__all__ = ["launch"]

T = TypeVar("T")

_GRACE_AFTER_FAILURE = 3.0  # seconds that the others have to fail by themselves
_GRACE_AFTER_TERM = 1.0
_GRACE_AFTER_RESULT = 10.0  # for what runs at the exit of a process


def launch(fn: Callable[..., T], n: int, *args: Any, config: Config | None = None) -> list[T]:
    """Runs `fn(*args)` in `n` new processes, the ranks of a job, and returns what they returned, by rank.

    `fn` calls nexar.init() itself.  It, its arguments and results are pickled; what is defined in a notebook or in a
    function is pickled by cloudpickle, if that is installed.  As with multiprocessing, a script must call this under
    `if __name__ == "__main__":`.

    Args:
        config: of the seed where the ranks meet

    Raises:
        Exception: the one of the first rank that failed; its cause is the traceback in that rank.
        RuntimeError: a rank ended without a result: killed, or by sys.exit or os._exit; or its exception cannot be
            pickled.
        UsageError: `fn` or an argument cannot be pickled.
    """
    n = index(n, "n", "launch", 1 << 16)
    if n == 0:
        usage("n is 0; a job has at least one rank", "launch")
    payload = _dumps((fn, args))
    ranks: list[_Rank] = []
    with Seed("127.0.0.1:0", n, config) as seed:
        try:
            for rank in range(n):
                ranks.append(_Rank(rank, n))
            for started in ranks:
                started.tell((os.getpid(), started.rank, n, seed.join_string, payload))
            _collect(ranks)
        finally:
            _end(ranks)
    failed = [(rank.failed_at, rank.error()) for rank in ranks if rank.failed_at]
    if failed:
        # Ranks may learn that another one is gone before its end is noticed here: it failed before them.
        raise min(failed, key=lambda one: (isinstance(one[1], PeerLost), one[0]))[1]
    return [pickle.loads(rank.result) for rank in ranks]


class _Rank:
    """One process, and what it has said."""

    def __init__(self, rank: int, n: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.rank = rank
        self.n = n
        self.ours, theirs = context.Pipe()
        self.process = context.Process(target=_run, args=(theirs,), name=f"rank {rank}", daemon=False)
        self.process.start()
        theirs.close()
        self.result = b""
        self.failed_at = 0
        self.failure: tuple[bytes, str] = (b"", "")
        self.over = False

    def tell(self, what: Any) -> None:
        """What it is to do.  One that has died already is noticed when it is listened to."""
        try:
            self.ours.send(what)
        except OSError:
            pass

    def read(self) -> None:
        """Takes its last words, or the news of its death."""
        self.over = True
        try:
            good, self.result, self.failure, self.failed_at = self.ours.recv()
        except (EOFError, OSError):
            good = False
        if not good and not self.failed_at:
            self.failed_at = time.monotonic_ns()

    def error(self) -> Exception:
        """What became of it; it has ended."""
        pickled, text = self.failure
        name = f"rank {self.rank} of {self.n}"
        if not text:
            code = self.process.exitcode
            how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
            return RuntimeError(f"{name} ended without a result: {how}")
        try:
            raised = pickle.loads(pickled)
        except Exception:
            raised = None
        # Also sys.exit(): it is not this process that is to exit.
        error = raised if isinstance(raised, Exception) else RuntimeError(f"{name}: {text.rstrip().splitlines()[-1]}")
        error.__cause__ = _RemoteTracebackError(f"\n\nRank {self.rank} of {self.n}:\n{text}")
        return error


class _RemoteTracebackError(Exception):
    """Where it happened, in the process where it happened."""


def _collect(ranks: list[_Rank]) -> None:
    """Until all have said their last word, or one has failed and the others have had their time."""
    deadline: float | None = None
    while True:
        waiting: list[Any] = [rank.ours for rank in ranks if not rank.over]
        left = None if deadline is None else deadline - time.monotonic()
        if not waiting or (left is not None and left <= 0):
            return
        ready = wait(waiting, left)
        for rank in ranks:
            if rank.ours in ready:
                rank.read()
                if rank.failed_at and deadline is None:
                    deadline = time.monotonic() + _GRACE_AFTER_FAILURE


def _end(ranks: list[_Rank]) -> None:
    """Waits for the processes that have said their last word, and ends the others."""
    for rank in ranks:
        if not rank.over:
            rank.process.terminate()
    began = time.monotonic()
    for rank in ranks:
        grace = _GRACE_AFTER_RESULT if rank.over else _GRACE_AFTER_TERM
        rank.process.join(max(0.0, began + grace - time.monotonic()))
        if rank.process.is_alive():
            rank.process.kill()
            rank.process.join()
        rank.ours.close()


def _run(connection: Connection) -> None:
    """In the new process."""
    parent, rank, n, join, payload = connection.recv()
    die_with_parent(parent, signal.SIGKILL)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_SIZE": n}
    os.environ.update({f"NEXAR_{name}": str(number) for name, number in numbers.items()}, NEXAR_JOIN=join)
    os.environ.setdefault("NEXAR_BIND", "127.0.0.1")
    try:
        fn, args = pickle.loads(payload)
        answer = (True, _dumps(fn(*args)), (b"", ""), 0)
    except BaseException as error:
        launched.report(error)
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        try:
            pickled = _dumps(error)
        except Exception:
            pickled = b""
        answer = (False, b"", (pickled, text), launched.failed_at() or time.monotonic_ns())
    connection.send(answer)
    connection.close()


def _dumps(value: Any) -> bytes:
    try:
        data = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        data = b""
    if data and (b"__main__" not in data or _main_is_a_file()):
        return data
    try:
        import cloudpickle  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        usage(f"{value!r} cannot be pickled; put what is defined here into a module, or install cloudpickle", "launch")
    try:
        pickled: bytes = cloudpickle.dumps(value, protocol=5)
    except Exception as error:
        usage(f"{value!r} cannot be pickled: {error}", "launch")
    return pickled


def _main_is_a_file() -> bool:
    """Whether new processes can load what this program defines at its top."""
    main = sys.modules["__main__"]
    return not hasattr(sys, "ps1") and (
        getattr(main, "__file__", None) is not None or getattr(main, "__spec__", None) is not None
    )
