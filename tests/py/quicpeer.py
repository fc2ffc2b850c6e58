"""QUIC connections of aioquic, driven by one thread and used by any: the other side in tests of the network.

aioquic shares nothing with the library: it has its own QUIC and its own TLS.  `Driver` moves the bytes; `Link` is a
connection, with all that came on it and calls that wait for more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from cryptography import x509

PATIENCE = 20.0  # of every wait, in seconds
HOST = "127.0.0.1"
_CID = 8  # bytes of our connection ids

Address = tuple[str, int]


@dataclasses.dataclass
class Credentials:
    """What one side of TLS shows."""

    certificate: x509.Certificate
    key: Any
    chain: Sequence[x509.Certificate] = ()


def configuration(client: bool, alpn: Sequence[str], credentials: Credentials | None, **more: Any) -> QuicConfiguration:
    """Certificates are judged by the tests themselves, not by aioquic: whom they trust is part of the protocol."""
    config = QuicConfiguration(
        is_client=client,
        alpn_protocols=list(alpn),
        server_name="localhost" if client else None,
        verify_mode=ssl.CERT_NONE,
        connection_id_length=_CID,
        idle_timeout=30.0,
        **more,
    )
    if credentials is not None:
        config.certificate = credentials.certificate
        config.certificate_chain = list(credentials.chain)
        config.private_key = credentials.key
    return config


class Link:
    """One connection.  Attributes are written by the driver's thread, under its lock."""

    def __init__(self, driver: Driver, endpoint: Endpoint, quic: QuicConnection) -> None:
        self.quic = quic
        self.connected = False
        self.alpn = ""
        self.closed: events.ConnectionTerminated | None = None
        self.received: dict[int, bytearray] = {}
        self.ended: set[int] = set()  # streams that the other side has ended
        self.resets: dict[int, int] = {}  # streams that it has cut, with its code
        self.stopped: dict[int, int] = {}  # streams that it does not want to read
        self.on_data: Callable[[int, bytes, bool], None] | None = None
        self._quiet = False
        self._driver = driver
        self._endpoint = endpoint

    # --- what came ---

    def wait(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Until the condition is true; a connection that has ended before is a failure."""
        self._driver.wait(lambda: condition() or self.closed is not None, what, timeout)
        if not condition():
            raise AssertionError(f"{what} did not come, the connection has ended: {self.closed}")

    def wait_connected(self) -> None:
        self.wait(lambda: self.connected, "the end of the handshake")

    def wait_closed(self, timeout: float = PATIENCE) -> events.ConnectionTerminated:
        """How the connection ended: by the other side, or because it does not answer any more."""
        self._driver.wait(lambda: self.closed is not None, "the end of the connection", timeout)
        assert self.closed is not None
        return self.closed

    def wait_acknowledged(self) -> None:
        """Until the other side has all that was said."""

        def done() -> bool:
            streams = self.quic._streams.values()
            return all(s.sender._buffer_start == s.sender._buffer_stop for s in streams)

        self.wait(done, "acknowledgement of all that was sent")

    @property
    def certificates(self) -> list[x509.Certificate]:
        """What the other side has shown: its own, and those that came with it."""
        with self._driver.lock:
            own = self.quic.tls._peer_certificate
            return [own, *self.quic.tls._peer_certificate_chain] if own is not None else []

    # --- what is said ---

    def open(self, bidirectional: bool = False) -> int:
        """A new stream, of which the other side hears with the first byte."""
        with self._driver.lock:
            stream = self.quic.get_next_available_stream_id(is_unidirectional=not bidirectional)
            self.quic.send_stream_data(stream, b"")  # takes the number
            return stream

    def write(self, stream: int, data: bytes, end: bool = False) -> None:
        with self._driver.lock:
            self.quic.send_stream_data(stream, data, end)
            self.flush()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """What is written meanwhile leaves together."""
        with self._driver.lock:
            self._quiet = True
            yield
            self._quiet = False
            self.flush()

    def message(self, data: bytes) -> int:
        """A message on a stream of its own."""
        with self._driver.lock:
            stream = self.open()
            self.write(stream, data, end=True)
            return stream

    def reset(self, stream: int, code: int = 0) -> None:
        with self._driver.lock:
            self.quic.reset_stream(stream, code)
            self.flush()

    def close(self, code: int = 0, reason: str = "") -> None:
        with self._driver.lock:
            self.quic.close(error_code=code, reason_phrase=reason)
            self.flush()

    def flush(self) -> None:
        if not self._quiet:
            self._driver.transmit(self, self._endpoint)

    def forget(self) -> None:
        """The process of this side has died: nothing more is said, not even good-bye."""
        with self._driver.lock:
            self._driver.drop(self._endpoint)

    # --- for the driver ---

    def take(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.HandshakeCompleted):
            self.connected = True
            self._endpoint.ready.append(self)
            self.alpn = event.alpn_protocol or ""
        elif isinstance(event, events.StreamDataReceived):
            if self.on_data is not None:
                self.on_data(event.stream_id, event.data, event.end_stream)
            else:
                self.received.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.end_stream:
                self.ended.add(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, events.StopSendingReceived):
            self.stopped[event.stream_id] = event.error_code
        elif isinstance(event, events.ConnectionTerminated):
            self.closed = event


class Endpoint:
    """A UDP socket with the connections on it."""

    def __init__(self, server: QuicConfiguration | None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((HOST, 0))
        self.socket.setblocking(False)
        self.address: Address = self.socket.getsockname()
        self.server = server
        self.accepted: list[Link] = []
        self.ready: list[Link] = []  # those whose handshake is done, in that order
        self.links: dict[bytes, Link] = {}  # by connection id

    def all(self) -> list[Link]:
        return list({id(link): link for link in self.links.values()}.values())


class Driver:
    """The thread that reads, keeps time and writes.  A context manager."""

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._endpoints: list[Endpoint] = []
        self._failure: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, name="quicpeer")
        self._thread.start()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            for endpoint in self._endpoints:
                for link in endpoint.all():
                    link.close()
            self._over = True
        self._rouse()
        self._thread.join()
        for endpoint in self._endpoints:
            endpoint.socket.close()
        self._selector.close()
        self._wake.close()
        self._woken.close()
        if self._failure is not None:
            raise self._failure

    def dial(self, to: Address, alpn: Sequence[str], credentials: Credentials | None = None, **more: Any) -> Link:
        """Begins to connect."""
        quic = QuicConnection(configuration=configuration(True, alpn, credentials, **more))
        with self.lock:
            endpoint = self._new_endpoint(None)
            link = Link(self, endpoint, quic)
            endpoint.links[b""] = link
            quic.connect(to, now=time.monotonic())
            link.flush()
        return link

    def listen(self, alpn: Sequence[str], credentials: Credentials, **more: Any) -> Endpoint:
        """Takes connections, and asks each for its certificate."""
        with self.lock:
            return self._new_endpoint(configuration(False, alpn, credentials, **more))

    def accepted(self, endpoint: Endpoint, number: int, timeout: float = PATIENCE) -> Link:
        """The connection that was set up as the number-th."""

        self.wait(lambda: len(endpoint.ready) > number, f"call number {number}", timeout)
        return endpoint.ready[number]

    def wait(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        with self.lock:
            fine = self.lock.wait_for(lambda: self._failure is not None or condition(), timeout)
            if self._failure is not None:
                raise AssertionError("the peer itself failed") from self._failure
        if not fine:
            raise AssertionError(f"{what} did not come within {timeout} s")

    # --- the thread ---

    def _rouse(self) -> None:
        try:
            self._wake.send(b"\0")
        except BlockingIOError:  # it has been told often enough
            pass

    def _new_endpoint(self, server: QuicConfiguration | None) -> Endpoint:
        endpoint = Endpoint(server)
        self._endpoints.append(endpoint)
        self._selector.register(endpoint.socket, selectors.EVENT_READ, endpoint)
        self._rouse()
        return endpoint

    def drop(self, endpoint: Endpoint) -> None:
        self._selector.unregister(endpoint.socket)
        self._endpoints.remove(endpoint)
        endpoint.socket.close()

    def transmit(self, link: Link, endpoint: Endpoint) -> None:
        if endpoint.socket.fileno() < 0:
            return
        for data, to in link.quic.datagrams_to_send(now=time.monotonic()):
            try:
                endpoint.socket.sendto(data, to)
            except (BlockingIOError, ConnectionError):  # as if it were lost
                pass
        if threading.current_thread() is not self._thread:
            self._rouse()  # its timer may have changed

    def _run(self) -> None:
        try:
            while not self._over:
                ready = self._selector.select(self._pause())
                with self.lock:
                    for key, _ in ready:
                        if key.data is None:
                            self._woken.recv(4096)
                        elif key.data in self._endpoints:
                            self._read(key.data)
                    self._step()
                    self.lock.notify_all()
        except BaseException as error:
            with self.lock:
                self._failure = error
                self.lock.notify_all()

    def _pause(self) -> float:
        with self.lock:
            timers = [link.quic.get_timer() for endpoint in self._endpoints for link in endpoint.all()]
        now = time.monotonic()
        return max(0.0, min((timer - now for timer in timers if timer is not None), default=60.0))

    def _read(self, endpoint: Endpoint) -> None:
        while True:
            try:
                data, source = endpoint.socket.recvfrom(65536)
            except (BlockingIOError, ConnectionError):
                return
            link = self._route(endpoint, data)
            if link is not None:
                link.quic.receive_datagram(data, source, now=time.monotonic())

    def _route(self, endpoint: Endpoint, data: bytes) -> Link | None:
        if endpoint.server is None:
            return endpoint.links[b""]
        header = pull_quic_header(Buffer(data=data), host_cid_length=_CID)
        link = endpoint.links.get(header.destination_cid)
        if link is None and header.packet_type == QuicPacketType.INITIAL:
            quic = QuicConnection(
                configuration=endpoint.server, original_destination_connection_id=header.destination_cid
            )
            _ask_for_certificate(quic)
            link = Link(self, endpoint, quic)
            endpoint.links[header.destination_cid] = endpoint.links[quic.host_cid] = link
            endpoint.accepted.append(link)
        return link

    def _step(self) -> None:
        now = time.monotonic()
        for endpoint in self._endpoints:
            for link in endpoint.all():
                timer = link.quic.get_timer()
                if timer is not None and timer <= now:
                    link.quic.handle_timer(now=now)
                while (event := link.quic.next_event()) is not None:
                    if isinstance(event, events.ConnectionIdIssued) and endpoint.server is not None:
                        endpoint.links[event.connection_id] = link
                    link.take(event)
                self.transmit(link, endpoint)


def _ask_for_certificate(quic: QuicConnection) -> None:
    """aioquic can, but has no public way to say so."""
    initialize = quic._initialize

    def and_ask(peer_cid: bytes) -> None:
        initialize(peer_cid)
        quic.tls._request_client_certificate = True

    quic._initialize = and_ask  # type: ignore[method-assign]
