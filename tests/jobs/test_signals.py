"""Ctrl-C and other signals while a call waits in C: real signals to a real process."""

from __future__ import annotations

import signal
import textwrap
import time

import pytest

import jobkit
from jobkit import Start

# Each call waits for ever.  The buffer, and what another rank sends afterwards, show that C has let go of it.
PROLOGUE = """
    import sys, time, threading
    import numpy as np
    import pynexar as nx

    def waiting():
        print("waiting", flush=True)

    def interrupted(call):
        waiting()
        began = time.monotonic()
        try:
            call()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        else:
            sys.exit("it was not interrupted")
"""
CALLS = {
    "recv": "interrupted(lambda: comms[0].recv(out, 1))",
    "all_reduce": "interrupted(lambda: comms[0].all_reduce(out, out=out))",
    "barrier": "interrupted(comms[0].barrier)",
    "sendrecv": "interrupted(lambda: comms[0].sendrecv(b'x', 1, out, 1))",
    "probe": "interrupted(lambda: comms[0].probe(1))",
    "op.wait": "interrupted(comms[0].nb.recv(out, 1).wait)",
    "wait_all": "interrupted(lambda: nx.wait_all([comms[0].nb.recv(out, 1)]))",
    "wait_any": "interrupted(lambda: nx.wait_any([comms[0].nb.recv(out, 1)]))",
    "send": "interrupted(lambda: comms[0].send(np.zeros(200_000_000, np.uint8), 1))",
    "cluster.run": "interrupted(lambda: comms.run(lambda comm: comm.recv(bytearray(1), 1 - comm.rank)))",
}


def interrupt(process: jobkit.Process) -> float:
    """Seconds from the signal to the exception."""
    process.until_printed("waiting")
    deadline = time.monotonic() + 0.3  # so that the call is well under way
    while time.monotonic() < deadline:
        assert process.popen.poll() is None, process.stderr
    began = time.monotonic()
    process.send(signal.SIGINT)
    process.until_printed("interrupted")
    return time.monotonic() - began


def script(start: Start, text: str) -> jobkit.Process:
    import sys

    return start(sys.executable, "-c", textwrap.dedent(PROLOGUE) + textwrap.dedent(text))


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_interrupts_at_once(start: Start, call: str) -> None:
    process = script(
        start,
        f"""
        comms = nx.local_cluster(2)
        out = np.zeros(100_000)
        {CALLS[call]}
        if "{call}" in ("recv", "sendrecv"):
            # Nobody has it any more: what comes now is for the next receive.
            other = np.ones(100_000)
            sending = comms[1].nb.send(other, 0)
            assert not out.any()
            comms[0].recv(out, 1)
            assert out.all()
            sending.wait()
        comms.close()
        print("end", flush=True)
        """,
    )
    assert interrupt(process) < 1
    assert process.wait() == 0, process.stderr
    assert process.stdout.endswith("end\n")


@pytest.mark.parametrize(
    "call", ["nx.init(join=seed.join_string)", "seed.wait()", "nx.init(join='nexar://127.0.0.1:9?' + wrong)"]
)
def test_ctrl_c_while_a_job_forms(start: Start, call: str) -> None:
    process = script(
        start,
        f"""
        seed = nx.Seed("127.0.0.1:0", 3)
        wrong = seed.join_string.split("?")[1]
        interrupted(lambda: {call})
        seed.close()
        with nx.init() as comm:  # the process is as good as before
            comm.barrier()
        print("end", flush=True)
        """,
    )
    assert interrupt(process) < 1
    assert process.wait() == 0, process.stderr


def test_signal_with_a_handler_that_returns_interrupts_nothing(start: Start) -> None:
    process = script(
        start,
        """
        import signal
        count = 0
        def handler(signum, frame):
            global count
            count += 1
            print("handled", count, flush=True)
        signal.signal(signal.SIGUSR1, handler)
        comms = nx.local_cluster(2)
        out = np.zeros(1)
        threading.Thread(target=lambda: (sys.stdin.readline(), None)).start()
        op = comms[0].nb.recv(out, 1)
        waiting()
        def later():
            while count < 3:
                time.sleep(0)
            comms[1].send(np.ones(1), 0)
        threading.Thread(target=later).start()
        print(op.wait(), out, flush=True)
        comms.close()
        """,
    )
    process.until_printed("waiting")
    for count in range(1, 4):
        process.send(signal.SIGUSR1)
        process.until_printed(f"handled {count}")
    assert process.wait() == 0, process.stderr
    assert "Status(src=1, tag=0, nbytes=8) [1.]" in process.stdout


def test_handlers_may_use_the_communicator(start: Start) -> None:
    """A handler that runs between two instructions of a call of the same thread."""
    process = script(
        start,
        """
        import signal
        comms = nx.local_cluster(2)
        def handler(signum, frame):
            assert comms[0].stats()["size"] == 2
            comms[0].nb.send(b"from the handler", 1, tag=9)
        handler(0, None)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        out = np.zeros(8)
        for i in range(2000):
            comms[0].send(out, 1)
            comms[1].recv(out, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        comms[1].recv(bytearray(20), 0, tag=9)
        comms.close()
        print("end", flush=True)
        """,
    )
    assert process.wait() == 0, process.stderr


def test_ctrl_c_again_and_again(start: Start) -> None:
    """At any moment: nothing is lost, nothing is written to memory that is no longer ours."""
    process = script(
        start,
        """
        import gc, random, signal
        comms = nx.local_cluster(2)
        def handler(signum, frame):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, handler)
        numbers = random.Random(5)
        interrupts, tag = 0, 0
        guards = []
        while interrupts < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, numbers.uniform(1e-5, 1e-3))
                for _ in range(100):  # one that comes in a destructor is lost
                    tag += 1
                    comms[0].nb.send(np.ones(10_000), 1, tag)
                    out = np.zeros(10_000)
                    comms[1].recv(out, 0, tag)
                    assert out.all()
            except KeyboardInterrupt:
                interrupts += 1
            # Memory that was given back is used again at once; what C still wrote into it would show.
            guards.append(np.full(10_000, 7.0))
            comms[0].nb.send(np.ones(10_000), 1, tag)
        gc.collect()
        comms.close()
        print("untouched", all((guard == 7.0).all() for guard in guards), flush=True)
        """,
    )
    assert process.wait() == 0, process.stderr
    assert process.stdout == "untouched True\n"
