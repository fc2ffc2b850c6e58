"""Jobs of real ranks, in processes of their own, and one foreign member."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator

import foreign
import pynexar as nx
import refcodec
from quicpeer import Driver
from ranks import Rank, Ranks


@dataclasses.dataclass
class Job:
    """`rank` is the foreign member's; `ranks` and `mates` are the others, by rank."""

    worker: foreign.Worker
    ranks: dict[int, Rank]
    comm: int  # id of the communicator

    @property
    def mates(self) -> dict[int, foreign.Mate]:
        return self.worker.mates


def form_job(seed: nx.Seed, driver: Driver, ranks: Ranks, rank: int, size: int, alpn: str, **environment: str) -> Job:
    others = [other for other in range(size) if other != rank]
    started = {other: ranks.member(seed.join_string, other, size, **environment) for other in others}
    worker = foreign.Worker(driver, seed.join_string, rank, size, alpn)
    worker.join()
    for process in started.values():
        process.end()
        process.do(f"conn = comm.peer({rank})")
    return Job(worker, started, started[others[0]].do("comm.id"))


def form_in(processes: dict[int, Rank], seed: nx.Seed, driver: Driver, rank: int, size: int, alpn: str) -> Job:
    """The same, in processes that are there already."""
    for other, process in processes.items():
        config = f"nx.Config(rank={other}, world_size={size})"
        process.begin(f"comm = nx.init({seed.join_string!r}, config={config})")
    worker = foreign.Worker(driver, seed.join_string, rank, size, alpn)
    worker.join()
    for process in processes.values():
        process.end()
        process.do(f"conn = comm.peer({rank})")
    return Job(worker, processes, next(iter(processes.values())).do("comm.id"))


Form = Callable[..., Job]


def jobs(driver: Driver, ranks: Ranks) -> Iterator[Form]:
    """For a fixture: form(alpn, rank=1, size=3, NEXAR_...=...) makes a job."""
    seeds: list[nx.Seed] = []

    def form(alpn: str, rank: int = 1, size: int = 3, **environment: str) -> Job:
        seed = nx.Seed("127.0.0.1:0", size)
        seeds.append(seed)
        return form_job(seed, driver, ranks, rank, size, alpn, **environment)

    yield form
    for seed in seeds:
        seed.close()


class Sender:
    """Sends messages of `libnexar/1` on a connection, numbered as they must be."""

    def __init__(self, mate: foreign.Mate) -> None:
        self.link = mate.link
        self._small: int | None = None
        self._orders: dict[tuple[int, int], int] = {}
        self.sent = 0

    def bytes_of(self, payload: bytes, lane: str, scope: int = 0, key: int = 0, **more: int) -> bytes:
        """The message that is next in its order.  `more`: other fields of the head."""
        number = refcodec.LANES[lane]
        group = (number, scope if lane == "p2p" else 0)
        fields = {"len": len(payload), "order": self._orders.get(group, 0), "scope": scope, "id": key, **more}
        if lane != "coll":
            self._orders[group] = self._orders.get(group, 0) + 1
        self.sent += 1
        return refcodec.Head(refcodec.MESSAGE, lane=number, **fields).encode() + payload

    def small(self, payload: bytes, lane: str, scope: int = 0, key: int = 0, **more: int) -> None:
        """On the stream that stays."""
        self.raw_small(self.bytes_of(payload, lane, scope, key, **more))

    def large(self, payload: bytes, lane: str, scope: int = 0, key: int = 0, **more: int) -> None:
        """On a stream of its own."""
        self.link.message(self.bytes_of(payload, lane, scope, key, **more))

    def raw_small(self, data: bytes) -> None:
        if self._small is None:
            self._small = self.link.open()
            data = bytes([refcodec.MANY]) + data
        self.link.write(self._small, data)


def floats(data: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 4}f", data))
