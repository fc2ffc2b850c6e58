"""Workers of the library before seeds that are not the right ones, or that misbehave: refused, with the reason."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import Future

import pytest

import pynexar as nx
import refcodec
from foreign import Refused
from foreignid import Authority, Key, der
from foreignseed import Guest, Seed
from quicpeer import Credentials, Driver

Join = Callable[..., "Future[nx.Comm]"]


def shown_by(leaf: Credentials, *chain: Authority) -> Credentials:
    return dataclasses.replace(leaf, chain=[authority.certificate for authority in chain])


# What a seed shows, given the authority of the join string; and what the worker says of it.
CERTIFICATES: dict[str, tuple[Callable[[Authority], Credentials], str]] = {
    "wrong fingerprint": (lambda _: Authority().credentials(Key(), "seed"), "fingerprint of the join string"),
    "no authority": (lambda right: shown_by(right.credentials(Key(), "seed")), "fingerprint of the join string"),
    "unknown authority": (
        lambda right: shown_by(Authority().credentials(Key(), "seed"), right),
        "fingerprint of the join string",
    ),
    "false authority": (
        lambda right: shown_by(Authority(imitated=right).credentials(Key(), "seed"), right),
        "not issued by the CA of this cluster",
    ),
    "expired": (lambda right: right.credentials(Key(), "seed", lifetime=-60), "certificate expired at"),
    "a member": (lambda right: right.credentials(Key()), "is that of a member; that of a seed is needed"),
    "another cluster": (
        lambda right: right.credentials_named(f"nexar:{os.urandom(16).hex()}:seed"),
        "is of another cluster",
    ),
    "no name": (lambda right: right.credentials_named("https://localhost"), "does not name a node"),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_s2_nothing_is_said_to_a_seed_that_shows_the_wrong_certificate(driver: Driver, join: Join, case: str) -> None:
    """A worker of the reference takes any certificate, and sends the token."""
    show, words = CERTIFICATES[case]
    authority = Authority()
    seed = Seed(driver, 2, authority, show(authority))
    with pytest.raises(nx.AuthError, match=words) as caught:
        join(seed.join_string, 0, 2).result(10)
    assert "{}:{}".format(*seed.endpoint.address) in str(caught.value)
    (link,) = seed.endpoint.accepted
    link.wait_closed()
    assert not link.received


def test_s2_a_seed_that_does_not_know_the_token_gets_no_proof(driver: Driver, join: Join) -> None:
    seed = Seed(driver, 2)
    joining = join(seed.join_string, 0, 2)
    guest = seed.guest()
    guest.hello()
    guest.challenge(proof=bytes(32))
    guest.dismiss()
    with pytest.raises(nx.AuthError, match="does not know the token of the join string"):
        joining.result(10)
    with pytest.raises(Refused):
        guest.proof()
    guest.link.wait_closed()
    assert bytes(guest.link.received[0]).count(guest.proofs.of("worker", *guest.said)) == 0


@pytest.mark.parametrize("role", ["worker", "seed"])
def test_s2_a_proof_for_another_conversation_is_none(driver: Driver, join: Join, role: str) -> None:
    """Neither the worker's own, handed back, nor one that was made for another hello."""
    seed = Seed(driver, 2)
    joining = join(seed.join_string, 0, 2)
    guest = seed.guest()
    guest.hello()
    said = guest.said if role == "worker" else [b"another hello"]
    guest.challenge(proof=guest.proofs.of(role, *said))
    guest.dismiss()
    with pytest.raises(nx.AuthError, match="does not know the token"):
        joining.result(10)


def babble(guest: Guest, data: bytes) -> None:
    guest.link.write(guest.talk.stream, data)


def framed(name: str, **fields: object) -> bytes:
    return refcodec.frame(refcodec.encode_archive(name, fields))


def redirect(*addresses: str) -> bytes:
    return framed("join_redirect", addresses=list(enumerate(addresses)))


UNKNOWN_KIND = refcodec.frame(bytes([200]) + bytes(47))
BROKEN_ARCHIVE = refcodec.frame(b"\xff" * 40 + bytes([67]) + b"\xff" * 47)

