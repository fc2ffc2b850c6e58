"""A rank that sums one number and says when the last rank had it: milliseconds since CLOCK_MONOTONIC argument 1."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

import pynexar as nx


def main() -> None:
    with nx.init() as comm:
        total = comm.all_reduce(np.array([comm.rank], np.float32))
        took = (time.monotonic_ns() - int(sys.argv[1])) / 1e6
        slowest = comm.all_reduce(np.array(took), "max")
        wrong = comm.all_reduce(np.array(int(total[0] != comm.size * (comm.size - 1) / 2)))
        if comm.rank == 0:
            print(json.dumps({"case": "start", "ms": float(slowest), "wrong": int(wrong)}), flush=True)


if __name__ == "__main__":
    main()
