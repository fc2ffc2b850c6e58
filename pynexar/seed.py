"""The seed of a job.  (Apart from node.py, so that launchers load little.)"""

from __future__ import annotations

import time

from . import errors
from ._ffi import _api, lib
from ._ffi.call import check, index, nanoseconds, short_text, usage
from ._handle import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config

__all__ = ["Seed"]

_SLICE_NS = 200_000_000  # of a wait, between two looks for signals


class Seed(Handle):
    """Where the ranks of a job meet.  Serves in the background from its creation until it is closed; has no rank.

    A context manager.  A job that has formed goes on without it.

    Args:
        address: where to listen: "0.0.0.0:7000", "[::]:0"; port 0: any
        world_size: ranks of the job
        config: timeouts and addresses

    Raises:
        UsageError: no such address.
        NexarError: the address is in use.
    """

    def __init__(self, address: str, world_size: int, config: Config | None = None) -> None:
        self._address = address
        if not isinstance(address, str):
            usage(f"address is {address!r}; it must be text such as '0.0.0.0:7000'", "seed")
        world_size = index(world_size, "world_size", "seed", _api.NEXAR_ANY)
        options = None if config is None else config.to_c()
        seed = _api.nexar_seed()
        try:
            check(lib.nexar_seed_open(address.encode(), world_size, options, seed))
            super().__init__(seed)
        except BaseException:  # Ctrl-C at any point
            self.give_up(seed, lib.nexar_seed_close)
            raise

    @property
    def join_string(self) -> str:
        """All that a rank needs to join; a secret."""
        with self.lock:
            return short_text(lib.nexar_seed_join_string, self.pointer("join_string"))

    def point_to(self, join_string: str) -> None:
        """Of an elastic job that has formed: tells where its members are now, by the join string of one of them
        (Comm.join_string).  Whoever comes to this seed is sent there; until then it is to those that formed the job.

        Raises:
            UsageError: the job is not elastic, or has not formed.
            ConfigError: that is no join string.
        """
        if not isinstance(join_string, str):
            usage(f"join_string is {type(join_string).__name__}; it must be text", "point_to")
        with self.lock:
            check(lib.nexar_seed_point_to(self.pointer("point_to"), join_string.encode()))

    def wait(self, timeout: float | None = None) -> None:
        """Returns when all ranks have joined and are connected with each other.

        Raises:
            Timeout: they did not come in time; the text names the missing ones and what was heard of them.
            PeerLost: a rank gave up.
        """
        limit = _api.NEXAR_FOREVER if timeout is None else nanoseconds(timeout, "timeout", "seed.wait")
        deadline = time.monotonic_ns() + limit
        while True:
            left = max(0, deadline - time.monotonic_ns())
            if self.poll(min(left, _SLICE_NS)):
                return
            if left == 0:
                raise errors.Timeout(f"seed.wait: the job has not formed after {timeout:g} s", op="seed.wait")

    def poll(self, span: int = 0) -> bool:
        """True when the job has formed; waits at most `span` nanoseconds for it.  Raises as wait()."""
        mark = object()
        try:
            status = lib.nexar_seed_wait(self.begin_long_call("seed.wait", mark), span)
        finally:
            self.end_long_call(mark)
        if status in (_api.NEXAR_EAGAIN, _api.NEXAR_EINTR):
            return False
        check(status)
        return True

    def _release(self, pointer: _api.nexar_seed) -> None:
        lib.nexar_seed_close(pointer)

    def __repr__(self) -> str:
        return f"<Seed at {self._address}{', closed' if self.closed else ''}>"
