"""Two hosts made of network namespaces, and a cable between them that can be cut, in one direction or both, and that
loses packets: a thread of the tests carries each frame from one to the other, so that nobody is told when it does not.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostkit import Host, ip
from jobkit import Start

_TUNSETIFF = 0x400454CA
_TAP, _NO_PI = 2, 0x1000
_CLONE_NEWNET = 0x40000000
_FRAME = 65536


def _tap(namespace: str, name: str) -> int:
    """The end of a new interface in a namespace, from a thread that has gone there for it."""
    opened: list[int | OSError] = []

    def make() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path("/run/netns", namespace).open("rb") as there:
                if libc.setns(there.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            try:
                fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP | _NO_PI))
            except OSError:
                os.close(end)
                raise
            opened.append(end)
        except OSError as error:
            opened.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(opened[0], OSError):
        raise opened[0]
    return opened[0]


class Cable:
    """Ends are 0 and 1.  What is set counts for each frame that comes then."""

    def __init__(self, ends: tuple[int, int]) -> None:
        self.cut = [False, False]  # nothing that this end sends arrives
        self.loss = 0.0  # how many of all frames
        self.carried = [0, 0]
        self.lost = [0, 0]
        self.random = random.Random()
        self._ends = ends
        self._end, self._ended = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="cable")
        self._thread.start()

    def cut_both(self) -> None:
        self.cut[:] = True, True

    def mend(self) -> None:
        self.cut[:] = False, False

    def close(self) -> None:
        os.write(self._ended, b"x")
        self._thread.join()
        for each in (*self._ends, self._end, self._ended):
            os.close(each)

    def _carry(self) -> None:
        poll = select.poll()
        for each in (*self._ends, self._end):
            poll.register(each, select.POLLIN)
        while True:
            ready = {each for each, _ in poll.poll()}
            if self._end in ready:
                return
            for number, end in enumerate(self._ends):
                if end in ready:
                    self._carry_from(number)

    def _carry_from(self, number: int) -> None:
        for _ in range(64):  # then the other end has its turn
            try:
                frame = os.read(self._ends[number], _FRAME)
            except BlockingIOError:
                return
            if self.cut[number] or (self.loss and self.random.random() < self.loss):
                self.lost[number] += 1
                continue
            os.write(self._ends[1 - number], frame)
            self.carried[number] += 1


def cabled(start: Start) -> Iterator[tuple[Cable, list[Host]]]:
    """For a fixture: the cable, and the hosts at its ends."""
    hosts = [Host(f"nexar-test-{os.getpid()}-cable-{number}", number, start) for number in (1, 2)]
    made: list[str] = []
    ends: list[int] = []
    cable = None
    try:
        for host in hosts:
            ip("netns", "add", host.name)
            made.append(host.name)
            ends.append(_tap(host.name, "eth0"))
            ip("-n", host.name, "link", "set", "lo", "up")
            ip("-n", host.name, "addr", "add", f"{host.four}/24", "dev", "eth0")
            ip("-n", host.name, "link", "set", "eth0", "up")
        cable = Cable((ends[0], ends[1]))
        yield cable, hosts
    except (PermissionError, FileNotFoundError) as error:
        pytest.skip(f"no hosts with a cable between them can be made here: {error}")
    finally:
        if cable is not None:
            cable.close()
        else:
            for end in ends:
                os.close(end)
        for name in made:
            ip("netns", "del", name)
