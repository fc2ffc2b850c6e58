"""Ranks in processes of their own that do what a test says, line by line."""

from __future__ import annotations

import ast
import json
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobkit

PATIENCE = 20.0

# Reads lines of Python.  What has no literal comes back as its repr.
_MAIN = """
import ast, json, sys
import numpy as np, pynexar as nx
names = {"nx": nx, "np": np}
print(repr(("fine", "ready")), flush=True)
for line in sys.stdin:
    try:
        code = json.loads(line)
        try:
            code = compile(code, "test", "eval")
        except SyntaxError:
            exec(code, names)
            result = ("fine", None)
        else:
            result = ("fine", eval(code, names))
            try:
                ast.literal_eval(repr(result))
            except ValueError:
                result = ("fine", repr(result[1]))
    except Exception as error:
        result = ("raised", (type(error).__name__, str(error), getattr(error, "peer", None)))
    print(repr(result), flush=True)
"""


class Raised(Exception):  # noqa: N818
    """What the rank's code raised."""

    def __init__(self, name: str, text: str, peer: int | None) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text
        self.peer = peer


class Rank:
    """A process.  `begin` starts a line, `end` gives its value; `do` is both."""

    def __init__(self, folder: Path, name: str, **environment: str) -> None:
        self.log = folder / f"{name}.log"
        path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN],
                env=jobkit.clean_environment(**{"NEXAR_LOG": "info", **path, **environment}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.pid = self.process.pid
        self._answers: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read, name=name)
        self._thread.start()
        self.busy = True  # an answer has not come yet
        self.end()

    def begin(self, code: str) -> None:
        assert self.process.stdin is not None
        self.busy = True
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def end(self, timeout: float = PATIENCE) -> Any:
        """Raises what the code raised, as Raised."""
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"no answer within {timeout} s; the log:\n{self.log.read_text()}") from None
        assert answer, f"the process has ended; the log:\n{self.log.read_text()}"
        self.busy = False
        outcome, value = ast.literal_eval(answer)
        if outcome == "raised":
            raise Raised(*value)
        return value

    def do(self, code: str, timeout: float = PATIENCE) -> Any:
        self.begin(code)
        return self.end(timeout)

    def resident(self) -> int:
        """Bytes of memory that the process has."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def logged(self) -> int:
        """How long the log is: what comes next is behind."""
        return self.log.stat().st_size

    def until_logged(self, words: str, since: int = 0, timeout: float = 10.0) -> str:
        """Waits for a line that matches, and gives it."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.log.read_bytes()[since:].decode(errors="replace")
            line = next((line for line in text.splitlines() if re.search(words, line)), None)
            if line is not None:
                return line
            assert time.monotonic() < deadline, f"{words!r} was not logged within {timeout} s; the log:\n{text}"
            time.sleep(0.005)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put("")


class Ranks:
    """All that a test has started; for a fixture."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Rank] = []

    def start(self, name: str, **environment: str) -> Rank:
        rank = Rank(self._folder, name, **environment)
        self._started.append(rank)
        return rank

    def member(self, join: str, rank: int, size: int, **environment: str) -> Rank:
        """A rank that begins to join."""
        started = self.start(
            f"rank{rank}", NEXAR_JOIN=join, NEXAR_RANK=str(rank), NEXAR_WORLD_SIZE=str(size), **environment
        )
        started.begin("comm = nx.init()")
        return started

    def kill(self) -> None:
        for rank in self._started:
            rank.kill()


def started_ranks(folder: Path) -> Iterator[Ranks]:
    """For a fixture."""
    started = Ranks(folder)
    yield started
    started.kill()
