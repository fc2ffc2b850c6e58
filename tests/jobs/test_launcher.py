"""nexar run: what ranks get, what becomes of their output, and that nothing of a job outlives it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import jobkit

Start = Callable[..., jobkit.Process]

TELL = """
    import json, os, sys
    told = {name: value for name, value in os.environ.items() if name.startswith("NEXAR_")}
    print(json.dumps({**told, "argv": sys.argv, "cmdline": open("/proc/self/cmdline").read(),
                      "parent": open(f"/proc/{os.getppid()}/cmdline").read(), "extra": os.environ.get("EXTRA")}))
"""
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


def lines_of(process: jobkit.Process) -> dict[str, list[str]]:
    """Lines of standard output by prefix."""
    lines: dict[str, list[str]] = {}
    for line in process.stdout.splitlines():
        match = re.fullmatch(r"\[([\w.-]+)\] (.*)", line)
        assert match is not None, line
        lines.setdefault(match[1], []).append(match[2])
    return lines


# --------------------------------------------------------------------------------------------------------- environment
def test_what_ranks_get(job: Start) -> None:
    process = job(TELL, "-n", "3", "--env", "EXTRA=a=b", arguments=("x", "--flag"))
    assert process.wait() == 0
    told = {int(rank): json.loads(lines[0]) for rank, lines in lines_of(process).items()}
    assert sorted(told) == [0, 1, 2]
    for rank, said in told.items():
        assert said["NEXAR_RANK"] == said["NEXAR_LOCAL_RANK"] == str(rank)
        assert said["NEXAR_WORLD_SIZE"] == said["NEXAR_LOCAL_SIZE"] == "3"
        assert said["argv"][1:] == ["x", "--flag"]
        assert said["extra"] == "a=b"
        assert said["NEXAR_JOIN"].startswith("nexar://127.0.0.1:")
    assert len({said["NEXAR_JOIN"] for said in told.values()}) == 1


def test_s3_join_string_is_on_no_command_line_and_in_no_output(job: Start) -> None:
    """S3: what `ps` shows of ranks, launcher and guard has no secret; nor has what is printed."""
    process = job(
        TELL + "    print(open(f'/proc/{os.getppid()}/status').read())", "-n", "2", env={"NEXAR_LOG": "trace"}
    )
    assert process.wait() == 0
    for lines in lines_of(process).values():
        said = json.loads(lines[0])
        token = re.search(r"token=([\w-]+)", said["NEXAR_JOIN"])
        assert token is not None
        assert len(token[1]) == 43
        assert token[1] not in said["cmdline"] + said["parent"]
        assert process.stdout.count(token[1]) == 2  # where the script itself prints it
        assert token[1] not in process.stderr


def test_variables_of_another_job_are_not_inherited(job: Start) -> None:
    others = {"NEXAR_RANK": "7", "NEXAR_LOCAL_RANK": "7", "NEXAR_JOIN": "nexar://other", "NEXAR_GROUP": "g"}
    process = job(TELL, "-n", "2", env=others)
    assert process.wait() == 0
    for rank, lines in lines_of(process).items():
        said = json.loads(lines[0])
        assert said["NEXAR_RANK"] == rank
        assert "NEXAR_GROUP" not in said
        assert said["NEXAR_JOIN"] != "nexar://other"


def test_ranks_of_one_machine_listen_on_loopback(job: Start) -> None:
    process = job(
        """
        import pynexar as nx
        with nx.init() as comm:
            print(comm.peer(1 - comm.rank).remote_addr)
            comm.barrier()
        """,
        "-n",
        "2",
    )
    assert process.wait() == 0
    assert all(lines[0].startswith("127.0.0.1:") for lines in lines_of(process).values())


def test_module(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "2", "-m", "pynexar.examples.hello"))
    assert process.wait() == 0
    assert [lines_of(process)[rank][0].split(":")[0] for rank in "01"] == [f"hello from rank {r} of 2" for r in "01"]


def test_program(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "2", "--", "sh", "-c", 'echo "$0 $1 $NEXAR_RANK"', "a b", "--c"))
    assert process.wait() == 0
    assert lines_of(process) == {rank: [f"a b --c {rank}"] for rank in "01"}


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_program_in_c(start: Start, tmp_path: Path) -> None:
    """Built as the README says, and run with ranks in C."""
    source = tmp_path / "program.c"
    source.write_text(
        """
        #include <nexar/nexar.h>
        #include <stdio.h>

        int main(void)
        {
            nexar_comm *comm;
            nexar_status st = nexar_init(NULL, &comm);
            if (st != NEXAR_OK) {
                fprintf(stderr, "%s: %s\\n", nexar_status_name(st), nexar_last_error());
                return 1;
            }
            float x[3] = {1, 2, (float)nexar_comm_rank(comm)};
            st = nexar_all_reduce(comm, x, x, 3, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL);
            printf("%s rank %u of %u: %g %g %g\\n", nexar_status_name(st), nexar_comm_rank(comm),
                   nexar_comm_size(comm), x[0], x[1], x[2]);
            nexar_comm_close(comm);
            return st == NEXAR_OK ? 0 : 1;
        }
        """
    )
    flags = subprocess.run(
        jobkit.nexar("info", "--cflags", "--libs"), check=True, capture_output=True, text=True
    ).stdout
    subprocess.run(["cc", str(source), *flags.split(), "-o", str(tmp_path / "program")], check=True, timeout=60)
    process = start(*jobkit.nexar("run", "-n", "4", "--", "./program"))
    assert process.wait() == 0, process.stderr
    assert lines_of(process) == {str(rank): [f"OK rank {rank} of 4: 4 8 6"] for rank in range(4)}


def test_several_machines(job: Start) -> None:
    """Two launchers of one job: each machine's ranks follow each other."""
    script = """
        import os, numpy as np, pynexar as nx
        with nx.init() as comm:
            assert int(comm.all_reduce(np.array(comm.rank))) == 10
            print("machine", os.environ["MACHINE"], "rank", comm.rank, "of", comm.size,
                  "local", os.environ["NEXAR_LOCAL_RANK"], "group", os.environ["NEXAR_GROUP"])
    """
    first = job(script, "-n", "2", "--nnodes", "2", "--bind", "127.0.0.1", env={"MACHINE": "a"})
    first.until(lambda: "--join @FILE" in first.stderr, "the command for the other machine")
    path = re.search(r"< (\S+\.join)$", first.stderr, re.MULTILINE)
    assert path is not None
    assert Path(path[1]).stat().st_mode & 0o777 == 0o600
    assert "token" not in first.stderr + first.stdout
    second = job(script, "-n", "3", "--join", f"@{path[1]}", env={"MACHINE": "b"})
    assert second.wait() == 1  # the world is of 4: one rank too many
    first.kill()

    first = job(script.replace("10", "6"), "-n", "2", "--nnodes", "2", "--bind", "127.0.0.1", env={"MACHINE": "a"})
    first.until(lambda: "--join @FILE" in first.stderr, "the command for the other machine")
    path = re.search(r"< (\S+\.join)$", first.stderr, re.MULTILINE)
    assert path is not None
    second = job(script.replace("10", "6"), "-n", "2", "--nnodes", "2", "--join", "-", stdin=Path(path[1]).read_text(),
                 env={"MACHINE": "b"})  # fmt: skip
    assert second.wait() == 0, second.stderr
    assert first.wait() == 0, first.stderr
    said = re.findall(r"\[(\S+)\] machine (\w) rank (\d) of 4 local (\d) group (\w+)", first.stdout + second.stdout)
    assert sorted(int(rank) for _, _, rank, _, _ in said) == [0, 1, 2, 3]
    blocks = {machine: sorted(int(rank) for _, m, rank, _, _ in said if m == machine) for machine in "ab"}
    assert sorted(blocks.values()) == [[0, 1], [2, 3]]
    assert len({group for *_, group in said}) == 2
    assert all(prefix.endswith(f".{local}") for prefix, _, _, local, _ in said)
    assert not Path(path[1]).exists()


