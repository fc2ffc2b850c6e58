"""Jobs from Python: nx.launch, nx.Seed and nx.local_cluster, each as a program of its own."""

from __future__ import annotations

import re
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

import jobkit
from jobkit import Start

# What most of them share; `fn` and the rest come from each test.
HEAD = """
    import os, signal, sys, threading, time
    import numpy as np, pynexar as nx
"""


@pytest.fixture
def program(start: Start, tmp_path: Path) -> Start:
    """program(text): a script of its own, from a file."""

    def run(text: str, **more: object) -> jobkit.Process:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(HEAD) + textwrap.dedent(text))
        return start(sys.executable, str(path), **more)

    return run


# -------------------------------------------------------------------------------------------------------------- launch
def test_launch_returns_what_the_ranks_return(program: Start) -> None:
    process = program(
        """
        class Answer:
            def __init__(self, rank, value):
                self.rank, self.value = rank, value

        def fn(scale, array):
            with nx.init() as comm:
                assert os.environ["NEXAR_LOCAL_SIZE"] == str(comm.size)
                return Answer(comm.rank, comm.all_reduce(array * scale * comm.rank))

        if __name__ == "__main__":
            for n in (1, 3):
                answers = nx.launch(fn, n, 2, np.ones(1_000_000))
                assert [answer.rank for answer in answers] == list(range(n))
                assert all((answer.value == n * (n - 1)).all() for answer in answers)
            print("fine")
        """
    )
    assert process.wait() == 0, process.stderr
    assert process.stdout == "fine\n"
    assert process.stderr == ""
    process.until_all_are_gone()


@pytest.mark.parametrize("rank", [0, 2])
def test_launch_raises_what_the_first_failing_rank_raised(program: Start, rank: int) -> None:
    process = program(
        f"""
        class Own(Exception):
            pass

        def fn():
            with nx.init() as comm:
                comm.barrier()
                if comm.rank == {rank}:
                    raise Own("what happened")
                comm.barrier()

        if __name__ == "__main__":
            try:
                nx.launch(fn, 3)
            except Own as error:
                print("own:", error)
                raise
        """
    )
    assert process.wait(20) == 1
    assert process.stdout == "own: what happened\n"
    assert f"Rank {rank} of 3:" in process.stderr
    assert "in fn" in process.stderr.partition("direct cause")[0]  # where it happened, there
    process.until_all_are_gone()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os._exit(3)", "rank 1 of 3 ended without a result: exit status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "rank 1 of 3 ended without a result: killed by SIGKILL"),
        ("sys.exit(4)", "rank 1 of 3: SystemExit: 4"),
        ("raise Awkward(1, 2)", "rank 1 of 3: .*Awkward: 1 and 2"),
    ],
)
def test_launch_says_what_became_of_a_rank_without_a_result(program: Start, how: str, words: str) -> None:
    process = program(
        f"""
        class Awkward(Exception):
            def __init__(self, a, b):
                super().__init__(f"{{a}} and {{b}}")

        def fn():
            with nx.init() as comm:
                if comm.rank == 1:
                    {how}
                comm.recv(bytearray(1), 1)

        if __name__ == "__main__":
            nx.launch(fn, 3)
        """
    )
    assert process.wait(20) == 1
    assert re.search(words, process.stderr.rstrip().splitlines()[-1]), process.stderr
    process.until_all_are_gone()


def test_result_that_cannot_be_pickled(program: Start) -> None:
    process = program(
        """
        def fn():
            with nx.init() as comm:
                comm.barrier()
                rank = comm.rank
            return threading.Lock() if rank == 1 else rank

        if __name__ == "__main__":
            nx.launch(fn, 3)
        """
    )
    assert process.wait(20) == 1
    assert "Rank 1 of 3:" in process.stderr
    assert re.search("UsageError: launch: .* cannot be pickled", process.stderr.rstrip().splitlines()[-1])


def test_launch_ends_a_rank_that_does_not_end_by_itself(program: Start) -> None:
    process = program(
        """
        def fn():
            with nx.init() as comm:
                comm.barrier()
                rank = comm.rank
            if rank == 0:
                raise LookupError("one fails")
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                signal.pause()

        if __name__ == "__main__":
            nx.launch(fn, 3)
        """
    )
    assert process.wait(20) == 1
    assert process.stderr.rstrip().endswith("LookupError: one fails")
    assert time.monotonic() - process.began > 4  # 3 s to fail by themselves, 1 s after SIGTERM
    process.until_all_are_gone()


def test_launch_waits_for_what_a_rank_does_at_its_end(program: Start, tmp_path: Path) -> None:
    process = program(
        """
        def fn():
            import atexit
            with nx.init() as comm:
                rank = comm.rank
            def late():
                time.sleep(1.5)
                open(f"late{rank}", "w").close()
            atexit.register(late)

        if __name__ == "__main__":
            nx.launch(fn, 2)
        """
    )
    assert process.wait(20) == 0, process.stderr
    assert [(tmp_path / f"late{rank}").exists() for rank in (0, 1)] == [True, True]


WAITING = """
    def fn():
        with nx.init() as comm:
            print("ready", flush=True)
            comm.recv(bytearray(1), nx.ANY)

    if __name__ == "__main__":
        nx.launch(fn, 3)
"""


def test_ctrl_c_ends_a_launch(program: Start) -> None:
    process = program(WAITING)
    process.until_printed("ready", 3)
    process.send(signal.SIGINT)
    assert process.wait(8) in (1, 130, -signal.SIGINT)
    assert process.stderr.rstrip().endswith("KeyboardInterrupt")
    process.until_all_are_gone()


