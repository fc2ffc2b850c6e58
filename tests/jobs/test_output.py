"""nexar run: what becomes of the output of ranks."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from pathlib import Path

import jobkit
from jobkit import Start


def test_lines_stay_whole(job: Start) -> None:
    process = job(
        """
        import os, sys
        rank = os.environ["NEXAR_RANK"]
        for i in range(3000):
            sys.stdout.write(f"out {rank} {i} ")
            sys.stdout.write("x" * (i % 300) + "\\n")
            sys.stderr.write(f"err {rank} {i}\\n")
        sys.stdout.write("no newline at the end")
        """,
        "-n",
        "4",
    )
    assert process.wait() == 0
    lines = process.lines()
    for rank in "0123":
        expected = [f"out {rank} {i} " + "x" * (i % 300) for i in range(3000)]
        assert lines[rank] == [*expected, "no newline at the end"]
    errors = process.stderr.splitlines()
    for rank in "0123":
        assert [line for line in errors if line.startswith(f"[{rank}]")] == [
            f"[{rank}] err {rank} {i}" for i in range(3000)
        ]


def test_output_of_any_bytes(job: Start) -> None:
    """Nothing is decoded: what a rank writes comes out as it is, but for the prefixes."""
    process = job(
        """
        import os
        os.write(1, bytes(range(256)).replace(b"\\r", b"") + b"\\n" + b"x" * 200_000)
        """,
        "-n",
        "2",
    )
    assert process.wait() == 0
    lines = process.out.read_bytes().split(b"\n")
    for rank in (b"[0] ", b"[1] "):
        said = [line[len(rank) :] for line in lines if line.startswith(rank)]
        written = bytes(range(256)).replace(b"\r", b"").split(b"\n")
        assert said[: len(written)] == written
        assert b"".join(said[len(written) :]) == b"x" * 200_000


def test_progress_bars(job: Start) -> None:
    process = job('print("1%\\r2%\\r", end="", flush=True); print("end", end="")', "-n", "2")
    assert process.wait() == 0
    assert process.lines() == {rank: ["1%", "2%", "end"] for rank in "01"}


def test_output_appears_when_it_is_printed(job: Start) -> None:
    process = job('import signal\nprint("soon")\nsignal.pause()', "-n", "2")
    process.until_printed("soon", 2)


def test_one_rank_has_the_terminal_to_itself(job: Start) -> None:
    process = job('import sys\nprint("said", sys.stdin.read())\nprint("x", end="")', stdin="hello")
    assert process.wait() == 0
    assert process.stdout == "said hello\nx"


def test_rank_0_gets_standard_input(job: Start) -> None:
    process = job("import sys\nprint(sys.stdin.read() or 'nothing')", "-n", "2", stdin="hello")
    assert process.wait() == 0
    assert process.lines() == {"0": ["hello"], "1": ["nothing"]}


def test_log_dir(job: Start, tmp_path: Path) -> None:
    process = job(
        """
        import os, sys
        print("out", os.environ["NEXAR_RANK"], flush=True)
        print("err", os.environ["NEXAR_RANK"], file=sys.stderr)
        """,
        "-n",
        "2",
        "--log-dir",
        "logs/deep",
    )
    assert process.wait() == 0
    logs = {path.name: sorted(path.read_text().splitlines()) for path in (tmp_path / "logs/deep").iterdir()}
    assert logs == {f"rank-{rank}.log": [f"err {rank}", f"out {rank}"] for rank in "01"}
    assert process.lines() == {rank: [f"out {rank}"] for rank in "01"}


def test_one_rank_with_a_log_dir_writes_what_it_likes(job: Start, tmp_path: Path) -> None:
    process = job('print("1%\\r2%\\r", end="", flush=True); print("end", end="")', "--log-dir", "logs")
    assert process.wait() == 0
    assert process.out.read_bytes() == b"1%\r2%\rend"
    assert (tmp_path / "logs/rank-0.log").read_bytes() == b"1%\r2%\rend"


def test_log_dir_with_one_rank(job: Start, tmp_path: Path) -> None:
    process = job("print('alone')", "--log-dir", "logs")
    assert process.wait() == 0
    assert (tmp_path / "logs/rank-0.log").read_text() == "alone\n"
    assert process.stdout == "alone\n"


def test_reader_that_goes_away_ends_the_job(job: Start) -> None:
    """As in `nexar run ... | head -1`."""
    end, their_end = os.pipe()
    process = job("while True: print('y' * 100)", "-n", "2", stdout=their_end)
    os.close(their_end)
    os.read(end, 10)
    os.close(end)
    assert process.wait(10) == 128 + signal.SIGPIPE
    process.until_all_are_gone()


def on_a_terminal(command: list[str], folder: Path, typed: bytes = b"", *when: bytes) -> tuple[bytes, int]:
    """Runs a command on a terminal of its own, types something when it has said all of `when`; what it said, status."""
    environment = {**jobkit.clean_environment(), "TERM": "xterm"}
    del environment["NO_COLOR"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    said = b""
    deadline = time.monotonic() + jobkit.PATIENCE
    while True:
        assert time.monotonic() < deadline, said
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # all its processes have closed it
            break
        said += data
        if typed and all(words in said for words in when):
            os.write(terminal, typed)
            typed = b""
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return said, os.waitstatus_to_exitcode(status)


def test_colours_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('hello')\n")
    said, status = on_a_terminal(jobkit.nexar("run", "-n", "2", "script.py"), tmp_path)
    assert status == 0
    assert b"\x1b[36m[0]\x1b[0m hello\r\n" in said
    assert b"\x1b[33m[1]\x1b[0m hello\r\n" in said


def test_ctrl_c_on_a_terminal_reaches_each_rank_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        """
import signal, sys, time
count = 0
def handler(signum, frame):
    global count
    count += 1
signal.signal(signal.SIGINT, handler)
print("ready", flush=True)
while count == 0:
    time.sleep(0)
deadline = time.monotonic() + 0.5
while time.monotonic() < deadline:
    time.sleep(0)
print("interrupts:", count)
"""
    )
    both = (b"[0]\x1b[0m ready", b"[1]\x1b[0m ready")
    said, status = on_a_terminal(jobkit.nexar("run", "-n", "2", "script.py"), tmp_path, b"\x03", *both)
    assert status == 128 + signal.SIGINT
    assert said.count(b"interrupts: 1") == 2, said
    # With one rank, the rank decides what Ctrl-C means.
    said, status = on_a_terminal(jobkit.nexar("run", "script.py"), tmp_path, b"\x03", b"ready")
    assert status == 0
    assert said.count(b"interrupts: 1") == 1, said
