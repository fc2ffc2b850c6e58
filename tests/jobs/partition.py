"""A rank of a job whose network breaks: `partition.py FOLDER`.

It adds up until there is a file FOLDER/end, shrinks when others are lost, and says who is in it.  If it may not go on,
it asks again when there is FOLDER/healed, and then ends.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

import pynexar as nx
from recover import array_of, check


def rounds(comm: nx.Comm, me: int, folder: Path) -> None:
    """Until all know that it shall end."""
    turn = 0
    while True:
        members = [int(rank) for rank in comm.all_gather(np.array([me]))[:, 0]]
        count = (1, 1000, 20_001)[turn % 3]
        total = np.sum([array_of(rank, turn, count) for rank in members], axis=0)
        check(comm.all_reduce(array_of(me, turn, count)), total, "all_reduce")
        if turn == 0:
            print("members:", *members, flush=True)
        turn += 1
        if comm.all_reduce(np.array([(folder / "end").exists()]), "max")[0]:
            print("rounds:", turn, flush=True)
            return


def ask_again(comm: nx.Comm, folder: Path) -> None:
    """It was told that it may not go on; that is so for ever."""
    while not (folder / "healed").exists():
        time.sleep(0.01)
    for call in (comm.shrink, lambda: comm.agree(True)):
        try:
            call()
        except nx.PeerLost as error:
            print(f"still: {type(error).__name__}: {error}", flush=True)
        else:
            raise AssertionError("a second job")


def main(folder: Path) -> None:
    comm = nx.init()
    me = comm.rank
    print("works:", os.getpid(), flush=True)
    while True:
        try:
            rounds(comm, me, folder)
            comm.close()
            return
        except nx.PeerLost as error:
            print("lost:", error.peer, "at", time.monotonic(), error, flush=True)
            try:
                shrunk = comm.shrink()
            except nx.QuorumLost as none:
                print("stopped:", none, flush=True)
                ask_again(comm, folder)
                comm.close()
                return
            comm.close()
            comm = shrunk


if __name__ == "__main__":
    main(Path(sys.argv[1]))
