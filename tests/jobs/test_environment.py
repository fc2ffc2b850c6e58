"""Ranks that another launcher started: what torchrun, srun, mpirun, and Kubernetes leave in the environment."""

from __future__ import annotations

import socket
import sys
import textwrap

import pytest

import jobkit
from jobkit import Start

SCRIPT = textwrap.dedent(
    """
    import os
    import numpy as np, pynexar as nx
    from pynexar.config import environment
    with nx.init(timeout=float(os.environ.get("PATIENCE", "30"))) as comm:
        total = int(comm.all_reduce(np.array(comm.rank + 1)))
        print(environment()[0]["launcher"], "rank", comm.rank, "of", comm.size, "total", total, flush=True)
    """
)
N = 3
SECRET = "0123456789abcdef0123456789abcdef"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def torchrun(rank: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(N),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(N),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"run-{port}",
    }


def slurm(rank: int, port: int) -> dict[str, str]:
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_NTASKS": str(N),
        "SLURM_LOCALID": str(rank),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS_PER_NODE": str(N),
        "SLURM_STEP_TASKS_PER_NODE": str(N),
        "SLURM_NODEID": "0",
    }


def openmpi(rank: int, port: int) -> dict[str, str]:
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(N),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(N),
        "PMIX_NAMESPACE": f"prterun-{port}",
        "PMIX_RANK": str(rank),
    }


def pmi(rank: int, port: int) -> dict[str, str]:
    return {
        "PMI_RANK": str(rank),
        "PMI_SIZE": str(N),
        "MPI_LOCALRANKID": str(rank),
        "MPI_LOCALNRANKS": str(N),
        "NEXAR_JOB_ID": f"pmi-{port}",
    }


def kubernetes(rank: int, port: int) -> dict[str, str]:
    return {
        "JOB_COMPLETION_INDEX": str(rank),
        "NEXAR_WORLD_SIZE": str(N),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }


def plain(rank: int, port: int) -> dict[str, str]:
    return {
        "NEXAR_RANK": str(rank),
        "NEXAR_WORLD_SIZE": str(N),
        "NEXAR_LOCAL_RANK": str(rank),
        "NEXAR_LOCAL_SIZE": str(N),
        "NEXAR_JOB_ID": f"plain-{port}",
        "NEXAR_MASTER_ADDR": "127.0.0.1",
        "NEXAR_MASTER_PORT": str(port),
    }


LAUNCHERS = {
    "torchrun": torchrun,
    "slurm": slurm,
    "openmpi": openmpi,
    "pmi": pmi,
    "kubernetes": kubernetes,
    "nexar": plain,
}


def run(start: Start, name: str, order: list[int], **more: str) -> list[jobkit.Process]:
    port = free_port()
    return [
        start(sys.executable, "-c", SCRIPT, env={**LAUNCHERS[name](rank, port), "NEXAR_BIND": "127.0.0.1", **more})
        for rank in order
    ]


def check(processes: list[jobkit.Process], name: str, order: list[int]) -> None:
    for process, rank in zip(processes, order):
        assert process.wait() == 0, process.stderr
        assert process.stdout == f"{name} rank {rank} of {N} total {N * (N + 1) // 2}\n"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_with_a_shared_secret(start: Start, name: str) -> None:
    order = [2, 0, 1]  # rank 0, which is the seed, is not the first to come
    check(run(start, name, order, NEXAR_SECRET=SECRET), name, order)


@pytest.mark.parametrize("name", ["torchrun", "slurm", "openmpi", "pmi", "nexar"])
def test_on_one_host_without_a_secret(start: Start, name: str) -> None:
    """They meet through a file of the user's."""
    order = [1, 2, 0]
    check(run(start, name, order), name, order)


def test_secret_from_a_file(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    check(run(start, "torchrun", [0, 1, 2], NEXAR_SECRET_FILE=str(path)), "torchrun", [0, 1, 2])


def test_wrong_secret_is_refused_on_both_sides(start: Start) -> None:
    port = free_port()
    processes = [
        start(sys.executable, "-c", SCRIPT, env={**torchrun(rank, port), "NEXAR_SECRET": secret,
                                                 "NEXAR_BIND": "127.0.0.1", "PATIENCE": "3"})
        for rank, secret in enumerate([SECRET, SECRET, SECRET[::-1]])
    ]  # fmt: skip
    assert processes[2].wait() == 1
    assert "pynexar.errors.AuthError" in processes[2].stderr
    for process in processes[:2]:
        assert process.wait() == 1


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({**torchrun(0, 29500), "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "192.0.2.7"}, "NEXAR_SECRET"),
        ({"NEXAR_RANK": "1"}, "NEXAR_WORLD_SIZE"),
        ({"NEXAR_RANK": "5", "NEXAR_WORLD_SIZE": "2", "NEXAR_SECRET": SECRET}, "5"),
        ({"NEXAR_JOIN": "nexar://127.0.0.1:7000?token=abc"}, "NEXAR_JOIN"),
        (
            {"NEXAR_RANK": "0", "NEXAR_WORLD_SIZE": "2", "NEXAR_SECRET": "short", "NEXAR_MASTER_ADDR": "::1"},
            "NEXAR_SECRET",
        ),
        ({"NEXAR_TIMEOUT": "soon"}, "NEXAR_TIMEOUT"),
    ],
)
def test_environment_that_is_wrong_says_what_to_set(start: Start, environment: dict[str, str], words: str) -> None:
    process = start(sys.executable, "-c", "import pynexar as nx; nx.init(timeout=3)", env=environment)
    assert process.wait(30) == 1
    last = process.stderr.rstrip().splitlines()[-1]
    assert last.startswith("pynexar.errors.ConfigError: ")
    assert words in last


def test_no_launcher_is_a_job_of_one_rank(start: Start) -> None:
    process = start(sys.executable, "-c", SCRIPT)
    assert process.wait() == 0
    assert process.stdout == "none rank 0 of 1 total 1\n"


def test_info_says_which_launcher_was_found(start: Start) -> None:
    process = start(*jobkit.nexar("info"), env={**slurm(1, 5), "NEXAR_SECRET": SECRET})
    assert process.wait() == 0, process.stderr
    assert "slurm" in process.stdout
    assert "1 of 3" in process.stdout
    assert SECRET not in process.stdout
