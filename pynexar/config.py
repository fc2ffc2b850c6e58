"""What can be set from Python; the rest of the world sets it by the environment."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from ctypes import byref, c_char_p, c_uint64, sizeof
from typing import Any

from . import errors
from ._ffi import _api, lib
from ._ffi.call import index, last_error, nanoseconds, text, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .policy import RecoveryPolicy

__all__ = ["Config"]


@dataclasses.dataclass
class Config:
    """Settings of a job; None: as the environment variable NEXAR_<FIELD> says, else the default.

    Times are seconds, sizes are bytes.  `nexar info` lists all settings with their defaults and ranges.

    Attributes:
        rank: wanted rank
        world_size: ranks of the job
        local_rank: rank among those of this host
        local_size: ranks on this host
        join: join string of the seed, "nexar://host:port?token=...&ca=sha256:..."
        secret: shared secret of at least 128 bits, instead of a join string
        bind: address to listen on, without a port
        interface: network interfaces to use: "eth0", "^lo,docker", "=eth0"
        advertise: address to tell the others
        transports: "auto", or names of transports, best first, as text or as a list
        timeout: deadline of every operation that is given none; math.inf: none
        join_timeout: deadline for all ranks to be connected with each other
        heartbeat: silence after which a peer is asked for a sign of life
        peer_timeout: unanswered time after which a peer is lost
        linger: how long closing may wait for receivers
        spin: how long a blocked caller polls before it sleeps
        small_bytes: messages up to this size share one stream
        lane_bytes: unread bytes after which one key of a lane holds back its sender
        lane_messages: unread messages after which one key of a lane holds back its sender
        unread_bytes: unread bytes of one peer in all lanes
        connection_window: QUIC flow control window of a connection
        stream_window: QUIC flow control window of a stream
        dump_dir: folder for dumps of the flight recorder, written when a collective fails and on SIGUSR1
        modules: files of other transports, as text with colons or as a list
        recovery_timeout: how long too few members may be in reach before that is an error
        rpc_threads: threads that handle calls, of each communicator with functions
        rpc_queue: calls that wait for a thread before their senders are held back
        elastic: ranks may join and leave after the job has formed; see Comm.elastic_checkpoint
        min_world: of an elastic job: with fewer ranks a checkpoint waits for others to join
        max_world: of an elastic job: with so many ranks nobody joins
        recovery: what init()'s communicator does when it has lost a rank: a RecoveryPolicy, or its name
    """

    rank: int | None = None
    world_size: int | None = None
    local_rank: int | None = None
    local_size: int | None = None
    join: str | None = dataclasses.field(default=None, repr=False)
    secret: str | None = dataclasses.field(default=None, repr=False)
    bind: str | None = None
    interface: str | None = None
    advertise: str | None = None
    transports: str | list[str] | tuple[str, ...] | None = None
    timeout: float | None = None
    join_timeout: float | None = None
    heartbeat: float | None = None
    peer_timeout: float | None = None
    linger: float | None = None
    spin: float | None = None
    small_bytes: int | None = None
    lane_bytes: int | None = None
    lane_messages: int | None = None
    unread_bytes: int | None = None
    connection_window: int | None = None
    stream_window: int | None = None
    dump_dir: str | os.PathLike[str] | None = None
    modules: str | list[str] | tuple[str, ...] | None = None
    recovery_timeout: float | None = None
    rpc_threads: int | None = None
    rpc_queue: int | None = None
    elastic: bool | None = None
    min_world: int | None = None
    max_world: int | None = None
    recovery: RecoveryPolicy | str | None = None

    def to_c(self) -> _api.nexar_config:
        """The struct of C.  It borrows nothing: its texts are its own.

        Raises:
            UsageError: a value of the wrong type, or one that a field cannot hold.
        """
        out = _api.nexar_config(size=sizeof(_api.nexar_config))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name not in _NOT_OF_C:
                name = field_of(field.name)
                setattr(out, name, _to_c(value, f"config.{field.name}", name))
        return out


def merged(config: Config | None, join: str | None, timeout: float | None, elastic: bool | None) -> Config:
    """What the arguments of init() say.

    Raises:
        UsageError: `config` is something else.
    """
    config = Config() if config is None else config
    if not isinstance(config, Config):
        usage(f"config is {config!r}; it must be a nexar.Config", "init")
    if join is not None:
        config = dataclasses.replace(config, join=join)
    if timeout is not None:
        config = dataclasses.replace(config, join_timeout=timeout)
    if elastic is not None:
        config = dataclasses.replace(config, elastic=elastic)
    return config


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of the library's table of settings."""

    name: str  # in Config; "" if only the environment sets it
    variable: str
    unit: str
    default: str
    range: str
    help: str


_C_FIELDS: dict[str, Any] = dict(_api.nexar_config._fields_)
_NOT_OF_C = ("recovery",)
_OTHER_NAMES = {"rank": "rank_plus_one", "local_rank": "local_rank_plus_one", "interface": "interface_"}


def field_of(name: str) -> str:
    """Field of nexar_config for one of Config."""
    return _OTHER_NAMES.get(name, name if name in _C_FIELDS else f"{name}_ns")


def name_of(field: str) -> str:
    """Field of Config for one of nexar_config."""
    return field.removesuffix("_ns").removesuffix("_plus_one").removesuffix("_")


def settings() -> list[Setting]:
    """Everything that can be set."""
    rows: list[Setting] = []
    row = _api.nexar_config_field(size=sizeof(_api.nexar_config_field))
    while lib.nexar_config_describe(len(rows), byref(row)) == _api.NEXAR_OK:
        texts = (row.name, row.variable, row.unit, row.fallback, row.range, row.help)
        name, *others = ((text or b"").decode() for text in texts)
        rows.append(Setting(name_of(name), *others))
    return rows


def environment() -> tuple[dict[str, Any], errors.NexarError | None]:
    """What the environment says about the job and every setting, and what is wrong with it, if anything is."""
    wrong: list[errors.NexarError] = []

    def ask(buffer: Any, capacity: int, need: Any) -> int:
        status = lib.nexar_environment(buffer, capacity, need)
        if status != _api.NEXAR_ECONFIG:
            return status
        wrong.append(last_error())  # the text is there nevertheless
        return _api.NEXAR_OK

    found: dict[str, Any] = json.loads(text(ask))
    return found, wrong[-1] if wrong else None


def default_timeout() -> float:
    """Seconds that an operation has if neither Config nor the call says how many."""
    rows = environment()[0]["settings"]
    value = next(row["value"] for row in rows if row["name"] == "timeout_ns")
    return math.inf if value is None or isinstance(value, str) else float(value)


def _to_c(value: Any, name: str, field: str) -> int | bytes:
    """A value as its field of nexar_config has it."""
    if field.endswith("_ns"):
        return nanoseconds(value, name)
    if _C_FIELDS[field] is c_char_p:
        if field == "modules" and isinstance(value, (list, tuple)):
            value = ":".join(map(str, value))
        if field == "transports" and isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        if field == "dump_dir" and isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or "\0" in value:
            usage(f"{name} is {value!r}; it must be text")
        return value.encode()
    if field == "elastic":
        if not isinstance(value, bool):
            usage(f"{name} is {value!r}; it must be True or False")
        return int(value)
    bits = 64 if _C_FIELDS[field] is c_uint64 else 32
    number = index(value, name, "", 1 << bits)
    return number + 1 if field.endswith("_plus_one") else number
