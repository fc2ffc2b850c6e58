"""Jobs of two hosts, which are network namespaces (hostkit.py): who finds whom, by which address, and what breaks."""

from __future__ import annotations

import re
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import jobkit
from hostkit import Host, ip, launch

SECRET = "0123456789abcdef0123456789abcdef"
SCRIPT = textwrap.dedent(
    """
    import numpy as np, pynexar as nx
    with nx.init(timeout=20) as comm:
        total = int(comm.all_reduce(np.array(comm.rank + 1)))
        peers = [comm.peer(rank).remote_addr for rank in range(comm.size) if rank != comm.rank]
        print("rank", comm.rank, "of", comm.size, "total", total, "peers", *peers, flush=True)
        comm.barrier()
    """
)
N = 4


def said(processes: list[jobkit.Process]) -> dict[int, list[str]]:
    """Addresses of the other ranks by rank; every rank has the right sum."""
    text = "".join(process.stdout for process in processes)
    found = re.findall(rf"rank (\d) of {N} total {N * (N + 1) // 2} peers (.*)", text)
    assert len(found) == N, text + "".join(process.stderr for process in processes)
    return {int(rank): peers.split() for rank, peers in found}


@pytest.mark.parametrize("bind", [None, "10.77.0.1", "fd77::1", "[fd77::1]:7077", "0.0.0.0", "::"])
def test_two_launchers(hosts: list[Host], tmp_path: Path, bind: str | None) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    processes = launch(hosts, script, *([] if bind is None else ["--bind", bind]))
    for process in processes:
        assert process.wait() == 0, process.stderr
    for rank, peers in said(processes).items():
        assert not any("172.17" in peer for peer in peers), f"rank {rank} knows others by {peers}"
        assert sum(peer.startswith(("10.77.0.", "[fd77::")) for peer in peers) >= N // 2
    assert not any(process.alive() for process in processes)


def torchrun(rank: int, host: Host) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(N),
        "LOCAL_RANK": str(rank % 2),
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": str(rank // 2),
        "MASTER_ADDR": host.four,
        "MASTER_PORT": "29577",
        "TORCHELASTIC_RUN_ID": "run-77",
    }


def torchrun_six(rank: int, host: Host) -> dict[str, str]:
    return {**torchrun(rank, host), "MASTER_ADDR": host.six}


def slurm(rank: int, host: Host) -> dict[str, str]:  # noqa: ARG001
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_NTASKS": str(N),
        "SLURM_LOCALID": str(rank % 2),
        "SLURM_STEP_NODELIST": "10.77.0.[1-2]",
        "SLURM_JOB_ID": "77",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_NODEID": str(rank // 2),
    }


def openmpi(rank: int, host: Host) -> dict[str, str]:
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(N),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank % 2),
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "PMIX_NAMESPACE": "prterun-77",
        "PMIX_RANK": str(rank),
        "NEXAR_MASTER_ADDR": host.four,
    }


def kubernetes(rank: int, host: Host) -> dict[str, str]:
    return {
        "JOB_COMPLETION_INDEX": str(rank),
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "NEXAR_WORLD_SIZE": str(N),
        "NEXAR_MASTER_ADDR": host.four,
    }


LAUNCHERS = [torchrun, torchrun_six, slurm, openmpi, kubernetes]


