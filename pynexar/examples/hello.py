"""Each rank says who it is: nexar run -n 4 -m pynexar.examples.hello"""

from __future__ import annotations

import os
import socket

import pynexar as nx


def main() -> None:
    with nx.init() as comm:
        print(f"hello from rank {comm.rank} of {comm.size}: process {os.getpid()} on {socket.gethostname()}")
        comm.barrier()


if __name__ == "__main__":
    main()
