"""Jobs whose ranks come and go: growing, leaving, kills while somebody joins, a seed that is gone, restarts."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest

import jobkit
from hostkit import Host
from jobkit import Process, Start

PROGRAM = str(Path(__file__).with_name("elastic.py"))
FULL = bool(os.environ.get("NX_TEST_FULL"))
# The machine may be busy, and a rank without a core for long.
CALM = {"NEXAR_PEER_TIMEOUT": "20s"}


class Crew:
    """Processes with names, of one elastic job, and the seed that they start with."""

    def __init__(self, start: Start, folder: Path, size: int, **env: str) -> None:
        self.start = start
        self.folder = folder
        self.env = {**CALM, **env}
        self.seed = start(*jobkit.nexar("seed", "--elastic", "--listen", "127.0.0.1:0", "--world-size", str(size)))
        self.seed.until_printed("nexar://")
        self.join = self.seed.stdout.strip()
        self.ranks: dict[int, Process] = {}

    def add(self, *names: int, **env: str) -> None:
        for name in names:
            more = {**self.env, "NAME": str(name), "NEXAR_JOIN": self.join, "NEXAR_BIND": "127.0.0.1", **env}
            self.ranks[name] = self.start(sys.executable, PROGRAM, str(self.folder), env=more)

    def until_members(self, names: set[int]) -> list[int]:
        """All of them say that it is these; in the order of their ranks."""
        said: dict[int, list[int]] = {}

        def agreed() -> bool:
            for name in names:
                lines = re.findall(r"^members: (.*)\n", self.ranks[name].stdout, re.MULTILINE)
                said[name] = [int(word) for word in lines[-1].split()] if lines else []
                assert self.ranks[name].popen.poll() is None, self.ranks[name].stdout + self.ranks[name].stderr
            return all(sorted(members) == sorted(names) for members in said.values())

        try:
            self.ranks[min(names)].until(agreed, "agreement", timeout=60)
        except AssertionError as error:
            heard = "\n".join(f"{name}: {rank.stdout}\n{rank.stderr}" for name, rank in self.ranks.items())
            raise AssertionError(f"{sorted(names)} are to be the members, they say {said}\n{heard}") from error
        orders = {tuple(members) for members in said.values()}
        assert len(orders) == 1, orders
        return list(orders.pop())

    def leave(self, *names: int) -> None:
        for name in names:
            (self.folder / f"leave-{name}").touch()
        for name in names:
            process = self.ranks.pop(name)
            assert process.wait() == 0, process.stdout + process.stderr
            assert process.stdout.endswith("left\n"), process.stdout
            (self.folder / f"leave-{name}").unlink()

    def kill(self, name: int) -> None:
        self.ranks.pop(name).send(signal.SIGKILL)

    def end(self) -> None:
        (self.folder / "stop").touch()
        for process in self.ranks.values():
            assert process.wait() == 0, process.stdout + process.stderr
            assert process.stdout.endswith(f"done: {len(self.ranks)}\n"), process.stdout
        if self.seed.popen.poll() is None:
            self.seed.send(signal.SIGTERM)
            assert self.seed.wait() == 0, self.seed.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["auto", "tcp", "quic"])
def test_grows_from_two_to_six_and_back(start: Start, tmp_path: Path, way: str) -> None:
    """E1, E4: who was there keeps its order and comes first; every element is right in between."""
    crew = Crew(start, tmp_path, 2, NEXAR_TRANSPORTS=way)
    crew.add(1, 2)
    before = crew.until_members({1, 2})
    for names in ({3}, {4, 5, 6}):
        crew.add(*names)
        after = crew.until_members(set(before) | names)
        assert after[: len(before)] == before
        before = after
    for names in ({before[0]}, {before[2], before[5]}, {before[1]}):  # the first among them
        crew.leave(*names)
        left = [name for name in before if name not in names]
        assert crew.until_members(set(left)) == left
        before = left
    assert len(before) == 2
    crew.end()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["auto", pytest.param("tcp", marks=pytest.mark.full)])
def test_kills_while_others_join(start: Start, tmp_path: Path, way: str) -> None:
    """E2, E3, E5: whoever is lost, waiting, joining or a member, the others go on, and the next one joins."""
    seed = random.randrange(1 << 30)
    print("seed", seed)  # shown if it fails
    random.seed(seed)
    crew = Crew(start, tmp_path, 4, NEXAR_TRANSPORTS=way)
    crew.add(1, 2, 3, 4)
    names = {1, 2, 3, 4}
    crew.until_members(names)
    following = 5
    for turn in range(100 if FULL else 8):
        crew.add(following)
        names.add(following)
        following += 1
        if turn % 2 == 0:
            crew.until_members(names)
        else:
            time.sleep(random.random() * 0.4)  # the moment is what is drawn: before it joins, while, and after
        # The seed knows those that formed the job: one of them stays, or nobody could say where the others are.
        known = names & {1, 2, 3, 4}
        victim = random.choice(sorted(names - known if len(known) == 1 else names))
        crew.kill(victim)
        names.remove(victim)
        crew.until_members(names)
    crew.end()


@pytest.mark.timeout(120)
def test_the_seed_is_no_single_point_of_failure(start: Start, tmp_path: Path) -> None:
    """E6: killed after the job has formed, and with it the rank that was first; others join by a member."""
    crew = Crew(start, tmp_path, 3)
    crew.add(1, 2, 3)
    first = crew.until_members({1, 2, 3})[0]
    script = "import pynexar as nx; c = nx.init(elastic=True); print(c.join_string, flush=True); c.close()"
    # A visitor says where the job is now: it joins, and is gone again.
    visitor = start(sys.executable, "-c", script, env={**crew.env, "NEXAR_JOIN": crew.join, "NEXAR_BIND": "127.0.0.1"})
    assert visitor.wait() == 0, visitor.stderr
    crew.until_members({1, 2, 3})
    crew.seed.send(signal.SIGKILL)
    crew.kill(first)
    left = {1, 2, 3} - {first}
    crew.until_members(left)
    crew.join = visitor.stdout.strip()
    crew.add(4)
    crew.until_members(left | {4})
    crew.end()


@pytest.mark.timeout(120)
def test_bounds(start: Start, tmp_path: Path) -> None:
    crew = Crew(start, tmp_path, 2, NEXAR_MIN_WORLD="2", NEXAR_MAX_WORLD="3")
    crew.add(1, 2)
    crew.until_members({1, 2})
    crew.add(3)
    crew.until_members({1, 2, 3})
    crew.add(4)  # has to wait
    crew.kill(3)
    crew.until_members({1, 2, 4})
    crew.kill(1)
    crew.kill(4)  # one is too few: it waits for another
    crew.add(5)
    crew.until_members({2, 5})
    crew.end()


# ------------------------------------------------------------------------------------------------------ the launcher
def ranks_of(process: Process) -> dict[int, str]:
    """Processes that the example has told, and which of the launcher's ranks they are."""
    return {int(pid): rank for rank, pid in re.findall(r"\[([\w.-]+)\] process (\d+) is rank", process.stdout)}


