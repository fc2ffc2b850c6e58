"""Ranks that other launchers start, as far as they are installed: mpirun, mpiexec, torchrun, and srun of a Slurm that
runs for the test alone.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobkit
from jobkit import Start

SCRIPT = """
    import os
    import numpy as np, pynexar as nx
    from pynexar.config import environment
    with nx.init(timeout=30) as comm:
        total = int(comm.all_reduce(np.array(comm.rank + 1)))
        said = f"{environment()[0]['launcher']} rank {comm.rank} of {comm.size} total {total}"
        with open(f"said.{comm.rank}", "w") as file:  # some launchers mix the lines of ranks
            file.write(said)
        print(said)
"""
N = 3
COMMANDS = {  # program, options, what pynexar finds
    "Open MPI": ("mpirun.openmpi", ["--allow-run-as-root", "--oversubscribe", "-n", str(N)], "openmpi"),
    "MPICH": ("mpiexec.hydra", ["-n", str(N)], "pmi"),
    "torchrun": ("torchrun", [f"--nproc-per-node={N}", "--no-python"], "torchrun"),
}
CONFIGURATION = """\
    ClusterName=nexar-test
    SlurmctldHost={host}(127.0.0.1)
    SlurmctldPort={ports[0]}
    SlurmdPort={ports[1]}
    AuthType=auth/none
    CredType=cred/none
    SlurmUser=root
    SlurmdUser=root
    StateSaveLocation={folder}
    SlurmdSpoolDir={folder}/spool
    SlurmctldPidFile={folder}/slurmctld.pid
    SlurmdPidFile={folder}/slurmd.pid
    ProctrackType=proctrack/linuxproc
    TaskPlugin=task/none
    MpiDefault=none
    SwitchType=switch/none
    SelectType=select/linear
    NodeName={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
    PartitionName=all Nodes=ALL Default=YES OverSubscribe=FORCE:8 State=UP
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return str(path)


def check(process: jobkit.Process, launcher: str) -> None:
    assert process.wait() == 0, process.stderr
    said = [path.read_text() for path in sorted(process.out.parent.glob("said.*"))]
    assert said == [f"{launcher} rank {rank} of {N} total {N * (N + 1) // 2}" for rank in range(N)]


@pytest.mark.parametrize("name", COMMANDS)
def test_launcher(start: Start, script: str, name: str) -> None:
    program, options, launcher = COMMANDS[name]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    check(start(program, *options, sys.executable, script), launcher)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Slurm of this host alone; the variable that leads to it."""
    missing = [name for name in ("slurmctld", "slurmd", "srun", "sinfo") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"there is no {' and no '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("slurmd runs as root alone")
    folder = tmp_path_factory.mktemp("slurm")
    host = socket.gethostname().split(".")[0]
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [server.getsockname()[1] for server in (first, second)]
    path = folder / "slurm.conf"
    path.write_text(textwrap.dedent(CONFIGURATION).format(host=host, ports=ports, folder=folder))
    variable = {"SLURM_CONF": str(path)}
    daemons = jobkit.processes(folder)
    start: Any = next(daemons)
    controller = start("slurmctld", "-D", "-f", str(path), env=variable)
    node = start("slurmd", "-D", "-f", str(path), "-N", host, env=variable)

    def idle() -> bool:
        if controller.popen.poll() is not None or node.popen.poll() is not None:
            pytest.skip(f"Slurm does not run here: {controller.stderr[-500:]}{node.stderr[-500:]}")
        said = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env={**os.environ, **variable}, capture_output=True, text=True, check=False
        )
        return said.stdout.strip() == "idle"

    node.until(idle, "a node of Slurm")
    yield variable
    next(daemons, None)


@pytest.mark.parametrize("options", [[], ["--mpi=pmi2"], ["--cpu-bind=none", "--label"]])
def test_srun(start: Start, script: str, slurm: dict[str, str], options: list[str]) -> None:
    process = start("srun", "-n", str(N), "-O", *options, sys.executable, script, env=slurm)
    if "--label" in options:
        assert process.wait() == 0, process.stderr
        assert sorted(process.stdout.splitlines()) == [f"{r}: slurm rank {r} of {N} total 6" for r in range(N)]
    else:
        check(process, "slurm")


def test_mpirun_in_an_allocation_of_slurm(start: Start, script: str, slurm: dict[str, str]) -> None:
    """Both kinds of variables are there; those of MPI are about the ranks."""
    program, options, launcher = COMMANDS["Open MPI"]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    check(start("salloc", "-n", str(N), "-O", program, *options, sys.executable, script, env=slurm), launcher)


def test_nexar_run_in_a_step_of_slurm(start: Start, script: str, slurm: dict[str, str]) -> None:
    """One task that starts ranks by itself: these are its own job, not Slurm's."""
    process = start("srun", "-n", "1", *jobkit.nexar("run", "-n", str(N), script), env=slurm)
    assert process.wait() == 0, process.stderr
    assert sorted(process.stdout.splitlines()) == [f"[{r}] nexar rank {r} of {N} total 6" for r in range(N)]


def test_one_task_of_slurm_is_one_rank(start: Start, script: str, slurm: dict[str, str]) -> None:
    process = start("srun", "-n", "1", sys.executable, script, env=slurm)
    assert process.wait() == 0, process.stderr
    assert process.stdout == "slurm rank 0 of 1 total 1\n"


def test_script_of_a_batch_job_is_no_rank(start: Start, script: str, slurm: dict[str, str]) -> None:
    """Slurm's variables are there, but no step has begun."""
    process = start("salloc", "-n", str(N), "-O", sys.executable, script, env=slurm)
    assert process.wait() == 0, process.stderr
    assert process.stdout == "none rank 0 of 1 total 1\n"
