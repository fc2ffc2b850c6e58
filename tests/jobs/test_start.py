"""How jobs of many ranks form."""

from __future__ import annotations

import os
import sys

import pytest

from jobkit import Start

JOIN = """
    import pynexar as nx
    with nx.init() as comm:
        comm.barrier()
        print("here", comm.size, flush=True)
"""


@pytest.mark.full
def test_many_ranks_form_beside_others_that_take_the_cores(job: Start, start: Start) -> None:
    """Each of the 630 connections takes its two ranks some milliseconds of a core."""
    n = 36
    for _ in range(2 * (os.cpu_count() or 1)):
        start(sys.executable, "-c", "while True: pass")
    # What is said of silence here is that of the barrier: forming does not ask for this.
    process = job(JOIN, "-n", str(n), env={"NEXAR_PEER_TIMEOUT": "20"})
    assert process.wait() == 0, process.stderr
    assert process.lines() == {str(rank): [f"here {n}"] for rank in range(n)}
