"""A job of two real ranks among foreign ones, which can be kept from forming as long as a test wants.

Ranks 1 and 2 are processes of the library, ranks 0 and 3 and the seed are made with aioquic.  So ranks 1 and 2 are
called (by 0 and by each other) and call (rank 3); they are not connected with all, and let callers in, until `finish`.
"""

from __future__ import annotations

import foreign
import refcodec
from foreignid import Authority, Key
from foreignseed import Guest, Seed, member
from quicpeer import Address, Credentials, Driver, Endpoint, Link
from ranks import Rank

SIZE = 4
REAL = (1, 2)


class Forming:
    """`workers` are the foreign ranks.  `credentials`: what rank 3 shows, if not its own."""

    def __init__(self, driver: Driver, processes: dict[int, Rank], timeout: float = 30.0) -> None:
        self.driver = driver
        self.processes = processes
        self.seed = Seed(driver, SIZE)
        self.authority: Authority = self.seed.authority
        self.keys = {0: Key(), 3: Key()}
        for rank in REAL:
            config = f"nx.Config(rank={rank}, world_size={SIZE})"
            processes[rank].begin(f"comm = nx.init({self.seed.join_string!r}, timeout={timeout}, config={config})")
        self.guests: dict[int, Guest] = {}
        for number in range(len(REAL)):
            guest = self.seed.guest(number)
            rank = guest.hello()["rank_plus_one"] - 1
            guest.challenge()
            guest.proof()
            guest.welcome(rank)
            guest.listen()
            self.guests[rank] = guest

    @property
    def since(self) -> dict[int, int]:
        return {rank: process.logged() for rank, process in self.processes.items()}

    def address(self, rank: int) -> Address:
        host, port = self.guests[rank].addresses[0].rsplit(":", 1)
        return host, int(port)

    def credentials(self, rank: int) -> Credentials:
        return self.authority.credentials(self.keys[rank])

    def tell(self, shown: Credentials | None = None) -> None:
        """Who is where: the real ranks begin to call.  `shown`: what rank 3 shows, if not its own."""
        nodes = {0: self.keys[0].node, 3: self.keys[3].node, **{rank: g.node for rank, g in self.guests.items()}}
        self.endpoint: Endpoint
        if shown is None:
            self.endpoint = member(self.driver, self.authority, self.keys[3])
        else:
            self.endpoint = self.driver.listen([refcodec.ALPN_OWN], shown)
        at = {0: ["127.0.0.1:9"], 3: ["{}:{}".format(*self.endpoint.address)]}
        at.update({rank: guest.addresses for rank, guest in self.guests.items()})
        self.seed.roster([*self.guests.values()], [(nodes[rank], at[rank]) for rank in range(SIZE)])
        self.workers = {rank: self._worker(rank, [nodes[r] for r in range(SIZE)]) for rank in (0, 3)}

    def _worker(self, rank: int, nodes: list[bytes]) -> foreign.Worker:
        worker = foreign.Worker(self.driver, self.seed.join_string, rank, SIZE, refcodec.ALPN_OWN)
        worker.rank, worker.nodes, worker.ca = rank, nodes, self.authority.certificate
        worker.cluster = self.authority.cluster.hex()
        worker.credentials = self.credentials(rank)
        worker.addresses = {real: self.address(real) for real in REAL}
        return worker

    def called(self, number: int) -> foreign.Mate:
        """The number-th call for rank 3, with its hello."""
        mate = foreign.Mate(self.driver, self.driver.accepted(self.endpoint, number))
        mate.hello = mate.next_framed("mesh_hello")
        self.workers[3].mates[mate.hello["from"]] = mate
        return mate

    def settings(self) -> int:
        """What ranks must agree on, as a real one says it."""
        if not self.workers[3].mates:
            self.called(0)
        return int(next(iter(self.workers[3].mates.values())).hello["settings"])

    def caller(self, rank: int, credentials: Credentials | None, alpn: str = refcodec.ALPN_OWN) -> Link:
        """Somebody calls a real rank."""
        return self.driver.dial(self.address(rank), [alpn], credentials)

    def finish(self) -> None:
        """All connect, and the real ranks work."""
        settings = self.settings()
        last = self.workers[3]
        for number in range(len(REAL)):
            if number > 0:
                self.called(number)
        for mate in last.mates.values():
            mate.control("mesh_ack", rank=3, incarnation=1)
            mate.control("ways", names="")
        for rank in REAL:
            mate = foreign.Mate(self.driver, self.caller(rank, self.workers[0].credentials))
            mate.link.wait_connected()
            self.workers[0].mates[rank] = mate
            self.workers[0].greet(mate, rank, settings=settings)
            assert mate.next_framed("mesh_ack")["rank"] == rank
            mate.control("ways", names="")
        for guest in self.guests.values():
            guest.talk.hear("join_ready")
        for guest in self.guests.values():
            guest.talk.say("join_go")
        for process in self.processes.values():
            process.end()
        self.processes[1].do("comm.send(b'still fine', 2)")
        assert self.processes[2].do("out = bytearray(20); got = comm.recv(out, 1).nbytes") is None
        assert self.processes[2].do("bytes(out[:got])") == b"still fine"
        self.leave()

    def give_up(self) -> None:
        """The seed goes away."""
        for guest in self.guests.values():
            guest.link.close()

    def leave(self) -> None:
        for worker in self.workers.values():
            for mate in worker.mates.values():
                mate.link.close(foreign.CLOSE["done"])
        for process in self.processes.values():
            process.begin("comm.close()")
        for process in self.processes.values():
            process.end()