def ranks(hosts: list[Host], launcher: Any, **more: str) -> list[jobkit.Process]:
    """Two on each host; rank 0, which is the seed, is not the first to come."""
    return [
        hosts[rank // 2].start(sys.executable, "-c", SCRIPT, env={**launcher(rank, hosts[0]), **more})
        for rank in (3, 1, 0, 2)
    ]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ranks_that_share_a_secret(hosts: list[Host], launcher: Any) -> None:
    processes = ranks(hosts, launcher, NEXAR_SECRET=SECRET)
    for process in processes:
        assert process.wait() == 0, process.stderr
    for peers in said(processes).values():
        assert not any("172.17" in peer for peer in peers), peers


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_without_a_secret_it_is_said_what_to_set(hosts: list[Host], launcher: Any) -> None:
    for process in ranks(hosts, launcher):
        assert process.wait(30) == 1
        last = process.stderr.rstrip().splitlines()[-1]
        assert last.startswith("pynexar.errors.ConfigError: ")
        assert "NEXAR_SECRET" in last


def test_group_whose_ranks_share_no_memory(hosts: list[Host]) -> None:
    """Nobody waits for those who cannot: all go by other ways at once."""
    processes = ranks(hosts, slurm, NEXAR_SECRET=SECRET, NEXAR_GROUP="one", NEXAR_LOG="info")
    for process in processes:
        assert process.wait() == 0, process.stderr
        assert "no shm link" in process.stderr
        assert "in time" not in process.stderr
    assert any("cannot be reached by a local socket" in process.stderr for process in processes)
    said(processes)


def test_interface(hosts: list[Host]) -> None:
    """The one that is asked for is the one that is told."""
    processes = ranks(hosts, torchrun, NEXAR_SECRET=SECRET, NEXAR_INTERFACE="=eth0")
    for process in processes:
        assert process.wait() == 0, process.stderr
    for peers in said(processes).values():
        assert all(peer.startswith(("10.77.0.", "[fd77::")) for peer in peers), peers
    process = hosts[0].start(
        sys.executable, "-c", SCRIPT, env={**torchrun(0, hosts[0]), "NEXAR_SECRET": SECRET, "NEXAR_INTERFACE": "ib0"}
    )
    assert process.wait() == 1
    assert 'interface "ib0"' in process.stderr
    assert "eth0 (10.77.0.1)" in process.stderr


def test_cable_that_is_cut(hosts: list[Host], namespaces: list[str], tmp_path: Path) -> None:
    """Every rank loses those of the other host, and says so."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import signal, time
            import numpy as np, pynexar as nx
            with nx.init() as comm:
                comm.barrier()
                print("waiting", flush=True)
                try:
                    while True:
                        comm.all_reduce(np.zeros(1000))
                except nx.PeerLost as error:
                    print("rank", comm.rank, "lost", error.rank, "at", time.monotonic(), flush=True)
                    signal.pause()  # who leaves is lost to its neighbour, too
            """
        )
    )
    processes = launch(hosts, script)
    for process in processes:
        process.until_printed("waiting", 2)
    cut = time.monotonic()
    ip("-n", namespaces[2], "link", "set", "host2", "nomaster")  # neither host's kernel notices
    try:
        for process in processes:
            process.until_printed("lost", 2)
    finally:
        ip("-n", namespaces[2], "link", "set", "host2", "master", "switch")
    sides = []
    for process in processes:
        lost = re.findall(r"rank (\d) lost (\d) at ([\d.]+)", process.stdout)
        here = {int(rank) for rank, _, _ in lost}
        assert len(here) == 2
        assert not here & {int(peer) for _, peer, _ in lost}
        assert all(float(at) - cut < 3 for _, _, at in lost)
        sides.append(here)
    assert sides[0] | sides[1] == {0, 1, 2, 3}


@pytest.mark.parametrize("whom", [0, 1])
def test_launcher_of_one_host_is_killed(hosts: list[Host], tmp_path: Path, whom: int) -> None:
    """Its ranks end with it, and the other host's job fails within seconds."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pynexar as nx\nwith nx.init() as comm:\n    comm.barrier()\n    print('waiting', flush=True)\n"
        "    comm.recv(bytearray(1), nx.ANY)\n"
    )
    processes = launch(hosts, script)
    for process in processes:
        process.until_printed("waiting", 2)
    processes[whom].send(signal.SIGKILL)
    processes[whom].until_all_are_gone()
    other = processes[1 - whom]
    assert other.wait(10) == 1
    assert "PeerLost" in other.stderr
    other.until_all_are_gone()
