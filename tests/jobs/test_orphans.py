"""nexar run: nothing of a job outlives it, however it ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import jobkit
from jobkit import Start

# Waits for ever, with a child that does the same in a session of its own, and a grandchild.
STUBBORN = """
    import os, signal, subprocess, sys, time
    subprocess.Popen(["setsid", "sleep", "1000"], stdout=subprocess.DEVNULL)
    subprocess.Popen(["sh", "-c", "sleep 1001 & sleep 1002 & wait"])
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        signal.pause()
"""


@pytest.mark.parametrize("manner", ["polite", "deaf"])
@pytest.mark.parametrize("n", ["1", "3"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_to_the_launcher_end_everything(job: Start, name: str, n: str, manner: str) -> None:
    process = job(STUBBORN, "-n", n, arguments=(manner,))
    process.until_printed("ready", int(n))
    process.until(lambda: len(process.alive()) == 2 + 5 * int(n), "all processes")
    began = time.monotonic()
    process.send(getattr(signal, name))
    assert process.wait(8) == 128 + getattr(signal, name)
    assert time.monotonic() - began < 5
    assert not process.alive()


@pytest.mark.parametrize("n", ["1", "3"])
@pytest.mark.parametrize("whom", ["guard", "launcher", "group", "both"])
def test_killed_launcher_leaves_no_orphan(job: Start, whom: str, n: str) -> None:
    """SIGKILL to the process that the user started, to its child which does the work, or to their process group."""
    process = job(STUBBORN, "-n", n, arguments=("deaf",), start_new_session=True)
    process.until_printed("ready", int(n))
    guard = process.popen.pid
    launcher = int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])
    if whom == "guard":
        os.kill(guard, signal.SIGKILL)
    elif whom == "launcher":
        os.kill(launcher, signal.SIGKILL)
        assert process.wait(5) == 128 + signal.SIGKILL
    elif whom == "group":
        os.killpg(guard, signal.SIGKILL)
    else:  # stopped first, so that neither can do anything for the ranks
        os.kill(launcher, signal.SIGSTOP)
        os.kill(guard, signal.SIGKILL)
        os.kill(launcher, signal.SIGKILL)
    if whom in ("group", "both"):  # nobody is left who adopts orphans: the ranks themselves end, at least
        process.until(lambda: not ranks_of(process), "the end of the ranks", 5)
    else:
        process.until_all_are_gone()


def ranks_of(process: jobkit.Process) -> list[int]:
    found = []
    for pid in process.alive():
        try:
            if b"script.py" in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != process.popen.pid:
                found.append(pid)
        except OSError:
            continue
    return found


def test_guard_ends_a_launcher_that_hangs(job: Start) -> None:
    process = job(STUBBORN, "-n", "2")
    process.until_printed("ready", 2)
    guard = process.popen.pid
    os.kill(int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0]), signal.SIGSTOP)
    process.send(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGKILL
    assert not process.alive()


def test_what_ranks_leave_behind_ends_with_the_job(job: Start) -> None:
    process = job(
        """
        import subprocess
        subprocess.Popen(["setsid", "sleep", "1000"])
        subprocess.Popen(["sh", "-c", "trap '' TERM; echo deaf; sleep 1001"])
        """,
        "-n",
        "2",
    )
    assert process.wait(10) == 0
    assert not process.alive()


def test_job_in_the_background_of_a_shell(start: Start, tmp_path: Path) -> None:
    """A shell without job control starts it with SIGINT ignored."""
    (tmp_path / "script.py").write_text("print('hello')\n")
    line = " ".join(jobkit.nexar("run", "-n", "2", "script.py"))
    process = start("sh", "-c", f"{line} & wait $!")
    assert process.wait() == 0
    assert sorted(process.stdout.splitlines()) == ["[0] hello", "[1] hello"]
