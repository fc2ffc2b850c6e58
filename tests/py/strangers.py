"""Those who have no business in a job: handshakes that are begun and left, and datagrams that are nothing."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch

import quicpeer

LIMIT = 64 * 1024  # bytes that one of them may cost


def first_flight(address: quicpeer.Address, alpn: str, crypto: bytes | None = None) -> list[bytes]:
    """The datagrams with which a client begins; `crypto`: instead of a TLS ClientHello, well encrypted."""
    config: QuicConfiguration = quicpeer.configuration(True, [alpn], None)
    quic = QuicConnection(configuration=config)
    quic.connect(address, now=time.monotonic())
    if crypto is not None:
        sender = quic._crypto_streams[Epoch.INITIAL].sender
        sender._buffer[:] = crypto.ljust(len(sender._buffer), b"\0")[: len(sender._buffer)]
    return [data for data, _ in quic.datagrams_to_send(now=time.monotonic())]


def half_open(address: quicpeer.Address, alpn: str, count: int) -> socket.socket:
    """Begins handshakes and never answers.  While the socket is open, nobody hears that there is no one."""
    flights = [first_flight(address, alpn) for _ in range(count)]
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for flight in flights:
        for data in flight:
            sender.sendto(data, address)
    return sender


def garbage(address: quicpeer.Address, alpn: str, rng: random.Random) -> Iterator[bytes]:
    """Datagrams from pure noise to nearly good ones."""
    for size in (0, 1, 7, 20, 21, 47, 1199, 1200, 1472, 9000):
        yield rng.randbytes(size)
    for first in (0x40, 0x43, 0x7F, 0xC0, 0xD0, 0xE0, 0xF0, 0xFF, 0x00):  # short headers, long ones, no fixed bit
        for version in (0, 1, 0x6B3343CF, 0xFF00001D, 0x0A0A0A0A):
            for size in (10, 1200):
                yield bytes([first]) + version.to_bytes(4, "big") + b"\x08" + rng.randbytes(size)
    for claimed in (0, 20, 21, 255):  # lengths of connection ids
        yield b"\xc0\0\0\0\1" + bytes([claimed]) + rng.randbytes(1200)
    good = first_flight(address, alpn)[0]
    for size in (1, 6, 14, 50, 600, 1199):
        yield good[:size]
    for _ in range(40):
        at = rng.randrange(len(good))
        yield good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1 :]
    for crypto in (
        b"",
        b"\xff" * 1000,
        b"\x01\xff\xff\xff",
        b"\x01\0\0\x05hello",
        rng.randbytes(300),
        b"\x02" + bytes(99),
    ):
        yield from first_flight(address, alpn, crypto)


def throw_garbage(address: quicpeer.Address, alpn: str, seed: int = 1) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for data in garbage(address, alpn, random.Random(seed)):
            sender.sendto(data, address)
