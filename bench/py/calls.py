"""What a small call costs from Python: the plain name, the prepared call, and an op that is begun and waited for.

    nexar run -n 1 -- python bench/py/calls.py          # the layers of Python alone
    nexar run -n 2 -- python bench/py/calls.py          # with another rank
    mpirun -n 2 python bench/py/calls.py --mpi          # the same by mpi4py

Rank 0 prints one JSON object a line: microseconds a call, the least and the median of the rows.  p2p is a message there
and one back, halved.  No time decides the exit status.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

Call = Callable[[], Any]
Cases = list[tuple[str, str, int, Call]]  # what, how, messages in turn, one round


def turns(rank: int, send: Call, recv: Call) -> Call:
    first, second = (send, recv) if rank == 0 else (recv, send)

    def both() -> None:
        first()
        second()

    return both


def nexar_cases(comm: Any, x: Any, y: Any) -> Cases:
    cases: Cases = [
        ("all_reduce", "plain", 1, lambda: comm.all_reduce(x, out=x)),
        ("all_reduce", "prepared", 1, comm.prepare_all_reduce(x, out=x)),
        ("all_reduce", "begun", 1, lambda: comm.nb.all_reduce(x, out=x).wait()),
        ("barrier", "plain", 1, comm.barrier),
        ("barrier", "prepared", 1, comm.prepare_barrier()),
    ]
    if comm.size == 2:
        other, rank = 1 - comm.rank, comm.rank
        plain = turns(rank, lambda: comm.send(x, other), lambda: comm.recv(y, other))
        prepared = turns(rank, comm.prepare_send(x, other), comm.prepare_recv(y, other))
        cases += [("p2p", "plain", 2, plain), ("p2p", "prepared", 2, prepared)]
    return cases


def mpi_cases(comm: Any, x: Any, y: Any) -> Cases:
    from mpi4py import MPI

    cases: Cases = [
        ("all_reduce", "mpi4py", 1, lambda: comm.Allreduce(MPI.IN_PLACE, x)),
        ("barrier", "mpi4py", 1, comm.Barrier),
    ]
    if comm.size == 2:
        other = 1 - comm.rank
        cases.append(("p2p", "mpi4py", 2, turns(comm.rank, lambda: comm.Send(x, other), lambda: comm.Recv(y, other))))
    return cases


def measure(cases: Cases, rank: int, size: int, barrier: Call, rows: int, calls: int) -> None:
    for what, how, messages, call in cases:
        for _ in range(calls):
            call()
        times = []
        for _ in range(rows):
            barrier()
            before = time.perf_counter()
            for _ in range(calls):
                call()
            times.append((time.perf_counter() - before) / calls / messages * 1e6)
        if rank == 0:
            found = {"least_us": round(min(times), 3), "p50_us": round(median(times), 3)}
            print(json.dumps({"call": what, "how": how, "n": size, **found}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mpi", action="store_true", help="by mpi4py")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--calls", type=int, default=1000)
    args = parser.parse_args()
    x, y = np.zeros(1), np.zeros(1)
    if args.mpi:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        measure(mpi_cases(comm, x, y), comm.rank, comm.size, comm.Barrier, args.rows, args.calls)
        return
    import pynexar

    with pynexar.init() as joined:
        measure(nexar_cases(joined, x, y), joined.rank, joined.size, joined.barrier, args.rows, args.calls)


if __name__ == "__main__":
    main()
