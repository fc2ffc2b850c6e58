"""The connection to one peer, one to one with C: lanes of messages, slots for extensions.

A lane is a queue that is independent of all others; order is kept per lane and key.
"""

from __future__ import annotations

from ._ffi import _api, lib
from ._ffi.buffer import source, target
from ._ffi.call import index, short_text, usage
from .p2p import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any

    from .comm import Comm
    from .op import Op
    from .p2p import Status

__all__ = ["PeerConnection"]

_LANES = {
    name: getattr(_api, "NEXAR_LANE_" + name.upper())
    for name in ("control", "data", "rpc_request", "rpc_response", "relay")
}
_PRIORITIES = {name: getattr(_api, "NEXAR_PRIORITY_" + name.upper()) for name in ("critical", "realtime", "bulk")}
_U64 = 1 << 64


class PeerConnectionNb:
    """`PeerConnection.nb`: the same arguments, and an Op as the result."""

    def __init__(self, comm: Comm, pointer: _api.nexar_conn) -> None:
        self._comm = comm
        self._pointer = pointer

    def send_message(self, archive: Any, priority: str = "realtime", *, timeout: float | None = None) -> Op:
        """See PeerConnection.send_message."""
        key = _word(priority, _PRIORITIES, "priority", "send_message")
        return self._send("send_message", lib.nexar_conn_send_message, (key,), archive, "archive", timeout)

    def recv_message(self, lane: str, out: Any, *, timeout: float | None = None) -> Op:
        """See PeerConnection.recv_message."""
        key = _word(lane, _LANES, "lane", "recv_message")
        return self._recv("recv_message", lib.nexar_conn_recv_message, (key,), out, timeout)

    def send_raw(self, x: Any, *, timeout: float | None = None) -> Op:
        """See PeerConnection.send_raw."""
        return self._send("send_raw", lib.nexar_conn_send_raw, (), x, "x", timeout)

    def recv_raw(self, out: Any, *, timeout: float | None = None) -> Op:
        """See PeerConnection.recv_raw."""
        return self._recv("recv_raw", lib.nexar_conn_recv_raw, (), out, timeout)

    def send_raw_comm(self, comm_id: int, x: Any, *, timeout: float | None = None) -> Op:
        """See PeerConnection.send_raw_comm."""
        key = index(comm_id, "comm_id", "send_raw_comm", _U64)
        return self._send("send_raw_comm", lib.nexar_conn_send_raw_comm, (key,), x, "x", timeout)

    def recv_raw_comm(self, comm_id: int, out: Any, *, timeout: float | None = None) -> Op:
        """See PeerConnection.recv_raw_comm."""
        key = index(comm_id, "comm_id", "recv_raw_comm", _U64)
        return self._recv("recv_raw_comm", lib.nexar_conn_recv_raw_comm, (key,), out, timeout)

    def send_raw_tagged(self, tag: int, x: Any, *, timeout: float | None = None) -> Op:
        """See PeerConnection.send_raw_tagged."""
        key = index(tag, "tag", "send_raw_tagged", _U64)
        return self._send("send_raw_tagged", lib.nexar_conn_send_raw_tagged, (key,), x, "x", timeout)

    def recv_raw_tagged(self, tag: int, out: Any, *, timeout: float | None = None) -> Op:
        """See PeerConnection.recv_raw_tagged."""
        key = index(tag, "tag", "recv_raw_tagged", _U64)

        def finish(op: Op) -> Status:
            return status_of(op)._replace(tag=key)  # C has room for 32 bits of it

        return self._recv("recv_raw_tagged", lib.nexar_conn_recv_raw_tagged, (key,), out, timeout, finish)

    def _send(
        self, call: str, function: Callable[..., int], key: tuple[int, ...], x: Any, name: str, timeout: float | None
    ) -> Op:
        view = source(x, name, call)
        arguments = (*key, view.address, view.nbytes)
        return self._comm.start(call, function, arguments, timeout, view.keep, handle=self._pointer)

    def _recv(
        self,
        call: str,
        function: Callable[..., int],
        key: tuple[int, ...],
        out: Any,
        timeout: float | None,
        finish: Callable[[Op], Status] = status_of,
    ) -> Op:
        view = target(out, "out", call)
        arguments = (*key, view.address, view.nbytes, None)
        return self._comm.start(call, function, arguments, timeout, view.keep, finish=finish, handle=self._pointer)


