"""What all tests of Python share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import pynexar as nx
import quicpeer
from foreignjob import Form, jobs
from ranks import Ranks, started_ranks


@pytest.fixture(scope="session")
def shared_clusters() -> Iterator[dict[int, nx.LocalCluster]]:
    clusters: dict[int, nx.LocalCluster] = {}
    yield clusters
    for comms in clusters.values():
        comms.close()


@pytest.fixture
def cluster(shared_clusters: dict[int, nx.LocalCluster]) -> Callable[[int], nx.LocalCluster]:
    """Jobs of n ranks in this process, each made once: for tests that leave them as they found them."""

    def of(n: int) -> nx.LocalCluster:
        if n not in shared_clusters or shared_clusters[n][0].closed:  # by a test that failed
            shared_clusters[n] = nx.local_cluster(n)
        return shared_clusters[n]

    return of


@pytest.fixture
def pair() -> Iterator[nx.LocalCluster]:
    """Two ranks for one test, which may break them."""
    with nx.local_cluster(2) as comms:
        yield comms


@pytest.fixture
def driver() -> Iterator[quicpeer.Driver]:
    """Moves the bytes of foreign peers."""
    with quicpeer.Driver() as running:
        yield running


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[Ranks]:
    """Starts ranks in processes of their own; they end with the test."""
    yield from started_ranks(tmp_path)


@pytest.fixture
def form(driver: quicpeer.Driver, ranks: Ranks) -> Iterator[Form]:
    """Forms jobs with one foreign member each."""
    yield from jobs(driver, ranks)


@pytest.fixture
def join() -> Iterator[Callable[..., Future[nx.Comm]]]:
    """join(join string, rank, size, timeout=...): a rank of this process begins to join."""
    started: list[Future[nx.Comm]] = []

    def begin(text: str, rank: int | None = None, size: int | None = None, timeout: float = 20.0) -> Future[nx.Comm]:
        config = nx.Config(rank=rank, world_size=size)
        started.append(pool.submit(nx.init, text, timeout=timeout, config=config))
        return started[-1]

    with ThreadPoolExecutor(16) as pool:
        yield begin
        joined = [future.result() for future in started if future.exception() is None]
        for closed in [pool.submit(comm.close) for comm in joined]:
            closed.result()
