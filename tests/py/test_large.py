"""Counts beyond 32 bits.  They need memory, and time: with --full."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

import pynexar as nx

Cluster = Callable[[int], nx.LocalCluster]

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

GIB = 1 << 30


def needs(nbytes: int) -> None:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if available < nbytes + GIB:
        pytest.skip(f"{nbytes / GIB:.0f} GiB of memory are needed, {available / GIB:.0f} are free")


def test_all_gather_of_more_than_4_gib(cluster: Cluster) -> None:
    count = 2 * GIB // 8 + 3  # of each of 2 ranks

    def body(comm: nx.Comm) -> None:
        out = np.zeros((2, count), np.uint64)
        out[comm.rank] = np.arange(count, dtype=np.uint64)
        out[comm.rank] *= np.uint64(comm.rank + 3)
        comm.all_gather(out[comm.rank], out)
        assert out.nbytes > 4 * GIB
        for rank in range(2):
            for begin in range(0, count, 1 << 24):  # piece by piece, for the memory
                part = out[rank, begin : begin + (1 << 24)]
                expected = np.arange(begin, begin + len(part), dtype=np.uint64) * np.uint64(rank + 3)
                assert (part == expected).all()

    needs(14 * GIB)
    cluster(2).run(body)


def test_all_reduce_of_more_than_2_to_the_31_elements(cluster: Cluster) -> None:
    count = (1 << 31) + 5

    def body(comm: nx.Comm) -> None:
        x = np.resize(np.arange(251, dtype=np.uint8).view(np.int8), count)
        x += np.int8(comm.rank)
        comm.all_reduce(x, out=x)
        expected = np.arange(251, dtype=np.uint8).view(np.int8) * np.int8(2) + np.int8(1)
        for begin in range(0, count, 251 << 16):
            part = x[begin : begin + (251 << 16)]
            assert (part == np.resize(expected, len(part))).all()

    needs(12 * GIB)
    cluster(2).run(body)


def test_l1_a_million_small_operations(cluster: Cluster) -> None:
    """L1: memory, threads and descriptors stay as they are after the first thousands."""

    def used() -> tuple[int, int, int]:
        with open("/proc/self/status", encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["VmRSS"].split()[0]), int(fields["Threads"]), len(os.listdir("/proc/self/fd"))

    def body(comm: nx.Comm) -> list[tuple[int, int, int]]:
        x, out = np.arange(5, dtype=np.int64), np.empty(5, np.int64)
        seen = []
        for i in range(1_000_001):
            comm.all_reduce(x, out=out)
            if i % 100_000 == 0 or i == 10_000:
                assert (out == 2 * x).all()
                seen.append(used())
        return seen

    for seen in cluster(2).run(body):
        rss, threads, descriptors = zip(*seen[2:])
        assert max(rss) - min(rss) < 8 << 10, rss  # KiB
        assert max(threads) == threads[0], threads  # at the end one of the ranks' own may be over
        assert max(descriptors) == descriptors[0], descriptors