def test_seed_command_and_join(start: Start, job: Start) -> None:
    seed = start(*jobkit.nexar("seed", "--listen", "127.0.0.1:0", "--world-size", "2"))
    seed.until_printed("nexar://")
    process = job("import pynexar as nx\nwith nx.init() as comm: print(comm.size)", "-n", "2", "--join", "-",
                  stdin=seed.stdout)  # fmt: skip
    assert process.wait() == 0, process.stderr
    assert seed.wait() == 0
    assert "2 ranks have joined" in seed.stderr


def test_job_inside_a_job(job: Start) -> None:
    """A rank may start a job of its own."""
    inner = "import pynexar as nx\\nwith nx.init() as comm: print('inner', comm.rank, comm.size)"
    process = job(
        f"""
        import subprocess, sys, pynexar as nx
        with nx.init() as comm:
            open("inner.py", "w").write("{inner}")
            comm.barrier()
            subprocess.run([sys.executable, "-m", "pynexar", "run", "-n", "2", "inner.py"], check=True)
        """,
        "-n",
        "2",
    )
    assert process.wait() == 0, process.stderr
    for rank in "01":
        assert sorted(lines_of(process)[rank]) == ["[0] inner 0 2", "[1] inner 1 2"]


# -------------------------------------------------------------------------------------------------------------- output
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
    lines = lines_of(process)
    for rank in "0123":
        expected = [f"out {rank} {i} " + "x" * (i % 300) for i in range(3000)]
        assert lines[rank] == [*expected, "no newline at the end"]
    errors = process.stderr.splitlines()
    for rank in "0123":
        assert [line for line in errors if line.startswith(f"[{rank}]")] == [
            f"[{rank}] err {rank} {i}" for i in range(3000)
        ]


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
    assert lines_of(process) == {"0": ["hello"], "1": ["nothing"]}


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
    assert lines_of(process) == {rank: [f"out {rank}"] for rank in "01"}


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


