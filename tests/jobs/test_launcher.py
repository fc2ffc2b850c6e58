"""nexar run: what ranks get, and what is said to those who call it wrongly."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import jobkit
import pynexar
from jobkit import Start

TELL = """
    import json, os, sys
    told = {name: value for name, value in os.environ.items() if name.startswith("NEXAR_")}
    print(json.dumps({**told, "argv": sys.argv, "cmdline": open("/proc/self/cmdline").read(),
                      "parent": open(f"/proc/{os.getppid()}/cmdline").read(), "extra": os.environ.get("EXTRA")}))
"""


def test_what_ranks_get(job: Start) -> None:
    process = job(TELL, "-n", "3", "--env", "EXTRA=a=b", arguments=("x", "--flag"))
    assert process.wait() == 0
    told = {int(rank): json.loads(lines[0]) for rank, lines in process.lines().items()}
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
    for lines in process.lines().values():
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
    for rank, lines in process.lines().items():
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
    assert all(lines[0].startswith("127.0.0.1:") for lines in process.lines().values())


def test_module(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "2", "-m", "pynexar.examples.hello"))
    assert process.wait() == 0
    assert [process.lines()[rank][0].split(":")[0] for rank in "01"] == [f"hello from rank {r} of 2" for r in "01"]


def test_program(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "2", "--", "sh", "-c", 'echo "$0 $1 $NEXAR_RANK"', "a b", "--c"))
    assert process.wait() == 0
    assert process.lines() == {rank: [f"a b --c {rank}"] for rank in "01"}


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
        assert sorted(process.lines()[rank]) == ["[0] inner 0 2", "[1] inner 1 2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "what is to be run?"),
        (["-n", "2"], "what is to be run?"),
        (["-n", "0", "x.py"], "0 is below 1"),
        (["-n", "x", "x.py"], "argument -n: 'x' is no number"),
        (["-np", "2", "x.py"], "argument -n: 'p' is no number"),
        (["-n"], "-n"),
        (["y.py"], "there is no y.py"),
        (["--log-dir", "/proc/no/logs", "x.py"], "--log-dir: "),
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
def test_wrong_command_lines(start: Start, tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "x.py").touch()
    process = start(*jobkit.nexar("run", *arguments))
    assert process.wait() == 2
    assert words in process.stderr.splitlines()[-1]
    assert process.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--bind", "nonsense"], {}, '"nonsense" is not an address of this host'),
        (["--bind", "127.0.0.1:99999"], {}, "port"),
        ([], {"NEXAR_LIBRARY": "/nonexistent"}, "NEXAR_LIBRARY is '/nonexistent', which is not a file"),
        ([], {"NEXAR_BIND": "eth0"}, '"eth0" is not an address of this host'),
    ],
)
def test_job_that_cannot_start(
    start: Start, tmp_path: Path, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    """One line, and no rank has begun."""
    (tmp_path / "x.py").write_text("print('begun')")
    process = start(*jobkit.nexar("run", "-n", "2", *arguments, "x.py"), env=environment)
    assert process.wait() == 1
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert process.stderr.startswith("nexar run: ")
    assert words in process.stderr


def test_more_ranks_than_the_limits_allow(start: Start, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("print('begun')")
    line = shlex.join(jobkit.nexar("run", "-n", "100", "x.py"))
    process = start("sh", "-c", f"ulimit -n 64; {line}")
    assert process.wait() == 1
    assert process.stdout == ""
    assert re.fullmatch(r"nexar run: cannot start rank \d+: Too many open files\n", process.stderr)
    assert not process.alive()


def test_info_shows_values_as_they_are_set(start: Start) -> None:
    """What it prints can be put into the variables."""
    given = {"NEXAR_SPIN": "20us", "NEXAR_TIMEOUT": "90s", "NEXAR_HEARTBEAT": "250ms", "NEXAR_SMALL_BYTES": "2k"}
    for _ in range(2):
        process = start(*jobkit.nexar("info"), env=given)
        assert process.wait() == 0, process.stderr
        values = dict(re.findall(r"^  (NEXAR_\w+) +(\S+) \(environment\)", process.stdout, re.MULTILINE))
        assert {name: values[name] for name in given} == given
        found = dict(re.findall(r"^  (NEXAR_\w+) +(\d\S*) ", process.stdout, re.MULTILINE))
        given = {name: found[name] for name in found if name not in ("NEXAR_LOG", "NEXAR_LIBRARY")}


@pytest.mark.parametrize(
    "command", [[], ["--help"], ["run", "--help"], ["seed", "--help"], ["info", "--help"], ["bench", "--help"]]
)
def test_help(start: Start, command: list[str]) -> None:
    process = start(*jobkit.nexar(*command))
    assert process.wait() == 0
    assert process.stdout.startswith("usage: nexar")
    assert process.stderr == ""
    assert max(map(len, process.stdout.splitlines())) <= 120


def test_command_that_does_not_exist(start: Start) -> None:
    process = start(*jobkit.nexar("rnu"))
    assert process.wait() == 2
    assert "there is no command 'rnu'" in process.stderr
    assert "start the ranks of a job" in process.stderr


def test_join_string_in_a_file_that_others_may_read_is_refused(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "join"
    path.write_text("nexar://127.0.0.1:1?token=x&ca=y\n")
    path.chmod(0o644)
    (tmp_path / "x.py").touch()
    process = start(*jobkit.nexar("run", "--join", f"@{path}", "x.py"))
    assert process.wait() == 2
    assert "chmod 600" in process.stderr


def test_launcher_loads_little() -> None:
    """Ranks start sooner if the launcher imports neither numpy nor anything else that is slow."""
    script = "import sys; from pynexar.cli import run, job, guard; from pynexar import seed; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(pynexar.__file__).parents[1])}
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", script], check=True, capture_output=True, text=True, env=environment
    ).stdout.split()
    slow = {"numpy", "asyncio", "click", "rich", "dataclasses", "inspect", "multiprocessing", "logging", "tempfile"}
    assert not slow & set(loaded)
