"""A communicator: an ordered set of ranks."""

from __future__ import annotations

import itertools
import os
from collections import deque
from ctypes import byref, c_void_p
from weakref import WeakSet

from . import launched
from ._ffi import _api, lib
from ._ffi.call import check, index, last_error, options, usage
from ._handle import Handle
from .cluster import Members, MembersNb
from .collectives import Collectives, CollectivesNb
from .elastic import Elastic
from .groups import Groups
from .hot import Cache
from .objects import Objects, ObjectsNb
from .op import Op
from .p2p import ANY, P2p, P2pNb
from .prepared import Preparing
from .rpc import Rpc, RpcNb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from .aio import Completions
    from .conn import PeerConnection

__all__ = ["Comm", "NonBlocking"]


class NonBlocking(CollectivesNb, P2pNb, ObjectsNb, RpcNb, MembersNb):
    """`comm.nb`: the calls of Comm, started and not waited for.  Each returns an Op."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm


class Comm(Collectives, P2p, Objects, Rpc, Groups, Members, Elastic, Preparing, Handle):
    """An ordered set of ranks that work together; made by nexar.init() and nexar.local_cluster(), and from others by
    split(), split_by_host(), dup(), shrink() and elastic_checkpoint().

    A context manager.  Several threads may use one; collectives must be called in the same order on all ranks.

    Attributes:
        rank: of this process, 0 to size - 1
        size: number of ranks
        id: the same on all ranks, and different from that of any other communicator of the job
        nb: the same calls, started and not waited for
    """

    def __init__(self, pointer: _api.nexar_comm, timeout: float | None = None) -> None:
        """Takes over a communicator of the C library, whose default timeout was configured so (None: it was not)."""
        self.rank: int = lib.nexar_comm_rank(pointer)
        self.size: int = lib.nexar_comm_size(pointer)
        self.id: int = lib.nexar_comm_id(pointer)
        self.nb = NonBlocking(self)
        self._timeout = timeout
        # What C may still use, by the op that uses it.  Entered before the op starts, so that no exception, at whatever
        # point it comes, frees memory under C's hands.
        self._in_use: dict[int, tuple[_api.nexar_op, Any]] = {}
        self._dropped: deque[_api.nexar_op] = deque()
        self._peers: dict[int, PeerConnection] = {}
        self.made: WeakSet[Comm] = WeakSet()  # from this one
        self._turns = itertools.count()
        self._completions: Completions | None = None
        self.gate = _api.nexar_gate(pointer)  # of calls that do not take the lock
        self.cache = Cache()
        super().__init__(pointer)

    def peer(self, rank: int) -> PeerConnection:
        """The connection to another rank: lanes of messages, extension slots, address.

        Raises:
            UsageError: no such rank, or this rank itself.
            PeerLost: there is no connection any more.
        """
        from .conn import PeerConnection

        rank = index(rank, "rank", "peer", self.size)
        conn = _api.nexar_conn()
        with self.lock:
            check(lib.nexar_comm_peer(self.pointer("peer"), rank, conn))
            if rank not in self._peers:
                self._peers[rank] = PeerConnection(self, conn, rank)
            return self._peers[rank]

    def alloc(self, shape: Any, dtype: Any = "float32") -> Any:
        """A new numpy array of zeros in memory that the ranks of a host share, if there is room: an all_reduce of more
        than 16 KiB whose arrays lie there on all ranks copies nothing.  Elsewhere it is as any other array, and every
        call takes any.  A local call: each rank has as many as it likes.  It begins at a multiple of 4 096 bytes, and
        lives as long as somebody has it or a view of it, also without the communicator.

        Raises:
            UsageError: no shape, or no type whose elements have a fixed size.
            ResourceError: there is not so much memory.
            Closed: the communicator is closed.
        """
        from ._ffi.buffer import lent

        def allocate(nbytes: int) -> int:
            out = c_void_p()
            with self.lock:
                check(lib.nexar_comm_alloc(self.pointer("alloc"), nbytes, out))
            return out.value or 0

        with self.lock:
            self.pointer("alloc")
        return lent(shape, dtype, "alloc", allocate, lib.nexar_comm_free)

    def stats(self) -> dict[str, Any]:
        """Counters of this rank: `rank`, `size`, `ops`, `transports`, `pool`, `copies` and more."""
        from .stats import of

        return of(self)

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Writes the flight recorder of this rank as JSON: operations that run and the last 1 024 that ended,
        collectives and messages, of all communicators.  `nexar analyze` reads what all ranks have written.

        Args:
            path: a file, which is replaced as a whole, or a folder, in which it becomes nexar-RANK.json

        Raises:
            UsageError: no path, or one with a zero in it.
            NexarError: it cannot be written; the text says why.
        """
        text = os.fsencode(path) if isinstance(path, (str, os.PathLike)) else b""
        if not text or b"\0" in text:
            usage(f"path is {path!r}; it must be that of a file or of a folder", "dump")
        with self.lock:
            check(lib.nexar_comm_dump(self.pointer("dump"), text))

    def abort(self, reason: str = "") -> None:
        """Gives up the communicator for all of its ranks: what they have in flight in it, and what they begin later,
        raises `Closed` with this rank as its `peer` and the reason in its text.  It waits for nobody and raises nothing
        itself; closing stays legal.

        Args:
            reason: printable ASCII, other characters become question marks; cut at 255 characters
        """
        if not isinstance(reason, str):
            usage(f"reason is {reason!r}; it must be text", "abort")
        launched.report(launched.Aborted())  # before the others do
        plain = "".join(c if " " <= c <= "~" else "?" for c in reason[:255])
        with self.lock:
            check(lib.nexar_comm_abort(self.pointer("abort"), plain.encode()))

    def close(self) -> None:
        """Closes it on this rank.  Operations in flight in it end with `Closed`.  Legal more than once.

        Communicators that were made from it stay.  With the last one the rank leaves the job in good order: it waits
        (bounded by the configuration's linger) until the others have what was sent to them.
        """
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            launched.report(error)  # before the others lose us, so that the launcher sees who was first
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Comm {self.id:#x}: rank {self.rank} of {self.size}{state}>"

    # ------------------------------------------------------------------------------------------- inside the package
    def start(
        self,
        call: str,
        function: Callable[..., int],
        arguments: tuple[Any, ...],
        timeout: float | None,
        keep: Any,
        value: Any = None,
        finish: Callable[[Op], Any] | None = None,
        handle: Any = None,
        space: int = 0,
        kind: Callable[..., Op] = Op,
    ) -> Op:
        """Starts something: `function(handle or this communicator, *arguments, options, &op)`.

        `keep` lives until C is done; `value`, or what `finish` makes of the op, is the result.
        """
        if self._dropped:
            self._sweep()
        opts = options(timeout, call, space)
        op = kind(self, value, finish)
        self.enter(op.pointer, keep)
        with self.lock:
            pointer = self.pointer(call)
            if function(handle or pointer, *arguments, opts, op.pointer) != _api.NEXAR_OK:
                raise last_error()
        return op

    def enter(self, pointer: _api.nexar_op, keep: Any) -> None:
        """C may use `keep` until release()."""
        self._in_use[id(pointer)] = (pointer, keep)

    def release(self, pointer: _api.nexar_op) -> None:
        """C is done with the memory of this op."""
        self._in_use.pop(id(pointer), None)

    def drop(self, pointer: _api.nexar_op) -> None:
        """Nobody has this op any more; called by the garbage collector.  One that is not done is closed later."""
        if pointer and lib.nexar_op_test(pointer) == _api.NEXAR_EAGAIN:
            self._dropped.append(pointer)
        else:
            self.release(pointer)
            lib.nexar_op_close(pointer)

    def next_turn(self) -> int:
        """Number of a collective that consists of messages, the same on all ranks: no other's messages have it."""
        return next(self._turns) % ANY

    def _sweep(self) -> None:
        """Some of them, in turn: more than come, and not so many that who drops thousands is slow."""
        for _ in range(min(len(self._dropped), 16)):
            try:
                self.drop(self._dropped.popleft())
            except IndexError:  # another thread sweeps, too
                return

    def _release(self, pointer: _api.nexar_comm) -> None:
        lib.nexar_gate_shut(byref(self.gate))
        self.cache.empty()
        lib.nexar_comm_close(pointer)
        if self._completions is not None:
            self._completions.close()
        while self._dropped:
            dropped = self._dropped.popleft()
            lib.nexar_op_close(dropped)  # waits until C has let go of its memory
            self.release(dropped)

    @property
    def completions(self) -> Completions:
        """Who awaits ops of this node."""
        if self._completions is None:
            from .aio import Completions

            with self.lock:
                if self._completions is None:
                    self._completions = Completions(self)
        return self._completions

    @property
    def default_timeout(self) -> float:
        """Seconds that a call without `timeout=` has."""
        if self._timeout is None:
            from .config import default_timeout

            self._timeout = default_timeout()
        return self._timeout
