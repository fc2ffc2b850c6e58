"""Calls whose arguments are checked once and which are then repeated: `comm.prepare_all_reduce(x)` and the like."""

from __future__ import annotations

from ._ffi.buffer import lies
from .blocks import BlocksNb
from .collectives import CollectivesNb
from .hot import prepare, run
from .p2p import P2pNb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .blocks import Counts
    from .comm import Comm
    from .op import Op

__all__ = ["Prepared"]


class Prepared:
    """A call that can be repeated, on the same arrays: whatever they hold by then.  It keeps them alive.

    `prepared()` is the blocking call, `prepared.nb()` begins it and returns an Op.  Without `out=` every call gives the
    same array.  Errors are those of the call.  It is for one thread at a time.
    """

    __slots__ = ("_arguments", "_call", "_comm", "_keep", "_named", "_ref", "hot")

    def __init__(self, comm: Comm, call: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._comm = comm
        self._call = call
        self._arguments = arguments
        self._named = named
        self.hot = prepare(comm, call, *arguments, **named)  # None: not all of it fits into C's struct
        self._ref = None if self.hot is None else self.hot.ref
        self._keep = arguments[3]

    def __call__(self) -> Any:
        hot = self.hot
        if hot is not None:
            try:
                status = run(self._ref)
            except BaseException:
                hot.leave(self._keep)
                raise
            if not status or hot.ended(status, self._keep):
                return hot.value
        return self.nb().complete()

    def nb(self) -> Op:
        return self._comm.start(self._call, *self._arguments, **self._named)

    def __repr__(self) -> str:
        return f"<Prepared {self._call} of {self._comm!r}>"


class _Recorder:
    """A communicator for the non-blocking calls that takes down what they would start."""

    def __init__(self, comm: Comm) -> None:
        self.comm = comm
        self.rank = comm.rank
        self.size = comm.size

    def start(self, call: str, *arguments: Any, **named: Any) -> Any:
        with self.comm.lock:
            self.comm.pointer(call)
        return Prepared(self.comm, call, arguments, named)


class _Calls(CollectivesNb, BlocksNb, P2pNb):
    def __init__(self, comm: Any) -> None:
        self._comm = comm


class Preparing:
    """The calls that can be prepared; arguments are those of the call without `prepare_`.

    Arrays must be contiguous and of this machine's byte order, since what would have to be copied would be copied now.

    Raises:
        UsageError: a wrong argument.
        Closed: the communicator is closed.
    """

    def prepare_send(self, x: Any, dest: int, tag: int = 0, *, timeout: float | None = None) -> Prepared:
        return self._prepare("send", x)(x, dest, tag, timeout=timeout)

    def prepare_recv(self, out: Any, src: int, tag: int = 0, *, timeout: float | None = None) -> Prepared:
        return self._prepare("recv", out, "out")(out, src, tag, timeout=timeout)

    def prepare_all_reduce(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Prepared:
        return self._prepare("all_reduce", x)(x, op, out, timeout=timeout)

    def prepare_reduce(
        self, x: Any, op: Any = "sum", root: int = 0, out: Any = None, *, timeout: float | None = None
    ) -> Prepared:
        return self._prepare("reduce", x)(x, op, root, out, timeout=timeout)

    def prepare_scan(self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None) -> Prepared:
        return self._prepare("scan", x)(x, op, out, timeout=timeout)

    def prepare_exclusive_scan(
        self, x: Any, op: Any = "sum", out: Any = None, *, timeout: float | None = None
    ) -> Prepared:
        return self._prepare("exclusive_scan", x)(x, op, out, timeout=timeout)

    def prepare_broadcast(self, x: Any, root: int = 0, *, timeout: float | None = None) -> Prepared:
        return self._prepare("broadcast", x)(x, root, timeout=timeout)

    def prepare_all_gather(
        self, x: Any, out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Prepared:
        return self._prepare("all_gather", x)(x, out, counts, timeout=timeout)

    def prepare_gather(
        self, x: Any, root: int = 0, out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Prepared:
        return self._prepare("gather", x)(x, root, out, counts, timeout=timeout)

    def prepare_scatter(
        self,
        x: Any = None,
        root: int = 0,
        out: Any = None,
        counts: Counts = None,
        *,
        timeout: float | None = None,
    ) -> Prepared:
        """As comm.nb.scatter, to which every rank but the root gives `out`."""
        return self._prepare("scatter", x)(x, root, out, counts, timeout=timeout)

    def prepare_reduce_scatter(
        self, x: Any, op: Any = "sum", out: Any = None, counts: Counts = None, *, timeout: float | None = None
    ) -> Prepared:
        return self._prepare("reduce_scatter", x)(x, op, out, counts, timeout=timeout)

    def prepare_all_to_all(
        self,
        x: Any,
        out: Any = None,
        send_counts: Counts = None,
        recv_counts: Counts = None,
        *,
        timeout: float | None = None,
    ) -> Prepared:
        return self._prepare("all_to_all", x)(x, out, send_counts, recv_counts, timeout=timeout)

    def prepare_barrier(self, *, timeout: float | None = None) -> Prepared:
        return self._prepare("barrier", None)(timeout=timeout)

    def _prepare(self, call: str, x: Any, name: str = "x") -> Callable[..., Prepared]:
        if x is not None:
            lies(x, name, call)
        prepared: Callable[..., Prepared] = getattr(_Calls(_Recorder(self)), call)  # type: ignore[arg-type]
        return prepared
