"""A member of a job that shares nothing with the library: written from the protocol's description, on aioquic.

`Worker` joins by a join string and connects with the others, by `nexar/1` or `libnexar/1`.  It does as it should; tests
that want it to misbehave take single steps.  The other side of joining is in foreignseed.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any

from cryptography import x509

import quicpeer
import refcodec
from foreignid import JoinString, Key, Proofs, check_issued, der, name_of, node_of, proof_key
from quicpeer import Credentials, Driver, Link

ALPN_JOIN = "libnexar-join/1"
VERSION = 1
CLOSE = {"done": 0, "protocol": 1, "refused": 2, "aborted": 3}


class Refused(Exception):  # noqa: N818
    """The other side of joining has sent Abort."""

    def __init__(self, code: int, rank: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.rank = rank
        self.reason = reason


# --- the conversation ------------------------------------------------------------------------------------------------


class Talk:
    """Framed messages back to back on the one bidirectional stream of joining."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.stream = 0
        self._taken = 0

    def say(self, name: str, **fields: Any) -> bytes:
        """Sends a message; returns its archive."""
        archive = refcodec.encode_archive(name, fields)
        self.link.write(self.stream, refcodec.frame(archive))
        return archive

    def pending(self) -> bytes:
        """What came and was not heard yet."""
        return bytes(self.link.received.get(self.stream, b"")[self._taken :])

    def hear(self, name: str, timeout: float = quicpeer.PATIENCE) -> tuple[dict[str, Any], bytes]:
        """The next message, which must be this one: its fields and its archive.

        Raises:
            Refused: it was Abort.
        """

        def whole() -> bool:
            data = self.pending()
            return len(data) >= 8 and len(data) >= 8 + int.from_bytes(data[:4], "little")

        self.link.wait(whole, name, timeout)
        _, archive = refcodec.unframe(self.pending())
        self._taken += 8 + len(archive)
        kind, fields = refcodec.decode_archive(archive)
        if kind == "abort":
            raise Refused(fields["code"], fields["rank"], fields["reason"])
        assert kind == name
        return fields, archive


@dataclasses.dataclass
class Message:
    head: refcodec.Head
    payload: bytes
    stream: int

    @property
    def framed(self) -> tuple[str, dict[str, Any]]:
        return refcodec.decode_archive(refcodec.unframe(self.payload)[1])


class Mate:
    """The connection with another rank: its messages, whatever streams they came on."""

    def __init__(self, driver: Driver, link: Link) -> None:
        self.link = link
        self.messages: list[Message] = []
        self.hello: dict[str, Any] = {}
        self._parsers: dict[int, refcodec.StreamParser] = {}
        self._open: dict[int, Message] = {}
        self._control: int | None = None
        with driver.lock:
            link.on_data = self._take
            for stream, data in link.received.items():
                self._take(stream, bytes(data), stream in link.ended)

    def _take(self, stream: int, data: bytes, end: bool) -> None:
        parser = self._parsers.setdefault(stream, refcodec.StreamParser(own=self.link.alpn == refcodec.ALPN_OWN))
        for event in parser.feed(data):
            if isinstance(event, refcodec.Head):
                self._open[stream] = Message(event, b"", stream)
            elif event is None:
                self.messages.append(self._open.pop(stream))
            else:
                self._open[stream].payload += event
        if end:
            parser.finish()

    def next(self, choose: Callable[[Message], bool], what: str) -> Message:
        """Takes the first message that `choose` likes."""
        self.link.wait(lambda: any(map(choose, self.messages)), what)
        found = next(filter(choose, self.messages))
        self.messages.remove(found)
        return found

    def next_framed(self, name: str) -> dict[str, Any]:
        return self.next(lambda m: m.head.tag == refcodec.FRAMED and m.framed[0] == name, name).framed[1]

    def control(self, name: str, **fields: Any) -> None:
        """One of the library's own messages, on the stream that stays."""
        if self._control is None:
            self._control = self.link.open()
            self.link.write(self._control, bytes([refcodec.MANY]))
        self.link.write(self._control, refcodec.framed_message(name, fields))