# What it says after a proper challenge and proof.
NONSENSE: dict[str, tuple[Callable[[Guest], None], str]] = {
    "length 2^32-1": (lambda g: babble(g, b"\xff" * 4 + bytes(4)), "announces|long|limit"),
    "unknown kind": (lambda g: babble(g, UNKNOWN_KIND), "200"),
    "header of another type": (lambda g: babble(g, b"\x30\0\0\0\0\1\0\0" + bytes(48)), "type"),
    "broken archive": (lambda g: babble(g, BROKEN_ARCHIVE), "broke the protocol"),
    "out of place": (lambda g: babble(g, framed("join_go")), "out of place"),
    "the reference's welcome": (lambda g: babble(g, framed("barrier", epoch=0, comm_id=0)), "out of place"),
    "rank outside": (lambda g: g.welcome(2), "gave rank 2"),
    "another rank": (lambda g: g.welcome(1), "gave rank 1 to a worker that is rank 0"),
    "another size": (lambda g: g.welcome(0, world_size=3), "has 3 ranks, this worker expects 2"),
    "endless ranks": (lambda g: g.welcome(0, world_size=2**32 - 1), "gave rank 0 of 4294967295"),
    "another authority": (lambda g: g.welcome(0, ca=der(Authority().certificate)), "another authority"),
    "no certificate": (lambda g: g.welcome(0, certificate=b"\x30\x03abc"), "certificate"),
    "somebody else's certificate": (
        lambda g: g.welcome(0, certificate=der(g.seed.authority.credentials(Key()).certificate)),
        "certificate that was issued to this process",
    ),
    "certificate of another authority": (
        lambda g: g.welcome(0, certificate=der(Authority().issue(g.public_key, g.node.hex()))),
        "not signed by the cluster's CA",
    ),
    "a job that grows": (lambda g: g.welcome(0, authority=b"key"), "has a job that grows, for this worker it does not"),
    "sent on": (lambda g: babble(g, redirect("127.0.0.1:9")), "sends this worker nowhere"),
    "end of the stream": (lambda g: g.link.write(g.talk.stream, b"", end=True), "ended its stream"),
    "reset of the stream": (lambda g: g.link.reset(g.talk.stream), "broke the protocol"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_a_seed_that_breaks_the_protocol_is_left_with_the_reason(driver: Driver, join: Join, case: str) -> None:
    say, words = NONSENSE[case]
    seed = Seed(driver, 2)
    joining = join(seed.join_string, 0, 2)
    guest = seed.guest()
    guest.hello()
    guest.challenge()
    guest.proof()
    say(guest)
    guest.dismiss()
    with pytest.raises(nx.NexarError, match=words) as caught:
        joining.result(10)
    assert not isinstance(caught.value, nx.Timeout)


NODES = (bytes([1]) * 16, bytes([2]) * 16)
ADDRESSES = [(0, "127.0.0.1:9"), (1, "127.0.0.1:9")]
GOOD: dict[str, object] = {"addresses": ADDRESSES, "nodes": b"".join(NODES), "groups": bytes(32), "lobbies": []}

ROSTERS: dict[str, dict[str, object]] = {
    "too few nodes": {"nodes": NODES[0]},
    "half a node": {"nodes": b"".join(NODES) + b"x"},
    "too few groups": {"groups": b""},
    "an address of nobody": {"addresses": [*ADDRESSES, (2, "127.0.0.1:9")]},
    "no address": {"addresses": [(0, "127.0.0.1:9")]},
    "an endless address": {"addresses": [(0, "127.0.0.1:9"), (1, "1" * 5000)]},
}


@pytest.mark.parametrize("case", ROSTERS)
def test_a_list_of_ranks_that_cannot_be(driver: Driver, join: Join, case: str) -> None:
    seed = Seed(driver, 2)
    joining = join(seed.join_string, 0, 2)
    guest = seed.guest()
    guest.admit(0)
    guest.talk.say("roster", **{**GOOD, **ROSTERS[case]})
    with pytest.raises(Refused, match="the seed's list of ranks"):
        guest.go()
    guest.link.close()
    with pytest.raises(nx.NexarError, match="the seed's list of ranks"):
        joining.result(10)


def test_what_a_seed_says_does_not_write_into_terminals(driver: Driver, join: Join) -> None:
    seed = Seed(driver, 2)
    joining = join(seed.join_string, 0, 2)
    guest = seed.guest()
    guest.hello()
    guest.talk.say("abort", code=4, rank=7, reason="full\x1b[2J\r\n" + "é" * 500)
    with pytest.raises(nx.ConfigError, match=r"ended joining: full\?\[2J\?\?\?") as caught:
        joining.result(10)
    assert str(caught.value).isprintable()


def test_an_old_seed_says_which_version_it_speaks(driver: Driver, join: Join) -> None:
    seed = Seed(driver, 2)
    joining = join(seed.join_string, 0, 2)
    guest = seed.guest()
    assert guest.hello()["version"] == 1
    guest.talk.say("abort", code=1, rank=2**32 - 1, reason="the seed speaks version 0 of joining, this worker 1")
    with pytest.raises(nx.NexarError, match="speaks version 0 of joining, this worker 1") as caught:
        joining.result(10)
    assert caught.value.code_name == "EPROTO"


def test_a_seed_of_another_protocol(driver: Driver, join: Join) -> None:
    """It may be an old one that is about to end, so the worker tries again; at the deadline it says what it found."""
    authority = Authority()
    seed = Seed(driver, 2, authority)
    seed.endpoint.server.alpn_protocols = ["libnexar-join/0"]  # type: ignore[union-attr]
    with pytest.raises(nx.Timeout, match="it speaks none of our protocol versions"):
        join(seed.join_string, 0, 2, timeout=0.5).result(10)


def test_a_silent_seed_is_given_up_at_the_deadline(driver: Driver, join: Join) -> None:
    seed = Seed(driver, 2)
    joining = join(seed.join_string, 0, 2, timeout=0.5)
    seed.guest().hello()
    with pytest.raises(nx.Timeout, match=r"cannot reach the seed at 127\.0\.0\.1:\d+: no answer"):
        joining.result(10)