# ------------------------------------------------------------------------------------------------------------- failures
@pytest.mark.parametrize(("how", "status"), [("sys.exit(3)", 3), ("os._exit(250)", 250), ("1/0", 1)])
def test_exit_status_is_that_of_the_first_rank_that_fails(job: Start, how: str, status: int) -> None:
    process = job(f"import os, sys\nif os.environ['NEXAR_RANK'] == '1': {how}", "-n", "3")
    assert process.wait() == status
    assert f"nexar run: rank 1: exit status {status}" in process.stderr


@pytest.mark.parametrize("n", ["1", "3"])
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_rank_that_a_signal_ends(job: Start, name: str, n: str) -> None:
    last = int(n) - 1
    process = job(f"import os, signal\nif os.environ['NEXAR_RANK'] == '{last}': os.kill(os.getpid(), signal.{name})",
                  "-n", n)  # fmt: skip
    assert process.wait() == 128 + getattr(signal, name)
    assert f"nexar run: rank {last}: killed by {name}" in process.stderr


@pytest.mark.parametrize("rank", range(4))
def test_first_failing_rank_is_reported_first(job: Start, rank: int) -> None:
    """It leaves in good order, so that the others may be gone before it."""
    process = job(
        f"""
        import numpy as np, pynexar as nx
        with nx.init() as comm:
            comm.barrier()
            if comm.rank == {rank}:
                raise LookupError("what really happened")
            comm.all_reduce(np.zeros(10))
        """,
        "-n",
        "4",
    )
    assert process.wait() == 1
    assert time.monotonic() - process.began < 5
    report = process.stderr[process.stderr.index("nexar run: ") :]
    assert report.startswith(f"nexar run: rank {rank}: exit status 1 (LookupError), the first to fail, after ")
    assert "LookupError: what really happened\n" in report.partition("then ")[0]
    assert report.index("Traceback (most recent call last)") < report.index("LookupError: what")
    for other in set(range(4)) - {rank}:
        assert f"then rank {other}: exit status 1 (PeerLost)" in report


