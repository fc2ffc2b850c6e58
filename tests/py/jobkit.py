"""Starts jobs of processes, and finds what they leave behind."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

MARK = "JOBKIT_JOB"  # in the environment of all processes of a job
PATIENCE = 60.0
# What a job must not inherit from the one that the tests may run in themselves.
_LAUNCHERS = ("NEXAR_", "PYNEXAR_", "SLURM_", "PMI", "OMPI_", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "JOB_COMP")
_OTHERS = (*_LAUNCHERS, "SSL_CERT_")  # nor where the system's certificates are, which it must not need
_KEPT = ("NEXAR_LIBRARY", "NEXAR_LOG", "PMIX_INSTALL_PREFIX")


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that looks like a launcher's."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_OTHERS)}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", **more}


class Process:
    """One program with all that it starts; its output is collected in files, so that nothing ever blocks it."""

    def __init__(self, folder: Path, command: Sequence[str], *, stdin: str | None = None, **arguments: Any) -> None:
        self.mark = uuid.uuid4().hex
        self.out = folder / f"{self.mark}.out"
        self.err = folder / f"{self.mark}.err"
        environment = {**clean_environment(), **(arguments.pop("env", None) or {}), MARK: self.mark}
        given = folder / f"{self.mark}.in"
        given.write_text(stdin or "")
        self.began = time.monotonic()
        with self.out.open("wb") as out, self.err.open("wb") as err, given.open("rb") as source:
            self.popen = subprocess.Popen(
                list(command),
                env=environment,
                cwd=arguments.pop("cwd", folder),
                stdin=source,
                stdout=arguments.pop("stdout", out),
                stderr=err,
                **arguments,
            )

    @property
    def stdout(self) -> str:
        return self.out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.err.read_text(errors="replace")

    def lines(self) -> dict[str, list[str]]:
        """Lines of standard output by the rank that stands before them."""
        lines: dict[str, list[str]] = {}
        for line in self.stdout.splitlines():
            match = re.fullmatch(r"\[([\w.-]+)\] (.*)", line)
            assert match is not None, line
            lines.setdefault(match[1], []).append(match[2])
        return lines

    def wait(self, timeout: float = PATIENCE) -> int:
        """Exit status; a process that does not end is a failure that shows its output."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end in {timeout} s; it said:\n{self.stdout}\n{self.stderr}") from None

    def send(self, signum: int) -> None:
        self.popen.send_signal(signum)

    def until(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Waits for something that this process brings about."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{what} did not come in {timeout} s; it said:\n{self.stdout}\n{self.stderr}")
            self.popen.poll()
            time.sleep(0.01)  # between two looks: the core is for those who are waited for

    def until_printed(self, text: str, times: int = 1) -> None:
        self.until(lambda: self.stdout.count(text) >= times, f"{times} x {text!r}")

    def alive(self) -> list[int]:
        """Everything of this job that still runs, whoever its parent is now."""
        return processes_with(MARK, self.mark)

    def until_all_are_gone(self, timeout: float = 5.0) -> None:
        self.until(lambda: not self.alive(), "the end of all processes", timeout)

    def kill(self) -> None:
        """Ends all of it, for good."""
        for pid in self.alive():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait()


Start = Callable[..., Process]  # the fixtures that start jobs


def draw_seed() -> int:
    """What `random` draws in a test hangs on it.  It is shown if the test fails, and NX_TEST_SEED gives it."""
    seed = int(os.environ.get("NX_TEST_SEED") or random.randrange(1 << 30))
    print("seed", seed)
    random.seed(seed)
    return seed


def processes_with(name: str, value: str) -> list[int]:
    """Processes that have this variable in their environment; zombies have none."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def nexar(*arguments: str) -> list[str]:
    """The command line of `nexar ...`."""
    return [sys.executable, "-m", "pynexar", *arguments]


def processes(folder: Path) -> Iterator[Callable[..., Process]]:
    """For a fixture: starts processes, and ends them after the test."""
    started: list[Process] = []

    def start(*command: str, **arguments: Any) -> Process:
        process = Process(folder, command, **arguments)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