class PeerConnection:
    """The connection to one rank; made by Comm.peer, and good until that communicator is closed.

    Its calls raise what Comm.send and Comm.recv raise.

    Attributes:
        rank: the peer's, in the world
        nb: the same calls, started and not waited for
    """

    def __init__(self, comm: Comm, pointer: _api.nexar_conn, rank: int) -> None:
        self.rank = rank
        self.nb = PeerConnectionNb(comm, pointer)
        self._comm = comm
        self._pointer = pointer
        self._extensions: dict[Hashable, Any] = {}

    def send_message(self, archive: Any, priority: str = "realtime", *, timeout: float | None = None) -> None:
        """Sends a framed message: one of the archives of the reference protocol, whose kind chooses the lane.

        `priority` ("critical", "realtime", "bulk") is written into its header, for information.
        """
        self.nb.send_message(archive, priority, timeout=timeout).complete()

    def recv_message(self, lane: str, out: Any, *, timeout: float | None = None) -> Status:
        """Receives the next framed message of a lane into `out`: the archive without its header.

        Lanes are "control", "data", "rpc_request", "rpc_response" and "relay".
        """
        status: Status = self.nb.recv_message(lane, out, timeout=timeout).complete()
        return status

    def send_raw(self, x: Any, *, timeout: float | None = None) -> None:
        """Sends bytes on the raw lane."""
        self.nb.send_raw(x, timeout=timeout).complete()

    def recv_raw(self, out: Any, *, timeout: float | None = None) -> Status:
        """Receives the next message of the raw lane."""
        status: Status = self.nb.recv_raw(out, timeout=timeout).complete()
        return status

    def send_raw_comm(self, comm_id: int, x: Any, *, timeout: float | None = None) -> None:
        """Sends bytes on the raw lane of a communicator id."""
        self.nb.send_raw_comm(comm_id, x, timeout=timeout).complete()

    def recv_raw_comm(self, comm_id: int, out: Any, *, timeout: float | None = None) -> Status:
        """Receives the next message of the raw lane of a communicator id."""
        status: Status = self.nb.recv_raw_comm(comm_id, out, timeout=timeout).complete()
        return status

    def send_raw_tagged(self, tag: int, x: Any, *, timeout: float | None = None) -> None:
        """Sends bytes on the raw lane of a tag of 64 bits."""
        self.nb.send_raw_tagged(tag, x, timeout=timeout).complete()

    def recv_raw_tagged(self, tag: int, out: Any, *, timeout: float | None = None) -> Status:
        """Receives the next message of the raw lane of a tag of 64 bits."""
        status: Status = self.nb.recv_raw_tagged(tag, out, timeout=timeout).complete()
        return status

    @property
    def remote_addr(self) -> str:
        """The peer's address: "10.0.0.7:41234" or "[::1]:41234"."""
        with self._comm.lock:
            self._comm.pointer("remote_addr")
            return short_text(lib.nexar_conn_remote_addr, self._pointer)

    @property
    def protocol(self) -> str:
        """The application protocol in use: "libnexar/1" or "nexar/1"."""
        with self._comm.lock:
            self._comm.pointer("protocol")
            return short_text(lib.nexar_conn_protocol, self._pointer)

    def add_extension(self, key: Hashable, extension: Any) -> None:
        """Puts an object of yours into the slot of `key`, where extension() finds it as long as the connection lives.

        None empties the slot.
        """
        if extension is None:
            self._extensions.pop(key, None)
        else:
            self._extensions[key] = extension

    def extension(self, key: Hashable) -> Any:
        """The object in the slot of `key`, or None."""
        return self._extensions.get(key)

    def stats(self) -> dict[str, Any]:
        """What is known of this connection: `rank`, `remote_addr`, `protocol`, and the library's counters of it."""
        counters = [peer for peer in self._comm.stats().get("peers", ()) if peer["rank"] == self.rank]
        return {"rank": self.rank, "remote_addr": self.remote_addr, "protocol": self.protocol, **dict(*counters)}

    def __repr__(self) -> str:
        return f"<PeerConnection to rank {self.rank} of {self._comm!r}>"


def _word(value: str, words: dict[str, int], name: str, call: str) -> int:
    if value not in words:
        usage(f"{name} is {value!r}; it must be one of {', '.join(words)}", call)
    return words[value]
