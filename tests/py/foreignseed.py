"""A seed that shares nothing with the library, with an authority of its own: for jobs in which members get
certificates, ranks and lists as a test wants them.
"""

from __future__ import annotations

import os
from typing import Any

from cryptography import x509

import quicpeer
import refcodec
from foreign import ALPN_JOIN, Talk
from foreignid import Authority, JoinString, Key, Proofs, der, node_of, proof_key
from quicpeer import Credentials, Driver


class Guest:
    """One that joins, as the seed sees it; each step can be taken alone."""

    def __init__(self, seed: Seed, link: quicpeer.Link) -> None:
        self.seed = seed
        self.link = link
        self.talk = Talk(link)
        self.node = bytes(16)
        self.addresses: list[str] = []

    def hello(self) -> dict[str, Any]:
        fields, archive = self.talk.hear("join_hello")
        self.proofs = Proofs(self.seed.key, der(self.seed.credentials.certificate), fields["nonce"], os.urandom(32))
        self.said = [archive]
        return fields

    def challenge(self, **more: Any) -> None:
        fields = {"nonce": self.proofs.seed_nonce, "proof": self.proofs.of("seed", *self.said)}
        self.said.append(self.talk.say("join_challenge", **{**fields, **more}))

    def proof(self) -> None:
        fields, _ = self.talk.hear("join_proof")
        assert fields["proof"] == self.proofs.of("worker", *self.said)
        request = x509.load_der_x509_csr(fields["csr"])
        assert request.is_signature_valid
        self.public_key = request.public_key()
        self.node = node_of(self.public_key)

    def welcome(self, rank: int, **more: Any) -> None:
        authority = self.seed.authority
        fields = {
            "rank": rank,
            "world_size": self.seed.size,
            "cluster": authority.cluster,
            "certificate": der(authority.issue(self.public_key, self.node.hex())),
            "ca": der(authority.certificate),
            "authority": b"",
            "formation": 1,
        }
        self.talk.say("join_welcome", **{**fields, **more})

    def listen(self) -> None:
        fields, _ = self.talk.hear("join_listen")
        self.addresses = [text for _, text in fields["addresses"]]

    def admit(self, rank: int, **more: Any) -> None:
        """All until it listens."""
        self.hello()
        self.challenge()
        self.proof()
        self.welcome(rank, **more)
        self.listen()

    def dismiss(self) -> None:
        """Hangs up when it has said its last word, as a seed does."""
        self.link.wait(lambda: self.link.closed or self.talk.pending(), "its last word")
        self.link.close()

    def go(self) -> None:
        self.talk.hear("join_ready")
        self.talk.say("join_go")


class Seed:
    """`authority` issues the members' certificates; `credentials` are the seed's own."""

    def __init__(
        self, driver: Driver, size: int, authority: Authority | None = None, credentials: Credentials | None = None
    ) -> None:
        self.driver = driver
        self.size = size
        self.authority = authority or Authority()
        self.credentials = credentials or self.authority.credentials(Key(), "seed")
        self.token = os.urandom(32)
        self.key = proof_key(self.token)
        self.endpoint = driver.listen([ALPN_JOIN], self.credentials)

    @property
    def join_string(self) -> str:
        return str(JoinString(self.endpoint.address, self.token, self.authority.fingerprint))

    def guest(self, number: int = 0) -> Guest:
        return Guest(self, self.driver.accepted(self.endpoint, number))

    def roster(self, guests: list[Guest | None], members: list[tuple[bytes, list[str]]]) -> None:
        """Tells the guests who the members are, by rank: node and addresses."""
        fields = {
            "addresses": [(rank, text) for rank, (_, texts) in enumerate(members) for text in texts],
            "nodes": b"".join(node for node, _ in members),
            "groups": bytes(16 * len(members)),
            "lobbies": [],
        }
        for guest in filter(None, guests):
            guest.talk.say("roster", **fields)


def member(driver: Driver, authority: Authority, key: Key, alpn: str = refcodec.ALPN_OWN) -> quicpeer.Endpoint:
    """Listens as a member of that authority's job does."""
    return driver.listen([alpn], authority.credentials(key))