def losses(process: Process) -> list[tuple[int, int, float]]:
    """Step, ranks and loss."""
    lines = re.findall(r"step (\d+): (\d+) ranks, loss (\S+)\n", process.stdout)
    return [(int(step), int(ranks), float(loss)) for step, ranks, loss in lines]


def falls(process: Process) -> None:
    """Never a step twice or left out, and at each of them the loss is less, however many ranks there were."""
    said = losses(process)
    steps = [step for step, _, _ in said]
    assert steps == sorted(set(steps)), steps
    for (_, _, before), (_, _, after) in zip(said, said[1:]):
        assert after < before, said


@pytest.mark.timeout(200)
def test_training_goes_on_through_three_kills_and_three_joins(start: Start) -> None:
    """The example, as its own text says it: kill -9 at will, and the launcher starts the rank again, which joins."""
    files = set(os.listdir("/dev/shm"))
    command = ("run", "-n", "4", "--restarts", "3", "-m", "pynexar.examples.elastic_training")
    process = start(*jobkit.nexar(*command, "--steps", "600", "--pause", "0.01"), env=CALM)
    process.until(lambda: len(ranks_of(process)) == 4, "4 ranks")
    for kills in range(3):
        process.until(lambda: losses(process)[-1:] and losses(process)[-1][1] == 4, "all four again")
        dead = {int(pid) for pid in re.findall(r"killed (\d+)", process.stdout)}
        alive = [pid for pid in ranks_of(process) if pid not in dead and Path(f"/proc/{pid}").exists()]
        assert len(alive) == 4, alive
        os.kill(random.choice(alive), signal.SIGKILL)
        count = len(losses(process))
        process.until(
            lambda kills=kills: len(ranks_of(process)) == 5 + kills,  # type: ignore[misc]
            "one that joins",
        )
        process.until(lambda count=count: len(losses(process)) > count + 2, "steps after it")  # type: ignore[misc]
    assert process.wait(120) == 0, process.stdout + process.stderr
    assert process.stderr.count("it is started again") == 3
    falls(process)
    assert len(set(re.findall(r"600 steps, loss (\S+)\n", process.stdout))) == 1, process.stdout
    process.until_all_are_gone()
    assert {name for name in os.listdir("/dev/shm") if "nexar" in name} <= files


