"""A machine that has much more to do than it can: nobody who lives is taken for dead."""

from __future__ import annotations

import json
import os
import sys

import pytest

from jobkit import Start

FULL = bool(os.environ.get("NX_TEST_FULL"))
RANKS = 4
FOLD = 8  # what wants each core, besides the ranks
SECONDS = 600 if FULL else 20

# Little and much, in turn; who waits does so without a core, and who is late is late for all.
WORK = """
    import json, sys, threading, time
    import numpy as np, pynexar as nx

    gaps, end = [0.0], threading.Event()
    def watch():  # how long a thread of this process that wants to run has to wait
        last = time.monotonic()
        while not end.wait(0.01):
            now = time.monotonic()
            gaps.append(now - last - 0.01)
            last = now

    with nx.init(timeout=120) as comm:
        thread = threading.Thread(target=watch)
        small, large = np.arange(100.0) + comm.rank, np.arange(100_000.0) + comm.rank
        totals = [x * comm.size + sum(range(comm.size)) - comm.rank * comm.size for x in (small, large)]
        turns, until = 0, time.monotonic() + float(sys.argv[1])
        thread.start()
        more = True
        while more:
            for x, total in zip((small, large), totals):
                assert np.array_equal(comm.all_reduce(x), total)
            if turns % 50 == 49:
                time.sleep(0.3)  # nothing is said but heartbeats
            turns += 1
            more = comm.all_reduce(np.array([time.monotonic() < until]), "max")[0]
            assert comm.failures() == []
        end.set()
        thread.join()
        # By then all know of whatever anybody has suspected.
        agreed = comm.agree(True)
        assert agreed == nx.Agreed(True, []), agreed
        print(json.dumps({"turns": turns, "longest": max(gaps), "failures": len(comm.failures())}), flush=True)
        comm.barrier()
"""


@pytest.mark.timeout(SECONDS + 280)
@pytest.mark.parametrize("way", ["auto", *(pytest.param(way, marks=pytest.mark.full) for way in ("tcp", "quic"))])
def test_no_false_alarm_while_every_core_has_much_to_do(job: Start, start: Start, way: str) -> None:
    """With the timers as they are by default; the whole time is spread over the ways."""
    busy = [start(sys.executable, "-c", "while True: pass") for _ in range(FOLD * (os.cpu_count() or 1))]
    ways = {} if way == "auto" else {"NEXAR_TRANSPORTS": way}
    process = job(WORK, "-n", str(RANKS), arguments=(str(SECONDS / 3),), env=ways)
    assert process.wait(SECONDS + 240) == 0, process.stdout + process.stderr
    assert all(each.popen.poll() is None for each in busy)  # they were there to the end
    for lines in process.lines().values():
        told = json.loads(lines[-1])
        print(way, told)
        assert told["failures"] == 0
    assert len(process.lines()) == RANKS
