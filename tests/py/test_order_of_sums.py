"""Sums are made in the order of ranks, whatever the size: their bits are those of a loop, and the same everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import pynexar as nx
from oracle import elements, equal, reduction

Cluster = Callable[[int], nx.LocalCluster]

# Of a message and of the algorithms, in bytes: src/coll/select.c, config.h and docs/PROTOCOL.md.
THRESHOLDS = [16 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20]


def check_all(comm: nx.Comm, count: int) -> None:
    n, rank = comm.size, comm.rank
    x = elements(rank, (count,), "float32")
    total = reduction(n, (count,), "sum", "float32")
    equal(comm.all_reduce(x), total, f"all_reduce of {count}")
    result = comm.reduce(x, root=n - 1)
    if rank == n - 1:
        equal(result, total, f"reduce of {count}")
    equal(comm.scan(x), reduction(rank + 1, (count,), "sum", "float32"), f"scan of {count}")
    rows = [count // n + (other < count % n) for other in range(n)]
    begin = sum(rows[:rank])
    equal(comm.reduce_scatter(x, counts=rows), total[begin : begin + rows[rank]], f"reduce_scatter of {count}")


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_by_rank_around_every_threshold(cluster: Cluster, n: int, threshold: int) -> None:
    def body(comm: nx.Comm) -> None:
        for count in (threshold // 4 - 1, threshold // 4, threshold // 4 + 1):
            check_all(comm, count)

    cluster(n).run(body)


@pytest.mark.parametrize("count", [1, 1_003, 16_385, 70_001])
def test_many_ranks_that_insist_on_it(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Beyond 16 ranks faster orders are the default; NEXAR_REPRODUCIBLE=1 has that of ranks."""
    monkeypatch.setenv("NEXAR_REPRODUCIBLE", "1")
    monkeypatch.setenv("NEXAR_PEER_TIMEOUT", "20s")
    with nx.local_cluster(18) as comms:
        comms.run(lambda comm: check_all(comm, count))


@pytest.mark.parametrize("n", [3, 18])
def test_the_same_bits_on_all_ranks_and_every_time(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """In whatever order."""
    monkeypatch.setenv("NEXAR_PEER_TIMEOUT", "20s")

    def body(comm: nx.Comm) -> list[bytes]:
        return [
            comm.all_reduce(elements(comm.rank, (count,), "float32")).tobytes()
            for count in (3, 1_003, 16_385, 70_001)
            for _ in range(2)
        ]

    seen = []
    for _ in range(2):
        with nx.local_cluster(n) as comms:
            seen += comms.run(body)
    for results in seen:
        assert results == seen[0]
        assert results[::2] == results[1::2]
    first = np.frombuffer(seen[0][2], "f4")
    np.testing.assert_allclose(first, reduction(n, (1_003,), "sum", "float32"), rtol=1e-4, atol=1e-4)