def test_cause_of_an_exception_is_in_the_report(job: Start) -> None:
    process = job(
        """
        import pynexar as nx
        with nx.init() as comm:
            try:
                {}["key"]
            except KeyError as error:
                raise RuntimeError("second") from error
        """,
        "-n",
        "2",
    )
    assert process.wait() == 1
    report = process.stderr[process.stderr.index("nexar run: ") :]
    assert report.index("KeyError: 'key'") < report.index("direct cause") < report.index("RuntimeError: second")


def test_others_have_time_to_fail_by_themselves_and_no_more(job: Start) -> None:
    """One fails, one takes a second to tidy up, one is deaf to everything."""
    process = job(
        """
        import os, signal, sys, threading
        rank = os.environ["NEXAR_RANK"]
        if rank == "0":
            sys.exit(7)
        if rank == "1":
            threading.Event().wait(1)
            print("tidy", flush=True)
            sys.exit(1)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        while True:
            signal.pause()
        """,
        "-n",
        "3",
    )
    assert process.wait() == 7
    assert 3.5 < time.monotonic() - process.began < 5.5
    assert lines_of(process)["1"] == ["tidy"]
    assert "then rank 1: exit status 1" in process.stderr
    assert "then rank 2: killed by SIGKILL, sent by nexar run" in process.stderr
    process.until_all_are_gone()


def test_missing_program(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "2", "--", "no-such-program"))
    assert process.wait() == 127
    assert "cannot start no-such-program: No such file or directory" in process.stderr


def test_formation_that_fails_is_reported(job: Start) -> None:
    """One rank never joins; the launcher, whose seed knows, says which."""
    process = job(
        """
        import os, signal, pynexar as nx
        if os.environ["NEXAR_RANK"] == "1":
            signal.pause()
        nx.init()
        """,
        "-n",
        "3",
        "--env",
        "NEXAR_JOIN_TIMEOUT=1",
        env={"NEXAR_JOIN_TIMEOUT": "1"},
    )
    assert process.wait(15) == 1
    assert re.search(r"\[[02]\] .*Timeout: .*rank 1", process.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "what is to be run?"),
        (["-n", "2"], "what is to be run?"),
        (["-n", "0", "x.py"], "0 is below 1"),
        (["-n", "x", "x.py"], "-n"),
        (["--nnodes", "0", "x.py"], "--nnodes"),
        (["-m"], "-m needs a module"),
        (["--"], "-- needs a program"),
        (["prog"], "write '-- prog'"),
        (["--frobnicate", "x.py"], "--frobnicate"),
        (["--env", "X", "x.py"], "not NAME=VALUE"),
        (["--join", "http://x", "x.py"], "begins with nexar://"),
        (["--join", "@/nonexistent", "x.py"], "No such file"),
        (["--join", "-", "x.py"], "nothing on standard input"),
    ],
)
def test_wrong_command_lines(start: Start, arguments: list[str], words: str) -> None:
    process = start(*jobkit.nexar("run", *arguments))
    assert process.wait() == 2
    assert words in process.stderr


def test_join_string_in_a_file_that_others_may_read_is_refused(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "join"
    path.write_text("nexar://127.0.0.1:1?token=x&ca=y\n")
    path.chmod(0o644)
    process = start(*jobkit.nexar("run", "--join", f"@{path}", "x.py"))
    assert process.wait() == 2
    assert "chmod 600" in process.stderr


# ---------------------------------------------------------------------------------------------------------- no orphans
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


def test_launcher_loads_little() -> None:
    """Ranks start sooner if the launcher imports neither numpy nor anything else that is slow."""
    script = "import sys; from pynexar.cli import run, job, guard; from pynexar import seed; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", script], check=True, capture_output=True, text=True, env=dict(os.environ)
    ).stdout.split()
    slow = {"numpy", "asyncio", "click", "rich", "dataclasses", "inspect", "multiprocessing", "logging", "tempfile"}
    assert not slow & set(loaded)