class Worker:
    """Joins a job; each step can be taken alone.  The driver must outlive it."""

    def __init__(
        self, driver: Driver, join: str, rank: int | None, size: int, alpn: str, *, grows: bool = False
    ) -> None:
        self.driver = driver
        self.grows = grows
        self.join_string = JoinString.parse(join)
        self.wish = rank
        self.size = size
        self.alpn = alpn
        self.key = Key()
        self.rank = -1
        self.mates: dict[int, Mate] = {}

    def connect(self) -> None:
        """Calls the seed, and looks at its certificate before anything is said."""
        link = self.driver.dial(self.join_string.address, [ALPN_JOIN])
        link.wait_connected()
        leaf, *chain = link.certificates
        (self.ca,) = [c for c in chain if hashlib.sha256(der(c)).digest() == self.join_string.fingerprint]
        check_issued(leaf, self.ca)
        self.cluster = name_of(self.ca).split(":")[1]
        assert name_of(leaf) == f"nexar:{self.cluster}:seed"
        self.proofs = Proofs(proof_key(self.join_string.token), der(leaf))
        self.talk = Talk(link)
        self.talk.stream = link.open(bidirectional=True)

    def hello(self, **more: Any) -> None:
        self.proofs.worker_nonce = os.urandom(32)
        fields = {
            "version": VERSION,
            "rank_plus_one": 0 if self.wish is None else self.wish + 1,
            "world_size": self.size,
            "local_rank_plus_one": 0,
            "local_size": 0,
            "nonce": self.proofs.worker_nonce,
            "group": bytes(16),
            "software": "foreign",
            "formation": int(self.grows),
        }
        self.said = [self.talk.say("join_hello", **{**fields, **more})]

    def challenge(self) -> None:
        """Lets the seed prove itself."""
        fields, archive = self.talk.hear("join_challenge")
        self.proofs.seed_nonce = fields["nonce"]
        assert fields["proof"] == self.proofs.of("seed", *self.said)
        self.said.append(archive)

    def prove(self) -> None:
        self.talk.say("join_proof", proof=self.proofs.of("worker", *self.said), csr=self.key.request(), process="")

    def welcome(self) -> None:
        fields, _ = self.talk.hear("join_welcome")
        certificate = x509.load_der_x509_certificate(fields["certificate"])
        check_issued(certificate, self.ca)
        assert fields["ca"] == der(self.ca)
        self.authority, self.formation = fields["authority"], fields["formation"]
        assert bool(self.authority) == self.grows
        assert self.grows or self.formation == 1
        assert fields["cluster"].hex() == self.cluster
        assert name_of(certificate) == f"nexar:{self.cluster}:{self.key.node.hex()}"
        assert node_of(certificate.public_key()) == self.key.node
        assert self.wish in (None, fields["rank"])
        self.rank, self.size = fields["rank"], fields["world_size"]
        self.credentials = Credentials(certificate, self.key.private)

    def listen(self) -> None:
        self.endpoint = self.driver.listen([self.alpn], self.credentials)
        self.talk.say("join_listen", addresses=[(0, "{}:{}".format(*self.endpoint.address))], lobby=[])

    def roster(self) -> None:
        fields, _ = self.talk.hear("roster")
        nodes = fields["nodes"]
        assert len(nodes) == 16 * self.size == len(fields["groups"])
        self.nodes = [nodes[16 * i : 16 * i + 16] for i in range(self.size)]
        assert self.nodes[self.rank] == self.key.node
        self.addresses: dict[int, quicpeer.Address] = {}
        for rank, text in fields["addresses"]:
            host, port = text.rsplit(":", 1)
            self.addresses.setdefault(rank, (host, int(port)))

    def mesh(self) -> None:
        """Calls those above, and is called by those below."""
        for _ in range(self.rank):
            self._called(len(self.mates))
        for rank in range(self.rank + 1, self.size):
            self.mates[rank] = self.call(rank)

    def ready(self) -> None:
        self.talk.say("join_ready", rank=self.rank)
        self.talk.hear("join_go")
        self.talk.link.close()

    def join(self) -> None:
        for step in (self.connect, self.hello, self.challenge, self.prove, self.welcome, self.listen, self.roster):
            step()
        self.mesh()
        self.ready()

    # --- the mesh ---

    def check_member(self, link: Link) -> int:
        """Whom the certificate at the other end belongs to."""
        leaf = link.certificates[0]
        check_issued(leaf, self.ca)
        node = node_of(leaf.public_key())
        assert name_of(leaf) == f"nexar:{self.cluster}:{node.hex()}"
        return self.nodes.index(node)

    def call(self, rank: int) -> Mate:
        link = self.driver.dial(self.addresses[rank], [self.alpn], self.credentials)
        link.wait_connected()
        assert self.check_member(link) == rank
        mate = Mate(self.driver, link)
        if self.alpn == refcodec.ALPN_OWN:
            self.greet(mate, rank)
            assert mate.next_framed("mesh_ack")["rank"] == rank
            mate.control("ways", names="")
        return mate

    def greet(self, mate: Mate, rank: int, **more: Any) -> None:
        """Says who calls whom.  What must be equal on all ranks is taken from a rank that has called."""
        fields = {
            "version": VERSION,
            "from": self.rank,
            "to": rank,
            "incarnation": 1,
            "settings": next((m.hello["settings"] for m in self.mates.values() if m.hello), 0),
            "cluster": bytes.fromhex(self.cluster),
        }
        mate.control("mesh_hello", **{**fields, **more})

    def _called(self, number: int) -> None:
        link = self.driver.accepted(self.endpoint, number)
        rank = self.check_member(link)
        assert rank < self.rank
        mate = self.mates[rank] = Mate(self.driver, link)
        if self.alpn == refcodec.ALPN_OWN:
            mate.hello = mate.next_framed("mesh_hello")
            assert (mate.hello["from"], mate.hello["to"]) == (rank, self.rank)
            assert mate.hello["cluster"].hex() == self.cluster
            mate.control("mesh_ack", rank=self.rank, incarnation=1)
            mate.control("ways", names="")