@pytest.mark.timeout(200)
def test_other_machines_join_and_go_away_again(start: Start) -> None:
    """Three launchers, as on three machines: the second and the third come later, and one of them is killed."""
    command = ("run", "-n", "2", "--nnodes", "1:3")
    example = ("-m", "pynexar.examples.elastic_training", "--steps", "700", "--pause", "0.01")
    env = {**CALM, "NEXAR_BIND": "127.0.0.1"}
    first = start(*jobkit.nexar(*command, *example), env=env)
    first.until(lambda: "--join @FILE" in first.stderr, "what to type on other machines")
    path = re.findall(r"< (\S+)\n", first.stderr)[0]
    first.until(lambda: losses(first)[-1:] and losses(first)[-1][1] == 2, "two ranks")
    others = []
    for ranks in (4, 6):
        others.append(start(*jobkit.nexar(*command, "--join", f"@{path}", *example), env=env))
        first.until(lambda ranks=ranks: losses(first)[-1][1] == ranks, f"{ranks} ranks")  # type: ignore[misc]
    others[0].kill()
    first.until(lambda: losses(first)[-1][1] == 4, "four ranks again")
    assert first.wait(120) == 0, first.stdout + first.stderr
    assert others[1].wait() == 0, others[1].stdout + others[1].stderr
    falls(first)
    first.until_all_are_gone()


@pytest.mark.timeout(200)
def test_a_rank_that_was_frozen_and_excluded_comes_back_as_a_new_one(start: Start) -> None:
    command = ("run", "-n", "3", "--restarts", "1", "-m", "pynexar.examples.elastic_training")
    process = start(*jobkit.nexar(*command, "--steps", "800", "--pause", "0.01"), env={"NEXAR_PEER_TIMEOUT": "1s"})
    process.until(lambda: losses(process)[-1:] and losses(process)[-1][1] == 3, "three ranks")
    victim = next(pid for pid, rank in ranks_of(process).items() if rank == "2")
    os.kill(victim, signal.SIGSTOP)
    process.until(lambda: losses(process)[-1][1] == 2, "two ranks")
    os.kill(victim, signal.SIGCONT)
    process.until(lambda: losses(process)[-1][1] == 3, "three ranks again")
    assert process.wait(120) == 0, process.stdout + process.stderr
    assert re.search(r"rank 2: exit status 1 \((PeerLost|QuorumLost)\); it is started again", process.stderr)
    falls(process)


def test_restarts_end(job: Start) -> None:
    """A rank that fails each time: after so many restarts the job fails with it."""
    script = """
        import os, sys, pynexar as nx
        comm = nx.init(elastic=True)
        if os.environ["NEXAR_LOCAL_RANK"] == "1":
            sys.exit(7)
        try:
            while True:
                comm.barrier()
                comm = comm.elastic_checkpoint()
        except nx.PeerLost:
            while True:
                try:
                    comm = comm.shrink()
                    while True:
                        comm.barrier()
                        comm = comm.elastic_checkpoint()
                except nx.PeerLost:
                    pass
    """
    process = job(script, "-n", "2", "--restarts", "2")
    assert process.wait() == 7, process.stdout + process.stderr
    assert process.stderr.count("it is started again") == 2
    assert "0 restarts are left" in process.stderr
    process.until_all_are_gone()


@pytest.mark.timeout(120)
def test_another_host_joins(hosts: list[Host], tmp_path: Path) -> None:
    """Over a network: two ranks on one host, and a third that comes from another, and leaves."""
    here, there = hosts
    seed = here.start(
        *jobkit.nexar("seed", "--elastic", "--listen", "0.0.0.0:0", "--world-size", "2"), env={"NEXAR_LOG": "warn"}
    )
    seed.until_printed("nexar://")
    env = {**CALM, "NEXAR_JOIN": seed.stdout.strip()}
    ranks = [here.start(sys.executable, PROGRAM, str(tmp_path), env={**env, "NAME": str(name)}) for name in (1, 2)]
    for rank in ranks:
        rank.until(lambda rank=rank: re.search("members: [12] [12]\n", rank.stdout), "two")  # type: ignore[misc]
    other = there.start(sys.executable, PROGRAM, str(tmp_path), env={**env, "NAME": "3"})
    for rank in (*ranks, other):
        rank.until(lambda rank=rank: re.search("members: [12] [12] 3\n", rank.stdout), "three")  # type: ignore[misc]
    (tmp_path / "leave-3").touch()
    assert other.wait() == 0, other.stderr
    (tmp_path / "stop").touch()
    for rank in ranks:
        assert rank.wait() == 0, rank.stderr
        assert rank.stdout.endswith("done: 2\n")
