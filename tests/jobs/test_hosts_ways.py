"""The ways between two hosts (hostkit.py): shared memory inside each, TCP between them, over one interface or two."""

from __future__ import annotations

import json
import os
import re
import signal
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostkit import Host, ip, launch

MIB = 1 << 20


def run(hosts: list[Host], folder: Path, script: str, **more: Any) -> list[Any]:
    """A job of four ranks on two hosts; what each rank has printed as JSON, by rank."""
    path = folder / "ways.py"
    path.write_text(textwrap.dedent(script))
    processes = launch(hosts, path, apart=True, **more)
    for process in processes:
        assert process.wait() == 0, process.stderr
    printed = [line for process in processes for lines in process.lines().values() for line in lines]
    reports = sorted((json.loads(line) for line in printed), key=lambda report: int(report["rank"]))
    assert [report["rank"] for report in reports] == [0, 1, 2, 3]
    return reports


TO_EACH = """
    import json
    import numpy as np, pynexar as nx

    def carried(comm):
        return {name: way["bytes_sent"] for name, way in comm.stats()["transports"].items()}

    with nx.init() as comm:
        ways = {}
        for step in range(1, comm.size):  # each pair by itself
            to, source = (comm.rank + step) % comm.size, (comm.rank - step) % comm.size
            out = np.empty(1 << 20, np.uint8)
            comm.barrier()
            before = carried(comm)
            comm.sendrecv(np.full(1 << 20, comm.rank + 1, np.uint8), to, out, source)
            after = carried(comm)
            assert (out == source + 1).all()
            ways[to] = {name: after[name] - before[name] for name in after}
        x = np.arange(100_003, dtype=np.int64)
        assert (comm.all_reduce(x * (comm.rank + 1)) == x * 10).all()
        comm.barrier()
        links = {name: way.get("links", 0) for name, way in comm.stats()["transports"].items()}
        print(json.dumps({"rank": comm.rank, "ways": ways, "links": links}), flush=True)
"""


def test_memory_inside_and_tcp_between(hosts: list[Host], tmp_path: Path) -> None:
    """Nobody has said anything about transports."""
    cards = Path("/sys/class/infiniband")  # would come before TCP
    env = {"NEXAR_TRANSPORTS": "shm,tcp"} if cards.is_dir() and any(cards.iterdir()) else {}
    for report in run(hosts, tmp_path, TO_EACH, env=env):
        assert report["links"]["shm"] == 1
        assert report["links"]["tcp"] == 2
        for to, ways in report["ways"].items():
            near = int(to) // 2 == report["rank"] // 2
            assert ways["shm"] >= MIB if near else ways["tcp"] >= MIB, (report, to)
            # What others, or the barrier, had sent meanwhile is small.
            assert sum(ways.values()) < MIB + 65536, (report, to)


def test_collectives_of_two_hosts(hosts: list[Host]) -> None:
    """As test_hosts_collectives.py has them where ranks only say where they are."""
    program = Path(__file__).with_name("hosts.py")
    for process in launch(hosts, program, apart=True, env={"NEXAR_PEER_TIMEOUT": "20s"}):
        assert process.wait(120) == 0, process.stderr
        assert process.stdout.count("has checked all") == 2


def test_killed_rank_is_named_inside_and_between(hosts: list[Host], tmp_path: Path) -> None:
    """By its neighbour, with which it shared memory, as by those of the other host."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, time
            import numpy as np, pynexar as nx
            with nx.init() as comm:
                comm.barrier()
                links = [comm.stats()["transports"][name]["links"] for name in ("shm", "tcp")]
                print("rank", comm.rank, "is", os.getpid(), "with links", *links, flush=True)
                try:
                    while True:
                        comm.all_reduce(np.zeros(100_000))
                except nx.PeerLost as error:
                    print("lost", error.rank, error.peer, "at", time.monotonic(), flush=True)
                    signal.pause()  # who leaves is lost to its neighbours, too
            """
        )
    )
    patient = {"NEXAR_PEER_TIMEOUT": "4"}  # nobody else may seem to be gone because it has no core
    processes = launch(hosts, script, apart=True, env=patient)
    for process in processes:
        process.until_printed("links 1 2", 2)
    processes.sort(key=lambda process: "rank 3 is" in process.stdout)  # the host that joined first has ranks 0 and 1
    victim = re.search(r"rank 3 is (\d+)", processes[1].stdout)
    assert victim is not None, processes[1].stdout
    os.kill(int(victim[1]), signal.SIGKILL)
    gone = time.monotonic()
    processes[0].until_printed("lost", 2)
    processes[1].until_all_are_gone(30)  # its launcher ends what is left
    text = f"{processes[0].stdout}{processes[1].stdout}{processes[0].stderr}{processes[1].stderr} killed at {gone}"
    lost = re.findall(r"lost (\d) (\d) at ([\d.]+)", text)
    assert len(lost) == 3, text
    for rank, peer, at in lost:
        assert (rank, peer) == ("3", "3"), text
        assert 0 < float(at) - gone < 8
    assert processes[1].wait() == 128 + signal.SIGKILL


@pytest.fixture
def second_network(hosts: list[Host]) -> Iterator[None]:
    """eth1, 10.78.0.1 and 10.78.0.2."""
    for host in hosts:
        ip("-n", host.name, "link", "set", "eth1", "up")
    yield
    for host in hosts:
        ip("-n", host.name, "link", "set", "eth1", "down")


MUCH = """
    import json
    import numpy as np, pynexar as nx

    with nx.init() as comm:
        out, far = np.empty(24 << 20, np.uint8), comm.size - 1 - comm.rank
        x = np.random.default_rng(comm.rank).integers(0, 256, len(out), np.uint8)
        comm.sendrecv(x, far, out, far)
        assert (out == np.random.default_rng(far).integers(0, 256, len(out), np.uint8)).all()
        comm.barrier()
        print(json.dumps({"rank": comm.rank, "tcp": comm.stats()["transports"]["tcp"]}), flush=True)
"""


@pytest.mark.usefixtures("second_network")
def test_two_interfaces_share_the_bytes(hosts: list[Host], tmp_path: Path) -> None:
    interfaces = ("eth0", "eth1")
    before = [[host.sent(interface) for interface in interfaces] for host in hosts]
    for report in run(hosts, tmp_path, MUCH, env={"NEXAR_INTERFACE": "eth0,eth1", "NEXAR_TCP_STREAMS": "2"}):
        assert report["tcp"]["bytes_sent"] >= 24 * MIB
        assert report["tcp"]["lost"] == 0
    for host, then in zip(hosts, before):
        sent = [host.sent(interface) - was for interface, was in zip(interfaces, then)]
        assert sum(sent) >= 2 * 24 * MIB
        assert min(sent) >= 4 * MIB, f"{host.name}: {dict(zip(interfaces, sent))}"


@pytest.mark.usefixtures("second_network")
def test_only_the_interface_that_is_listed(hosts: list[Host], tmp_path: Path) -> None:
    before = [host.sent("eth0") for host in hosts]
    for report in run(hosts, tmp_path, MUCH, env={"NEXAR_INTERFACE": "=eth1", "NEXAR_TCP_STREAMS": "2"}):
        assert report["tcp"]["bytes_sent"] >= 24 * MIB
    for host, was in zip(hosts, before):
        assert host.sent("eth0") - was < MIB
