"""What a communicator does when it has lost a rank: nothing by itself, heal, or end."""

from __future__ import annotations

import enum
import functools
import inspect
import threading
from typing import Any

from . import errors
from ._ffi.call import usage
from .collectives import Collectives, CollectivesNb
from .comm import Comm, NonBlocking
from .groups import Groups
from .objects import Objects, ObjectsNb
from .p2p import P2p, P2pNb
from .rpc import Rpc, RpcNb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RecoveryPolicy"]


class RecoveryPolicy(enum.Enum):
    """Config.recovery: what the communicator that init() returns does when it has lost a rank.

    Attributes:
        MANUAL: calls that need the rank raise PeerLost; the program shrinks the communicator, or ends.  The default
        AUTOMATIC: the call that fails raises PeerLost once, and the next one runs on the ranks that are left: the
            communicator shrinks itself, and its rank and size are others then
        ABORT: the call that fails raises PeerLost, and so does every later one, at once
    """

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    ABORT = "abort"


def policy_of(value: Any) -> RecoveryPolicy:
    """Of a member of the enumeration, or its value.

    Raises:
        UsageError: it is none.
    """
    try:
        return RecoveryPolicy(value)
    except ValueError:
        words = ", ".join(repr(policy.value) for policy in RecoveryPolicy)
        usage(f"config.recovery is {value!r}; it must be a RecoveryPolicy, or {words}", "init")


def obey(comm: Comm, value: Any) -> None:
    """From now on it does what the policy says."""
    policy = policy_of(value)
    if policy is not RecoveryPolicy.MANUAL:
        comm.__class__ = Healing if policy is RecoveryPolicy.AUTOMATIC else Aborting
        comm.__dict__.update(mending=threading.RLock(), former=[])
        comm.nb = GuardedNb(comm)


class GuardedNb(NonBlocking):
    """`comm.nb` of a communicator that looks before each call whether it has lost somebody."""


class Guarded(Comm):
    """A communicator that looks before each call whether it has lost somebody, and notes it when one fails so."""

    policy: RecoveryPolicy
    lost: errors.NexarError | None = None
    mending: threading.RLock  # held while it is made good
    former: list[Comm]  # what it was before; closed with it, since other threads may be in calls of them

    def before(self) -> None:
        """Raises, or makes it good, if it has."""
        raise NotImplementedError

    def note(self, error: errors.NexarError) -> None:
        """A call has failed.  That of an operation that began before it was made good is no news."""
        is_loss = isinstance(error, errors.PeerLost) and not isinstance(error, errors.QuorumLost)
        if is_loss and self.lost is None and error.comm in (0, None, self.id):
            self.lost = error

    def elastic_checkpoint(self, *, timeout: float | None = None) -> Comm:
        """See Comm.elastic_checkpoint.  What it returns has the same policy."""
        self.before()
        try:
            made = super().elastic_checkpoint(timeout=timeout)
        except errors.PeerLost as error:
            self.note(error)
            raise
        if made is not self:
            obey(made, self.policy)
        return made

    def close(self) -> None:
        """See Comm.close."""
        super().close()
        while self.former:
            self.former.pop().close()


# What is another communicator's when one is made good; all else, as its lock and the ops in flight, stays.
_OTHERS = ("_pointer", "rank", "size", "id", "gate", "cache", "made", "_peers", "_turns", "_completions", "_desk")


class Healing(Guarded):
    """See RecoveryPolicy.AUTOMATIC.

    What was made from it (split, dup, prepared calls) stays with the ranks that it was made of, and fails with them.
    Functions that were registered are registered again.
    """

    policy = RecoveryPolicy.AUTOMATIC

    def before(self) -> None:
        with self.mending:
            if self.lost is None:
                return
            made = Comm.shrink(self)
            desk = self._desk
            with self.lock, made.lock:
                for part in _OTHERS:
                    ours, theirs = getattr(self, part), getattr(made, part)
                    setattr(self, part, theirs)
                    setattr(made, part, ours)
            self.former.append(made)
            if desk is not None:
                for name, cookie in list(desk.by_name.items()):
                    Comm.register(self, name, desk.functions[cookie][1])
            self.lost = None

    def shrink(self, *, timeout: float | None = None) -> Comm:
        """Makes it good now, if a rank is gone, and returns it; `timeout` is the communicator's default."""
        if timeout is not None:
            usage("this communicator shrinks itself; its timeout is Config.timeout", "shrink")
        gone = self.failures()
        if self.lost is None and gone:
            self.lost = errors.PeerLost(f"shrink: rank {gone[0].rank} is gone", op="shrink", peer=gone[0].rank)
        self.before()
        return self


class Aborting(Guarded):
    """See RecoveryPolicy.ABORT."""

    policy = RecoveryPolicy.ABORT

    def before(self) -> None:
        if self.lost is not None:
            raise errors.PeerLost(
                f"the communicator has ended with a rank: {self.lost}", op=self.lost.op, peer=self.lost.peer
            )


def _blocking(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Guarded, *arguments: Any, **named: Any) -> Any:
        self.before()
        try:
            return method(self, *arguments, **named)
        except errors.PeerLost as error:
            self.note(error)
            raise

    return call


def _starting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: GuardedNb, *arguments: Any, **named: Any) -> Any:
        comm: Any = self._comm
        comm.before()
        try:
            return method(self, *arguments, **named)
        except errors.PeerLost as error:  # else its op notes it: Op._outcome
            comm.note(error)
            raise

    return call


def _guard(target: type, source: type, wrap: Callable[..., Any]) -> None:
    """All public calls that `source` has."""
    for owner in source.__mro__:
        for name, method in vars(owner).items():
            if not name.startswith("_") and inspect.isfunction(method) and name not in vars(target):
                setattr(target, name, wrap(method))


for _source in (Collectives, P2p, Objects, Rpc, Groups):
    _guard(Guarded, _source, _blocking)
for _source_nb in (CollectivesNb, P2pNb, ObjectsNb, RpcNb):
    _guard(GuardedNb, _source_nb, _starting)
Guarded.agree = _blocking(Comm.agree)  # type: ignore[method-assign]
Guarded.leave = _blocking(Comm.leave)  # type: ignore[method-assign]
Guarded.hand_over = _blocking(Comm.hand_over)  # type: ignore[method-assign]
