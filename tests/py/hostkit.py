"""Hosts made of network namespaces, with a switch between them; each is taken away after its tests.

Each has what confuses programs on real hosts: a bridge of containers, which has the same address on both.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobkit
from jobkit import Start


class Host:
    """A network namespace."""

    def __init__(self, name: str, number: int, start: Start) -> None:
        self.name = name
        self.four = f"10.77.0.{number}"
        self.six = f"fd77::{number}"
        self._start = start

    def start(self, *command: str, **more: Any) -> jobkit.Process:
        return self._start("ip", "netns", "exec", self.name, *command, **more)

    def start_apart(self, *command: str, **more: Any) -> jobkit.Process:
        """With a /dev/shm that no other host sees: what this starts shares memory, as on a real host."""
        own = 'mount -t tmpfs shm /dev/shm && exec "$@"'
        return self.start("unshare", "-m", "sh", "-c", own, "sh", *command, **more)

    def sent(self, interface: str) -> int:
        """Bytes that have left by it."""
        command = ["ip", "-n", self.name, "-json", "-s", "link", "show", interface]
        shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return int(shown[0]["stats64"]["tx"]["bytes"])


def ip(*words: str) -> None:
    result = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PermissionError(f"ip {' '.join(words)}: {result.stderr.strip()}")


def namespaces() -> Iterator[list[str]]:
    """For a fixture: two hosts and, last, the switch, which knows them as host1 and host2."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip (iproute2)")
    names = [f"nexar-test-{os.getpid()}-{what}" for what in ("1", "2", "switch")]
    switch = names[2]
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "switch", "up", "type", "bridge", "mcast_snooping", "0")
        ip("-n", switch, "link", "add", "second", "up", "type", "bridge", "mcast_snooping", "0")
        for number, name in enumerate(names[:2], 1):
            port = f"host{number}"
            ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
            ip("-n", switch, "link", "set", port, "up", "master", "switch")
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            ip("-n", name, "addr", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "add", "eth1", "type", "veth", "peer", "name", f"second{number}", "netns", switch)
            ip("-n", switch, "link", "set", f"second{number}", "up", "master", "second")
            ip("-n", name, "addr", "add", f"10.78.0.{number}/24", "dev", "eth1")
            ip("-n", name, "link", "add", "docker0", "up", "type", "bridge")
            ip("-n", name, "addr", "add", "172.17.0.1/16", "dev", "docker0")
        yield names
    except PermissionError as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    finally:
        for name in made:
            ip("netns", "del", name)


def launch(hosts: list[Host], script: Path, *options: str, apart: bool = False, **more: Any) -> list[jobkit.Process]:
    """`nexar run` of two ranks on both, the second with the first one's join string."""
    arguments = ("run", "-n", "2", "--nnodes", "2")
    starts = [host.start_apart if apart else host.start for host in hosts]
    first = starts[0](*jobkit.nexar(*arguments, *options, str(script)), **more)
    first.until(lambda: "--join @FILE" in first.stderr, "the command for the other host")
    path = re.search(r"< (\S+\.join)$", first.stderr, re.MULTILINE)
    assert path is not None
    join = Path(path[1]).read_text()
    second = starts[1](*jobkit.nexar(*arguments, "--join", "-", str(script)), stdin=join, **more)
    return [first, second]
