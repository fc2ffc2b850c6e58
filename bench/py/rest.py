"""A rank of a job that does nothing: what that costs.  Argument: seconds to look at each kind of nothing.

Rank 0 prints, for all ranks together and their launcher: cores used while nobody calls the library (`idle`), and while
all but rank 0 wait to receive a message (`waiting`); memory of all ranks before and after they joined and each had
exchanged something with every other.  Shared memory counts once.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import numpy as np

import pynexar as nx


def memory() -> dict[str, int]:
    """KiB: this process's share of what is in memory, by kind; files are programs and libraries, which all share."""
    text = Path("/proc/self/smaps_rollup").read_text()
    found = {name: int(value) for name, value in re.findall(r"^(Pss\w*): +(\d+) kB", text, re.MULTILINE)}
    return {"all": found["Pss"], "data": found["Pss_Anon"] + found["Pss_Shmem"]}


def processor_time(comm: nx.Comm) -> float:
    """Seconds, of this process, and of its launcher on rank 0."""
    launcher = 0.0
    if comm.rank == 0:
        fields = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
        launcher = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + launcher


def total(comm: nx.Comm, value: float) -> float:
    return float(comm.all_reduce(np.array(value))[()])


def cores(comm: nx.Comm, seconds: float, *, wait: bool) -> float:
    """Used by all ranks."""
    comm.barrier()
    time.sleep(0.2)  # what the barrier left to do is no part of it
    began, used = time.monotonic(), processor_time(comm)
    message = np.zeros(1)
    if wait and comm.rank != 0:
        comm.recv(message, 0)
    else:
        time.sleep(seconds)
    used, took = processor_time(comm) - used, time.monotonic() - began
    if wait and comm.rank == 0:
        for rank in range(1, comm.size):
            comm.send(message, rank)
    return total(comm, used) / took


def main() -> None:
    seconds = float(sys.argv[1])
    before = memory()
    with nx.init() as comm:
        given = np.full((comm.size, 16), comm.rank, np.float32)
        got = comm.all_to_all(given)
        wrong = total(comm, float((got != np.arange(comm.size)[:, None]).sum()))
        after = memory()
        line = {
            "case": "rest",
            "ranks": comm.size,
            "before_kib": total(comm, before["data"]),
            "after_kib": total(comm, after["data"]),
            "all_kib": total(comm, after["all"]),
            "idle_cores": round(cores(comm, seconds, wait=False), 5),
            "waiting_cores": round(cores(comm, seconds, wait=True), 5),
            "wrong": int(wrong),
        }
        if comm.rank == 0:
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
