"""What can go wrong, by what the caller can do about it.

Every error is a NexarError; its text names the operation, its sequence number, the communicator and the rank that it
waited for, and says what to do.  The same facts are in its attributes.
"""

from __future__ import annotations

from ._ffi import _api

TYPE_CHECKING = False  # without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AuthError",
    "Cancelled",
    "Closed",
    "ConfigError",
    "Mismatch",
    "NexarError",
    "PeerLost",
    "QuorumLost",
    "RemoteError",
    "ResourceError",
    "Timeout",
    "UsageError",
]


class NexarError(Exception):
    """Something that nexar was asked to do could not be done.

    Attributes:
        code: the status of the C library, such as -5 (ETIMEDOUT); its name is `code_name`
        op: what was called ("all_reduce"), or ""
        comm: id of the communicator, or None
        seq: number of the operation on that communicator, or None
        peer: the rank to blame, or None
        elapsed: seconds since the operation began
        hint: what to do about it, or ""
    """

    default_code = _api.NEXAR_ESYSTEM

    def __init__(
        self,
        text: str,
        *,
        code: int | None = None,
        op: str = "",
        comm: int | None = None,
        seq: int | None = None,
        peer: int | None = None,
        elapsed: float = 0.0,
        hint: str = "",
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = self.default_code if code is None else code
        self.op = op
        self.comm = comm
        self.seq = seq
        self.peer = peer
        self.elapsed = elapsed
        self.hint = hint

    @property
    def code_name(self) -> str:
        """Name of the status in C: "ETIMEDOUT" and its like."""
        return _CODE_NAMES.get(self.code, "?")

    def __str__(self) -> str:
        return f"{self.text}; {self.hint}" if self.hint else self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.text, {**self.__dict__})


class PeerLost(NexarError):  # noqa: N818
    """A rank is gone: its process died, its host cannot be reached, or it has left."""

    default_code = _api.NEXAR_EPEER

    @property
    def rank(self) -> int | None:
        """The rank that was lost; the same as `peer`."""
        return self.peer


class QuorumLost(PeerLost):
    """Too few members are in reach to agree who is left: the others may have gone on, and this rank may not."""

    default_code = _api.NEXAR_EQUORUM


class Timeout(NexarError, TimeoutError):  # noqa: N818
    """The deadline passed; `peer` is the rank that never came, where that is known."""

    default_code = _api.NEXAR_ETIMEDOUT


class Mismatch(NexarError):  # noqa: N818
    """Ranks called different things; the text names both."""

    default_code = _api.NEXAR_EMISMATCH


class AuthError(NexarError):
    """Token, secret or certificate were not accepted, by us or by the other side."""

    default_code = _api.NEXAR_EAUTH


class Closed(NexarError):  # noqa: N818
    """The communicator was closed here, before or during the call, or aborted by a rank, which is `peer` then."""

    default_code = _api.NEXAR_ECLOSED


class Cancelled(NexarError):  # noqa: N818
    """The operation was cancelled, here or on another rank."""

    default_code = _api.NEXAR_ECANCELLED


class UsageError(NexarError, ValueError):
    """A wrong argument or a call in the wrong place.  Nothing was sent, and the communicator is as it was."""

    default_code = _api.NEXAR_EINVAL


class ConfigError(NexarError):
    """The configuration, the environment or the join string is wrong."""

    default_code = _api.NEXAR_ECONFIG


class ResourceError(NexarError):
    """Memory, or a limit that was configured, ran out."""

    default_code = _api.NEXAR_ENOMEM


class RemoteError(NexarError):
    """The function of another rank, `peer`, that was called is not there, or has failed.

    Attributes:
        traceback: the traceback of that rank, or whatever else it had to say beside the text; may be ""
    """

    default_code = _api.NEXAR_EREMOTE
    traceback: str = ""


_CODE_NAMES = {
    value: name[len("NEXAR_") :]
    for name, value in vars(_api).items()
    if name.startswith("NEXAR_") and isinstance(value, int) and (name == "NEXAR_OK" or name[6] == "E") and value <= 0
}

_CLASSES: dict[int, type[NexarError]] = {
    _api.NEXAR_EINVAL: UsageError,
    _api.NEXAR_EMSGSIZE: UsageError,
    _api.NEXAR_ENOTSUP: UsageError,
    _api.NEXAR_EDEADLK: UsageError,
    _api.NEXAR_EFORK: UsageError,
    _api.NEXAR_ENOMEM: ResourceError,
    _api.NEXAR_EREMOTE: RemoteError,
    _api.NEXAR_ETIMEDOUT: Timeout,
    _api.NEXAR_ECANCELLED: Cancelled,
    _api.NEXAR_ECLOSED: Closed,
    _api.NEXAR_EPEER: PeerLost,
    _api.NEXAR_EMISMATCH: Mismatch,
    _api.NEXAR_EAUTH: AuthError,
    _api.NEXAR_ECONFIG: ConfigError,
    _api.NEXAR_EPROTO: NexarError,
    _api.NEXAR_ESYSTEM: NexarError,
    _api.NEXAR_EQUORUM: QuorumLost,
}


def class_of(code: int) -> type[NexarError]:
    """The class that stands for a status of the C library."""
    return _CLASSES.get(code, NexarError)


def _rebuild(cls: type[NexarError], text: str, attributes: dict[str, Any]) -> NexarError:
    error = cls(text)
    error.__dict__.update(attributes)
    return error
