"""nexar run: what becomes of a job when one of its ranks fails."""

from __future__ import annotations

import re
import signal
import time

import pytest

import jobkit
from jobkit import Start


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
    assert process.lines()["1"] == ["tidy"]
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
    assert re.search(r"nexar run: rank [02]: exit status 1 \(Timeout\), the first to fail", process.stderr)


def test_many_that_fail_do_not_push_the_first_one_off_the_screen(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "30", "--", "sh", "-c", "echo why >&2; exit 3"))
    assert process.wait() == 3
    report = process.stderr[process.stderr.index("nexar run: ") :].splitlines()
    assert report[1] == "    why"
    assert len(report) <= 12
    assert report[-1] == "then 21 more"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('a'", ["SyntaxError: '(' was never closed"]),
        ("import numpyy", ["Traceback", "ModuleNotFoundError: No module named 'numpyy'"]),
        ("import pynexar as nx\nnx.int()", ["AttributeError: module 'pynexar' has no attribute 'int'"]),
        ("import pynexar as nx\nnx.init().all_reduc(1)", ["(AttributeError)", "all_reduc"]),
        ("import sys; sys.exit('out of data')", ["    out of data"]),
    ],
)
def test_bugs_of_users(job: Start, script: str, words: list[str]) -> None:
    process = job(script, "-n", "3")
    assert process.wait() == 1
    report = process.stderr[process.stderr.index("nexar run: ") :]
    assert "the first to fail" in report
    first = report.partition("then rank")[0]
    for word in words:
        assert word in first


def test_module_that_does_not_exist(start: Start) -> None:
    process = start(*jobkit.nexar("run", "-n", "2", "-m", "pynexar.exampels.hello"))
    assert process.wait() == 1
    assert "No module named 'pynexar.exampels'" in process.stderr[process.stderr.index("nexar run: ") :]
