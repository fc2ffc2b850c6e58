"""Joining a job: as one of its ranks, as its seed, or as several ranks in this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from ctypes import byref, sizeof
from typing import Any, Callable, TypeVar, overload

from . import launched
from ._ffi import _api, lib
from ._ffi.call import check, index
from .comm import Comm
from .groups import close_with_all
from .seed import Seed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config

__all__ = ["LocalCluster", "Seed", "init", "local_cluster"]

T = TypeVar("T")
_SLICE_NS = 200_000_000  # of joining, between two looks for signals


def init(
    join: str | None = None, *, timeout: float | None = None, elastic: bool | None = None, config: Config | None = None
) -> Comm:
    """Joins the job and returns the communicator of all its ranks; blocks until every rank is connected with every
    other.

    Rank and seed are found in the environment: of `nexar run`, torchrun, srun, mpirun or an indexed job of Kubernetes;
    without any of them it is a job of one rank.  `nexar info` prints what was found and why.

    Args:
        join: join string of a seed, instead of the environment
        timeout: seconds for all ranks to come; the same as Config.join_timeout
        elastic: True: the job lets others join and leave, see Comm.elastic_checkpoint; if it has formed already, this
            waits for the next checkpoint of its members.  The same as Config.elastic
        config: what else is to be set from here

    Raises:
        ConfigError: the environment, the join string or the configuration is wrong.
        AuthError: token, secret or certificate were not accepted, or the rank is taken.
        Timeout: not all ranks came; the text names those that are missing.
        PeerLost: a rank, or the seed, was lost meanwhile.
    """
    options = _options(config, join, timeout, elastic)
    if config is not None and config.recovery is not None:
        from .policy import policy_of

        policy_of(config.recovery)  # before anybody waits for this rank
    launched.watch()
    joining, made = _api.nexar_joining(), _api.nexar_comm()
    comm = Comm.__new__(Comm)
    try:
        check(lib.nexar_join_start(byref(options), joining))
        while True:
            status = lib.nexar_join_wait(joining, _SLICE_NS, made)
            if status not in (_api.NEXAR_EAGAIN, _api.NEXAR_EINTR):
                break
        check(status)
        Comm.__init__(comm, made, None if config is None else config.timeout)
        if config is not None and config.recovery is not None:
            from .policy import obey

            obey(comm, config.recovery)
        return comm
    except BaseException:  # Ctrl-C at any point
        comm.give_up(made, lib.nexar_comm_close)
        raise
    finally:
        lib.nexar_join_close(joining)


def _options(
    config: Config | None, join: str | None = None, timeout: float | None = None, elastic: bool | None = None
) -> _api.nexar_config:
    """What C is told.  Where nothing is set from here, config.py, which is dear to load, is not."""
    if config is None and join is None and timeout is None and elastic is None:
        return _api.nexar_config(size=sizeof(_api.nexar_config))
    from .config import merged

    return merged(config, join, timeout, elastic).to_c()


class LocalCluster(Sequence[Comm]):
    """The communicators of a job whose ranks are all in this process; a sequence and a context manager."""

    def __init__(self, comms: Sequence[Comm]) -> None:
        self._comms = tuple(comms)

    @overload
    def __getitem__(self, position: int) -> Comm: ...

    @overload
    def __getitem__(self, position: slice) -> Sequence[Comm]: ...

    def __getitem__(self, position: Any) -> Any:
        return self._comms[position]

    def __len__(self) -> int:
        return len(self._comms)

    def run(self, fn: Callable[..., T], *args: Any) -> list[T]:
        """Calls `fn(comm, *args)` for every rank, each in a thread of its own, and returns the results by rank.

        Raises:
            Exception: the first that one of them raised; that rank leaves the job then, so that no other waits on.
        """
        results: list[Any] = [None] * len(self)
        failures: list[BaseException] = []

        def call(comm: Comm) -> None:
            try:
                results[comm.rank] = fn(comm, *args)
            except BaseException as error:
                if hasattr(error, "add_note"):  # since Python 3.11
                    error.add_note(f"in rank {comm.rank} of {len(self)}")
                failures.append(error)
                close_with_all(comm)

        _in_threads(call, self._comms)
        if failures:
            raise failures[0]
        return results

    def close(self) -> None:
        """Closes them all, at the same time."""
        _in_threads(Comm.close, [comm for comm in self._comms if not comm.closed])

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalCluster of {len(self)}>"


def local_cluster(n: int, config: Config | None = None) -> LocalCluster:
    """Starts a job of `n` ranks inside this process, for notebooks and tests.

    Each communicator is meant to be used by a thread of its own:

        with nexar.local_cluster(4) as comms:
            sums = comms.run(lambda comm: comm.all_reduce(numpy.ones(3)))

    Raises:
        NexarError: as init().
    """
    n = index(n, "n", "local_cluster", 1 << 16)
    options = _options(config)
    comms = (_api.nexar_comm * max(n, 1))()
    check(lib.nexar_local_cluster(n, byref(options), comms))
    timeout = None if config is None else config.timeout
    return LocalCluster([Comm(_api.nexar_comm(comm.value), timeout) for comm in comms])


def _in_threads(fn: Callable[[Comm], Any], comms: Sequence[Comm]) -> None:
    threads = [threading.Thread(target=fn, args=(comm,), name=f"rank {comm.rank}") for comm in comms]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl-C: what they wait for ends
        for comm in comms:
            threading.Thread(target=close_with_all, args=(comm,)).start()
        for thread in threads:
            thread.join()
        raise