def test_killed_program_leaves_no_rank(program: Start) -> None:
    process = program(WAITING)
    process.until_printed("ready", 3)
    process.send(signal.SIGKILL)
    process.until_all_are_gone()


def test_launch_inside_a_rank(job: Start) -> None:
    """It is a job of its own, whatever the environment says about the outer one."""
    process = job(
        """
        import pynexar as nx

        def fn():
            with nx.init() as comm:
                comm.barrier()
                return comm.rank, comm.size

        if __name__ == "__main__":
            with nx.init() as comm:
                assert nx.launch(fn, 3) == [(0, 3), (1, 3), (2, 3)]
                comm.barrier()
        """,
        "-n",
        "2",
    )
    assert process.wait() == 0, process.stderr


INTERACTIVE = (
    "import pynexar as nx\ndef fn():\n    with nx.init() as comm: return comm.size\n\nprint(nx.launch(fn, 2))\n"
)


def test_launch_from_a_notebook(start: Start) -> None:
    """What is not in a file goes by cloudpickle."""
    pytest.importorskip("cloudpickle")
    for process in (start(sys.executable, "-c", INTERACTIVE), start(sys.executable, "-i", "-q", stdin=INTERACTIVE)):
        assert process.wait() == 0, process.stderr
        assert "[2, 2]" in process.stdout, process.stderr


def test_launch_from_a_notebook_without_cloudpickle(start: Start, tmp_path: Path) -> None:
    (tmp_path / "cloudpickle.py").write_text("raise ImportError\n")
    process = start(sys.executable, "-c", INTERACTIVE)
    assert process.wait(20) == 1
    last = process.stderr.rstrip().splitlines()[-1]
    assert last.startswith("pynexar.errors.UsageError: launch: ")
    assert "cloudpickle" in last


@pytest.mark.parametrize("n", ["0", "-1", "'4'", "2.5"])
def test_launch_with_a_wrong_number(program: Start, n: str) -> None:
    process = program(f"nx.launch(print, {n})")
    assert process.wait() == 1
    assert "pynexar.errors.UsageError: " in process.stderr.rstrip().splitlines()[-1]


# ---------------------------------------------------------------------------------------------------------------- seed
def test_seed_serves_from_its_creation(start: Start, program: Start) -> None:
    rank = (
        "import pynexar as nx\nwith nx.init(timeout=30) as comm:\n    comm.barrier()\n    print(comm.rank, comm.size)\n"
    )
    seed = program(
        """
        with nx.Seed("127.0.0.1:0", world_size=3) as seed:
            print(seed.join_string, flush=True)
            assert not seed.poll()
            seed.wait(timeout=30)
        print("formed", flush=True)
        """
    )
    seed.until_printed("\n")
    join = seed.stdout.strip()
    assert re.fullmatch(r"nexar://127\.0\.0\.1:\d+\?token=[\w-]{43}&ca=sha256:[\w-]+", join)
    ranks = [start(sys.executable, "-c", rank, env={"NEXAR_JOIN": join}) for _ in range(3)]
    for process in ranks:
        assert process.wait() == 0, process.stderr
    assert sorted(process.stdout for process in ranks) == ["0 3\n", "1 3\n", "2 3\n"]
    assert seed.wait() == 0, seed.stderr
    assert "formed" in seed.stdout


def test_seed_says_who_is_missing(start: Start, program: Start) -> None:
    seed = program(
        """
        with nx.Seed("127.0.0.1:0", 3, nx.Config(join_timeout=2)) as seed:
            print(seed.join_string, flush=True)
            seed.wait()
        """
    )
    seed.until_printed("\n")
    environment = {"NEXAR_JOIN": seed.stdout.strip(), "NEXAR_RANK": "1", "NEXAR_WORLD_SIZE": "3"}
    rank = start(sys.executable, "-c", "import pynexar as nx; nx.init()", env=environment)
    for process in (seed, rank):
        assert process.wait(20) == 1
        last = process.stderr.rstrip().splitlines()[-1]
        assert last.startswith("pynexar.errors.Timeout: ")
        assert "0" in last
        assert "2" in last


# ------------------------------------------------------------------------------------------------------- local_cluster
def test_local_cluster_is_a_list_of_communicators(program: Start) -> None:
    process = program(
        """
        with nx.local_cluster(4) as comms:
            assert [comm.rank for comm in comms] == [0, 1, 2, 3] and len(comms) == 4
            assert comms[-1].rank == 3 and [comm.rank for comm in comms[1:3]] == [1, 2]
            assert all(comm.size == 4 for comm in comms)
            sums = comms.run(lambda comm, scale: comm.all_reduce(np.full(3, comm.rank * scale)), 10)
            assert [list(x) for x in sums] == [[60, 60, 60]] * 4
        assert all(comm.closed for comm in comms)
        print("fine")
        """
    )
    assert process.wait() == 0, process.stderr
    assert process.stdout == "fine\n"


def test_error_in_a_thread_of_a_local_cluster(program: Start) -> None:
    """It is raised with the traceback of where it happened, and its rank; the others do not wait for ever."""
    process = program(
        """
        def work(comm):
            if comm.rank == 2:
                raise LookupError("what happened")
            comm.barrier()

        with nx.local_cluster(4) as comms:
            comms.run(work)
        """
    )
    assert process.wait(20) == 1
    assert "LookupError: what happened" in process.stderr
    assert "in work" in process.stderr
    assert "rank 2 of 4" in process.stderr
    process.until_all_are_gone()
