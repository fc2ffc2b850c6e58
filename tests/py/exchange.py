"""What ranks do in test_exchange.py: here, since ranks in processes of their own import it, too."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

import pynexar as nx

LARGE, SMALL, TAGS, SEED = 20 << 20, 20, 5, 11
SIZES = (SMALL, LARGE, SMALL, SMALL, 0)  # of the messages of one tag from one rank to another, in this order
_LENGTH = LARGE + 1_000_003


def contents(base: np.ndarray[Any, Any], src: int, dest: int, tag: int, number: int) -> np.ndarray[Any, Any]:
    """Different for each message, and nothing that must be made for each."""
    start = ((src * 7 + dest) * TAGS + tag) * 1_009 + number * 131_071
    return base[start : start + SIZES[number]]


def all_pairs(comm: nx.Comm, any_of: bool) -> int:
    """Everybody sends to everybody, itself included; returns how many messages were right.

    `any_of`: takes what comes first, from anybody and with any tag.
    """
    base = np.random.default_rng(SEED).integers(0, 256, _LENGTH, np.uint8)
    keys = [(dest, tag) for dest in range(comm.size) for tag in range(TAGS)]
    ops = []
    for number in range(len(SIZES)):
        random.Random(comm.rank).shuffle(keys)
        for dest, tag in keys:
            ops.append(comm.nb.send(contents(base, comm.rank, dest, tag, number), dest, tag, timeout=300))
    out = np.empty(LARGE, np.uint8)
    seen = {(src, tag): 0 for src in range(comm.size) for tag in range(TAGS)}
    turns = [key for key in seen for _ in SIZES]
    random.Random(100 + comm.rank).shuffle(turns)
    for turn, turns_key in enumerate(turns):
        wanted = (nx.ANY, nx.ANY) if any_of else turns_key
        if any_of and turn % 2:
            wanted = comm.probe(nx.ANY, nx.ANY, timeout=300)[:2]
        status = comm.recv(out, *wanted, timeout=300)
        key = (status.src, status.tag)
        expected = contents(base, status.src, comm.rank, status.tag, seen[key])
        assert status.nbytes == expected.nbytes, (status, seen[key])
        assert np.array_equal(out[: status.nbytes], expected), (status, seen[key])
        seen[key] += 1
    nx.wait_all(ops, timeout=300)
    comm.barrier(timeout=300)
    return sum(seen.values())
