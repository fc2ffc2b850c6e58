"""A member of a job that shares nothing with the library: written from the protocol's description, on aioquic.

`Worker` joins by a join string and connects with the others, by `nexar/1` or `libnexar/1`.  `Seed` is the other side of
joining, with an authority of its own.  Both do as they should; tests that want them to misbehave take single steps.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import hmac
import os
import struct
import urllib.parse
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import quicpeer
import refcodec
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


# --- what a worker is given ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class JoinString:
    address: quicpeer.Address
    token: bytes
    fingerprint: bytes

    @staticmethod
    def parse(text: str) -> JoinString:
        url = urllib.parse.urlsplit(text)
        fields = dict(urllib.parse.parse_qsl(url.query, strict_parsing=True))
        token = base64.urlsafe_b64decode(fields["token"] + "=")
        return JoinString((url.hostname or "", url.port or 0), token, bytes.fromhex(fields["ca"].split(":")[1]))

    def __str__(self) -> str:
        token = base64.urlsafe_b64encode(self.token).decode().rstrip("=")
        return f"nexar://{self.address[0]}:{self.address[1]}?token={token}&ca=sha256:{self.fingerprint.hex()}"


# --- identity --------------------------------------------------------------------------------------------------------


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def node_of(public_key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public_key.public_bytes(serialization.Encoding.DER, form)).digest()[:16]


def name_of(certificate: x509.Certificate) -> str:
    """The one name of the protocol's in a certificate."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return str(uri)


def check_issued(certificate: x509.Certificate, authority: x509.Certificate) -> None:
    """Raises if the authority has not signed it, or it is not current."""
    certificate.verify_directly_issued_by(authority)
    now = datetime.datetime.now(datetime.timezone.utc)
    assert certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


class Key:
    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.node = node_of(self.private.public_key())

    def request(self) -> bytes:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Authority:
    """Issues certificates like those of a seed, or nearly like them."""

    def __init__(self) -> None:
        self.cluster = os.urandom(16)
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._issue(self._private.public_key(), "ca", True, 3600)

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha256(der(self.certificate)).digest()

    def issue(self, public_key: Any, last: str, lifetime: float = 3600) -> x509.Certificate:
        """A leaf whose name ends in `last`; with a negative lifetime, one that has expired."""
        return self._issue(public_key, last, False, lifetime)

    def credentials(self, key: Key, last: str | None = None, lifetime: float = 3600) -> Credentials:
        leaf = self.issue(key.private.public_key(), last or key.node.hex(), lifetime)
        return Credentials(leaf, key.private, [self.certificate])

    def _issue(self, public_key: Any, last: str, is_ca: bool, lifetime: float) -> x509.Certificate:
        ca_subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "foreign authority")])
        subject = ca_subject if is_ca else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "foreign node")])
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"nexar:{self.cluster.hex()}:{last}")]
        if not is_ca:
            names.append(x509.DNSName("localhost"))
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=2))
            .not_valid_after(now + datetime.timedelta(seconds=lifetime))
            .add_extension(x509.BasicConstraints(is_ca, 0 if is_ca else None), critical=True)
            .add_extension(_usage(sign_certificates=is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        if not is_ca:
            uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._private.public_key())
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            builder = builder.add_extension(issuer, critical=False)
        return builder.sign(self._private, hashes.SHA256())


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


# --- proofs ----------------------------------------------------------------------------------------------------------


def _label(word: str) -> bytes:
    return f"nexar-join/1 {word}".encode().ljust(24, b"\0")


def proof_key(token: bytes) -> bytes:
    return hmac.digest(_label("token"), token, "sha256")


@dataclasses.dataclass
class Proofs:
    """What both sides have seen before they prove that they know the key."""

    key: bytes
    certificate: bytes  # the seed's, in DER
    worker_nonce: bytes = b""
    seed_nonce: bytes = b""

    def of(self, role: str, *said: bytes) -> bytes:
        spoken = b"".join(struct.pack("<Q", len(archive)) + archive for archive in said)
        parts = [_label(role), self.worker_nonce, self.seed_nonce]
        parts += [hashlib.sha256(self.certificate).digest(), hashlib.sha256(spoken).digest()]
        return hmac.digest(self.key, b"".join(parts), "sha256")


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

    def hear(self, name: str, timeout: float = quicpeer.PATIENCE) -> tuple[dict[str, Any], bytes]:
        """The next message, which must be this one: its fields and its archive.

        Raises:
            Refused: it was Abort.
        """

        def rest() -> bytes:
            return bytes(self.link.received.get(self.stream, b"")[self._taken :])

        def whole() -> bool:
            data = rest()
            return len(data) >= 8 and len(data) >= 8 + int.from_bytes(data[:4], "little")

        self.link.wait(whole, name, timeout)
        _, archive = refcodec.unframe(rest())
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

    def __init__(self, driver: Driver, join: str, rank: int | None, size: int, alpn: str) -> None:
        self.driver = driver
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
        }
        self.said = [self.talk.say("join_hello", **{**fields, **more})]

    def challenge(self) -> None:
        """Lets the seed prove itself."""
        fields, archive = self.talk.hear("join_challenge")
        self.proofs.seed_nonce = fields["nonce"]
        assert fields["proof"] == self.proofs.of("seed", *self.said)
        self.said.append(archive)

    def prove(self) -> None:
        self.talk.say("join_proof", proof=self.proofs.of("worker", *self.said), csr=self.key.request())

    def welcome(self) -> None:
        fields, _ = self.talk.hear("join_welcome")
        certificate = x509.load_der_x509_certificate(fields["certificate"])
        check_issued(certificate, self.ca)
        assert fields["ca"] == der(self.ca)
        assert fields["cluster"].hex() == self.cluster
        assert name_of(certificate) == f"nexar:{self.cluster}:{self.key.node.hex()}"
        assert node_of(certificate.public_key()) == self.key.node
        assert self.wish in (None, fields["rank"])
        self.rank, self.size = fields["rank"], fields["world_size"]
        self.credentials = Credentials(certificate, self.key.private)

    def listen(self) -> None:
        self.endpoint = self.driver.listen([self.alpn], self.credentials)
        self.talk.say("join_listen", addresses=[(0, "{}:{}".format(*self.endpoint.address))])

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
