"""Collectives and messages between processes over QUIC.

    import numpy as np, pynexar as nx

    with nx.init() as comm:
        y = comm.all_reduce(np.full(1024, comm.rank, np.float32))

Every name is loaded when it is first used, so that importing this package costs little.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._launch import launch
    from .cluster import Agreed, Failure, FailureWatch
    from .comm import Comm
    from .compression import BFloat16, Compression, Float8, Int8, RandomK, TopK
    from .config import Config
    from .conn import PeerConnection
    from .errors import (
        AuthError,
        Cancelled,
        Closed,
        ConfigError,
        Mismatch,
        NexarError,
        PeerLost,
        QuorumLost,
        RemoteError,
        ResourceError,
        Timeout,
        UsageError,
    )
    from .node import LocalCluster, init, local_cluster
    from .op import Op, wait_all, wait_any
    from .p2p import ANY, Status
    from .policy import RecoveryPolicy
    from .rpc import Request, current_request
    from .seed import Seed

    __version__: str

__all__ = [
    "ANY",
    "Agreed",
    "AuthError",
    "BFloat16",
    "Cancelled",
    "Closed",
    "Comm",
    "Compression",
    "Config",
    "ConfigError",
    "Failure",
    "FailureWatch",
    "Float8",
    "Int8",
    "LocalCluster",
    "Mismatch",
    "NexarError",
    "Op",
    "PeerConnection",
    "PeerLost",
    "QuorumLost",
    "RandomK",
    "RecoveryPolicy",
    "RemoteError",
    "Request",
    "ResourceError",
    "Seed",
    "Status",
    "Timeout",
    "TopK",
    "UsageError",
    "__version__",
    "current_request",
    "init",
    "launch",
    "local_cluster",
    "wait_all",
    "wait_any",
]

_HOMES = {
    "cluster": "Agreed Failure FailureWatch",
    "comm": "Comm",
    "compression": "BFloat16 Compression Float8 Int8 RandomK TopK",
    "config": "Config",
    "conn": "PeerConnection",
    "errors": "AuthError Cancelled Closed ConfigError Mismatch NexarError PeerLost QuorumLost RemoteError "
    "ResourceError Timeout UsageError",
    "_launch": "launch",
    "node": "LocalCluster init local_cluster",
    "policy": "RecoveryPolicy",
    "op": "Op wait_all wait_any",
    "p2p": "ANY Status",
    "rpc": "Request current_request",
    "seed": "Seed",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from ._ffi import lib

        value: Any = (lib.nexar_version() or b"").decode()
    elif name in _HOME:
        from importlib import import_module

        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
