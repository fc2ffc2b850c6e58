"""What all tests with processes share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hostkit
import jobkit
from hostkit import Host
from jobkit import Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start("program", "argument", env={...}): any process; ends with the test."""
    yield from jobkit.processes(tmp_path)


@pytest.fixture
def job(tmp_path: Path, start: Start) -> Start:
    """job(text of a script, "-n", "4", ..., arguments=[...]): nexar run."""

    def run(script: str, *options: str, arguments: tuple[str, ...] = (), **more: Any) -> jobkit.Process:
        path = tmp_path / "script.py"
        written = tmp_path / "script.new"
        written.write_text(textwrap.dedent(script))
        written.replace(path)  # as a whole: ranks of another job may be about to read it
        return start(*jobkit.nexar("run", *options, str(path), *arguments), **more)

    return run


@pytest.fixture(scope="module")
def namespaces() -> Iterator[list[str]]:
    """Two hosts and, last, the switch, which knows them as host1 and host2."""
    yield from hostkit.namespaces()


@pytest.fixture
def hosts(namespaces: list[str], start: Start) -> list[Host]:
    return [Host(name, number, start) for number, name in enumerate(namespaces[:2], 1)]
