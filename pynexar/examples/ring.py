"""Passes a token once around the ring, then every rank passes an array to its right-hand neighbour at the same time.

nexar run -n 4 -m pynexar.examples.ring
"""

from __future__ import annotations

import sys

import numpy as np

import pynexar as nx


def main() -> int:
    with nx.init() as comm:
        right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size

        # One after the other.  A job of one rank is its own neighbour.
        token = np.zeros(1, np.int64)
        if comm.rank == 0:
            comm.send(token, right)
            comm.recv(token, left)
            hops = int(token[0]) + 1
        else:
            comm.recv(token, left)
            comm.send(token + 1, right)
            hops = comm.size

        # All at once.
        x = np.full(100_000, comm.rank, np.float32)
        y = np.empty_like(x)
        status = comm.sendrecv(x, right, y, left, sendtag=7, recvtag=7)
        good = hops == comm.size and status == nx.Status(left, 7, y.nbytes) and bool((y == left).all())
        print(f"rank {comm.rank}: the token made {hops} hops; {status.nbytes} bytes from rank {left}: "
              f"{'right' if good else 'WRONG'}")  # fmt: skip
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
