"""nexar run: communicators that were made from others, when processes end."""

from __future__ import annotations

import pytest

from jobkit import Start


@pytest.mark.parametrize("end", ["comm.close()", "pass", "del child", "comm.close(); del child"])
def test_m3_a_forgotten_child_ends_in_good_order(job: Start, end: str) -> None:
    """Rank 0 ends with a child that it has not closed; nobody loses it."""
    process = job(
        f"""
        import pynexar as nx
        comm = nx.init()
        child = comm.dup()
        child.barrier()
        if comm.rank == 0:
            comm.send(b"x", 1)
            {end}
        else:
            comm.recv(bytearray(1), 0)
            comm.close()
            child.close()
            print("closed", flush=True)
        """,
        "-n",
        "2",
        env={"NEXAR_LOG": "info"},
    )
    assert process.wait() == 0, process.stderr
    assert process.lines()["1"] == ["closed"]
    assert "lost" not in process.stderr


def test_m3_children_of_all_ranks_end_with_the_processes(job: Start) -> None:
    process = job(
        """
        import numpy as np, pynexar as nx
        with nx.init() as comm:
            rows = comm.split(comm.rank // 2)
            columns = comm.split(comm.rank % 2)
        total = columns.all_reduce(rows.all_reduce(np.array([columns.rank * 2 + rows.rank])))
        print(int(total[0]), flush=True)
        """,
        "-n",
        "4",
    )
    assert process.wait() == 0, process.stderr
    assert process.lines() == {str(rank): ["6"] for rank in range(4)}
    assert "lost" not in process.stderr
