"""Arrays of comm.alloc() among ranks that share memory: what they give, how long they live."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
import pytest

import pynexar as nx


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXAR_TRANSPORTS", "auto")


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "float16"])
def test_sums(size: int, dtype: str) -> None:
    def body(comm: nx.Comm) -> None:
        for count in (100, 30_000, 700_000):
            x = comm.alloc(count, dtype)
            mixed = comm.alloc(count, dtype) if comm.rank == 0 else np.zeros(count, dtype)
            total = np.full(count, size * (size + 1) // 2, dtype)
            for _ in range(4):  # from the third on by its short way
                x[:] = comm.rank + 1
                mixed[:] = comm.rank + 1
                assert (comm.all_reduce(x, out=x) == total).all()
                assert (comm.all_reduce(mixed, out=mixed) == total).all()

    with nx.local_cluster(size) as comms:
        comms.run(body)


def test_parts_of_an_array() -> None:
    def body(comm: nx.Comm) -> None:
        x = comm.alloc((2, 50_001))
        x[0] = 1
        comm.all_reduce(x[0], out=x[1])
        assert (x[0] == 1).all()
        assert (x[1] == 2).all()

    with nx.local_cluster(2) as comms:
        comms.run(body)


def test_an_array_outlives_its_communicator() -> None:
    with nx.local_cluster(2) as comms:
        arrays = [comm.alloc(1 << 20) for comm in comms]
        for array in arrays:
            array[:] = 3
        views = [array[5:10] for array in arrays]
        del arrays
    gc.collect()
    for view in views:
        assert view.tolist() == [3] * 5
        view[:] = 4
        assert view.sum() == 20


def test_memory_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXAR_SHM_HEAP", "4m")

    def body(comm: nx.Comm) -> None:
        places: set[int] = set()
        for _ in range(20):
            x = comm.alloc(1 << 20, "uint8")
            assert not x.any()
            x[:] = 1
            places.add(x.ctypes.data)
            del x
        assert len(places) == 1
        kept: list[Any] = [comm.alloc(1 << 20, "uint8") for _ in range(6)]  # not all of it in the heap
        for i, x in enumerate(kept):
            x[:] = i
        assert [int(x.sum(dtype="i8")) for x in kept] == [i << 20 for i in range(6)]

    with nx.local_cluster(2) as comms:
        comms.run(body)


def test_a_child_has_what_its_parent_has() -> None:
    with nx.local_cluster(2) as comms:
        x = comms[0].alloc(50_000)
        x[:] = 5
        child = os.fork()
        if child == 0:
            good = x.sum() == 250_000
            del x
            gc.collect()
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert x.sum() == 250_000


def test_wrong_size_of_the_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXAR_SHM_HEAP", "much")
    monkeypatch.setenv("NEXAR_TRANSPORTS", "shm")
    with pytest.raises(nx.NexarError, match="NEXAR_SHM_HEAP"):
        nx.local_cluster(2)
