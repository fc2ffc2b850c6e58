"""Strangers at a real seed: each is refused with little said, the seed's log says which of them it was, and the job
forms for the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest

import pynexar as nx
import refcodec
import strangers
from foreign import ALPN_JOIN, Refused, Worker
from foreignid import JoinString, proof_key
from quicpeer import Driver
from ranks import Rank, Ranks

Join = Callable[..., "Future[nx.Comm]"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rank]:
    """A process for seeds."""
    ranks = Ranks(tmp_path_factory.mktemp("host"))
    yield ranks.start("seed")
    ranks.kill()


def open_seed(host: Rank, size: int = 2) -> str:
    host.do(f"seed = nx.Seed('127.0.0.1:0', {size})")
    return str(host.do("seed.join_string"))


def form(join: Join, text: str) -> None:
    """Both ranks join, and work."""
    first, second = [begun.result(10) for begun in [join(text, rank, 2) for rank in range(2)]]
    ours = first.nb.all_reduce(np.ones(3))
    assert second.all_reduce(np.ones(3)).tolist() == ours.wait().tolist() == [2, 2, 2]


# --- one stranger ----------------------------------------------------------------------------------------------------


def say(data: bytes) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        worker.talk.link.write(worker.talk.stream, data)

    return act


def in_turn(*acts: Callable[[Worker], object]) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        for each in acts:
            each(worker)

    return act


def challenged(worker: Worker, **hello: object) -> None:
    worker.hello(**hello)
    worker.challenge()


def prove(worker: Worker, **more: object) -> None:
    challenged(worker)
    fields = {"proof": worker.proofs.of("worker", *worker.said), "csr": worker.key.request(), "process": ""}
    worker.talk.say("join_proof", **{**fields, **more})


def wrong_token(worker: Worker) -> None:
    challenged(worker)
    worker.proofs.key = proof_key(os.urandom(32))
    worker.prove()


def seeds_proof(worker: Worker) -> None:
    """Handed back."""
    challenged(worker)
    worker.talk.say("join_proof", proof=worker.proofs.of("seed", worker.said[0]), csr=worker.key.request(), process="")


def join_with(**hello: object) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        challenged(worker, **hello)
        worker.prove()

    return act


AUTH = "authentication failed"  # all that one learns who does not know the token
BAD = "this is not how one joins"

# What it does; what it is told; what the seed says of it.
STRANGERS: dict[str, tuple[Callable[[Worker], object], str, str]] = {
    "wrong token": (wrong_token, AUTH, "refused: the worker does not know the token or secret of this job"),
    "the seed's own proof": (seeds_proof, AUTH, "refused: the worker does not know the token"),
    "no proof": (lambda w: prove(w, proof=b""), AUTH, "refused: the worker does not know the token"),
    "broken request": (lambda w: prove(w, csr=b"\x30\x03abc"), AUTH, "refused: .*request"),
    "old version": (lambda w: w.hello(version=0), "the seed speaks version 1 of joining, this worker 0", "version"),
    "no nonce": (lambda w: w.hello(nonce=b""), "this is not a proper hello", "a nonce of 0 bytes"),
    "noise": (say(b"\x40\0\0\0" + bytes(range(200))), BAD, "type|header|framed"),
    "length 2^32-1": (say(b"\xff" * 4 + bytes(4)), BAD, "announces|long|limit"),
    "5 KiB": (say(b"\0\x14\0\0\0\0\0\0"), BAD, "announces|long|limit"),
    "unknown kind": (say(refcodec.frame(bytes([200]) + bytes(47))), BAD, "200"),
    "broken archive": (
        say(refcodec.frame(b"\xff" * 40 + b"\x40" + b"\xff" * 47)),
        BAD,
        "archive|broken|offset|outside",
    ),
    "out of place": (lambda w: w.talk.say("join_ready", rank=0), BAD, "out of place"),
    "proof first": (lambda w: w.talk.say("join_proof", proof=bytes(32), csr=b"", process=""), BAD, "out of place"),
    "a hello of the reference": (
        lambda w: w.talk.say("hello", protocol_version=1, capabilities=0, cluster_token=b"t", listen_addr=""),
        BAD,
        "out of place",
    ),
    "hello twice": (in_turn(challenged, Worker.hello), BAD, "out of place"),
    "rank outside": (
        join_with(rank_plus_one=3),
        "rank 2 is not one of the 2 ranks",
        "rank 2 is not one of the 2 ranks",
    ),
    "rank 2^32-1": (join_with(rank_plus_one=2**32 - 1), "not one of the 2 ranks", "rank 4294967294 is not"),
    "no process": (lambda w: prove(w, process="17 of 4"), AUTH, "refused: it is no process"),
    "to a job that grows": (join_with(formation=1), "the job does not grow", "the job does not grow"),
    "back to one that grows": (join_with(formation=7), "the job does not grow", "the job does not grow"),
    "another size": (join_with(world_size=7), "the seed expects 2 ranks, this worker 7", "expects 2 ranks"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_b3_a_stranger_is_refused_and_the_job_forms(host: Rank, driver: Driver, join: Join, case: str) -> None:
    act, told, noted = STRANGERS[case]
    text = open_seed(host)
    since = host.logged()
    worker = Worker(driver, text, None, 2, refcodec.ALPN_OWN)
    worker.connect()
    act(worker)
    with pytest.raises(Refused) as caught:
        worker.talk.hear("nothing")
    assert caught.value.reason == told or told in caught.value.reason
    assert not worker.talk.pending()
    host.until_logged(f"the seed, of {HERE}: .*({noted})", since)
    form(join, text)


HERE = r"127\.0\.0\.1:\d+"

# Those that are told nothing, since there is no way or no need.
SILENCED: dict[str, tuple[Callable[[Worker], object], str]] = {
    "ends its stream": (lambda w: w.talk.link.write(w.talk.stream, b"\x30", end=True), "it ended its stream"),
    "cuts its stream": (lambda w: w.talk.link.reset(w.talk.stream), "it ended its stream|cut"),
    "goes away": (lambda w: w.talk.link.close(), "connected, did not join: it closed the connection"),
    "goes away after the challenge": (
        in_turn(challenged, lambda w: w.talk.link.close()),
        "connected, did not join: it closed the connection",
    ),
    "gives up": (
        in_turn(challenged, lambda w: w.talk.say("abort", code=7, rank=0, reason="no\x1b[2J more")),
        r"gave up: no\?\[2J more",
    ),
}


@pytest.mark.parametrize("case", SILENCED)
def test_b3_one_that_goes_is_noted_and_the_job_forms(host: Rank, driver: Driver, join: Join, case: str) -> None:
    act, noted = SILENCED[case]
    text = open_seed(host)
    since = host.logged()
    worker = Worker(driver, text, None, 2, refcodec.ALPN_OWN)
    worker.connect()
    act(worker)
    host.until_logged(f"the seed, of {HERE}: .*({noted})", since)
    form(join, text)


def test_a_connection_of_another_protocol_does_not_begin(host: Rank, driver: Driver, join: Join) -> None:
    text = open_seed(host)
    address = JoinString.parse(text).address
    for link in [driver.dial(address, [alpn]) for alpn in ("libnexar-join/0", "libnexar/1", "nexar/1", "h3")]:
        assert link.wait_closed().error_code == 0x178  # no_application_protocol
        assert not link.connected
    form(join, text)


def test_the_error_of_a_job_that_does_not_form_tells_what_was_heard(driver: Driver, join: Join) -> None:
    with nx.Seed("127.0.0.1:0", 2, nx.Config(join_timeout=0.5)) as seed:
        joining = join(seed.join_string, 0, 2)
        for case in ("wrong token", "old version", "rank outside"):
            worker = Worker(driver, seed.join_string, None, 2, refcodec.ALPN_OWN)
            worker.connect()
            STRANGERS[case][0](worker)
            with pytest.raises(Refused):
                worker.talk.hear("nothing")
        errors = [joining.exception(10)]
        with pytest.raises(nx.Timeout) as caught:
            seed.wait(10)
        errors.append(caught.value)
    for error in errors:
        assert isinstance(error, nx.Timeout)
        for words in ("missing: rank 1", "does not know the token", "another version of joining", "rank 2 is not one"):
            assert words in str(error)


# --- the wrong join string -------------------------------------------------------------------------------------------


def test_a_worker_with_the_token_of_another_job(host: Rank, join: Join) -> None:
    text = open_seed(host)
    wrong = str(dataclasses.replace(JoinString.parse(text), token=os.urandom(32)))
    with pytest.raises(nx.AuthError, match=rf"the seed at {HERE} does not know the token of the join string"):
        join(wrong, 0, 2).result(10)
    form(join, text)


def test_s2_a_worker_with_the_fingerprint_of_another_job(host: Rank, join: Join) -> None:
    text = open_seed(host)
    wrong = str(dataclasses.replace(JoinString.parse(text), fingerprint=os.urandom(32)))
    since = host.logged()
    with pytest.raises(nx.AuthError, match=r"fingerprint of the join string \(ca=\): it is the seed of another job"):
        join(wrong, 0, 2).result(10)
    host.until_logged("connected, did not join", since)
    form(join, text)


def test_one_character_of_a_join_string_that_is_wrong(host: Rank, join: Join) -> None:
    text = open_seed(host)
    for part, words in (("token=", "does not know the token"), ("sha256:", "fingerprint of the join string")):
        at = text.index(part) + len(part) + 5
        wrong = text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :]
        with pytest.raises(nx.AuthError, match=words):
            join(wrong, 0, 2).result(10)
    form(join, text)


TOKEN, CA = "A" * 43, "0" * 64
TYPOS: dict[str, tuple[str, str]] = {
    "scheme": (f"nexr://h:1?token={TOKEN}&ca=sha256:{CA}", "nexar://"),
    "slash": (f"nexar:/h:1?token={TOKEN}&ca=sha256:{CA}", "nexar://"),
    "space": (f"nexar://h:1?token={TOKEN}&ca=sha256:{CA} ", "character 137 is a space"),
    "no port": (f"nexar://host?token={TOKEN}&ca=sha256:{CA}", "address 1 has no port"),
    "port": (f"nexar://h:70000?token={TOKEN}&ca=sha256:{CA}", "the port of address 1 is not a number from 1 to 65535"),
    "no host": (f"nexar://:1?token={TOKEN}&ca=sha256:{CA}", "the host of address 1 is empty"),
    "brackets": (f"nexar://[::1:1?token={TOKEN}&ca=sha256:{CA}", "no closing bracket"),
    "short token": (f"nexar://h:1?token={TOKEN[1:]}&ca=sha256:{CA}", "the token has 42 characters instead of 43"),
    "bad token": (f"nexar://h:1?token=!{TOKEN[1:]}&ca=sha256:{CA}", "the token has a character that is wrong there"),
    "short ca": (f"nexar://h:1?token={TOKEN}&ca=sha256:{CA[1:]}", "ca has 63 digits instead of 64"),
    "bad ca": (f"nexar://h:1?token={TOKEN}&ca=sha256:g{CA[1:]}", "ca has a character that is no hexadecimal digit"),
    "no sha256": (f"nexar://h:1?token={TOKEN}&ca={CA}", "ca does not begin with sha256:"),
    "no token": (f"nexar://h:1?ca=sha256:{CA}", "token"),
    "no ca": (f"nexar://h:1?token={TOKEN}", "ca"),
    "unknown": (f"nexar://h:1?tokn={TOKEN}&ca=sha256:{CA}", 'unknown parameter "tokn"; there are token, ca and host'),
    "cut": (f"nexar://h:1?token={TOKEN}&c", "parameter 2 has no value"),
}


@pytest.mark.parametrize("case", TYPOS)
def test_a_join_string_with_a_typo(case: str) -> None:
    text, words = TYPOS[case]
    with pytest.raises(nx.ConfigError, match="join string") as caught:
        nx.init(text)
    assert words in str(caught.value)
    assert TOKEN[1:] not in str(caught.value)


# --- a rank that is taken --------------------------------------------------------------------------------------------


def test_a_second_process_that_claims_a_rank(host: Rank, join: Join) -> None:
    """Whoever comes second is refused; the job of the others forms."""
    text = open_seed(host)
    since = host.logged()
    claims = [join(text, 0, 2), join(text, 0, 2)]
    line = host.until_logged(rf"of {HERE}: rank 0 is taken already, by {HERE}", since)
    other = join(text, 1, 2).result(10)
    refused = [claim.exception(10) for claim in claims]
    (error,) = [e for e in refused if e is not None]
    assert isinstance(error, nx.AuthError)
    assert "ended joining: rank 0 is taken already, by 127.0.0.1:" in str(error)
    first = next(claim for claim, e in zip(claims, refused) if e is None).result()
    assert str(error).rsplit("by ", 1)[1] in line
    ours = first.nb.all_reduce(np.ones(1))
    assert other.all_reduce(np.ones(1)).tolist() == ours.wait().tolist() == [2]


def test_one_too_many(host: Rank, driver: Driver, join: Join) -> None:
    text = open_seed(host)
    waiting = Worker(driver, text, None, 2, refcodec.ALPN_OWN)
    waiting.connect()
    challenged(waiting)
    form(join, text)
    waiting.prove()
    with pytest.raises(Refused, match="the job has all its 2 ranks"):
        waiting.talk.hear("nothing")


# --- many ------------------------------------------------------------------------------------------------------------

MANY = 200

Crowd = Callable[[Driver, str], "contextlib.AbstractContextManager[None]"]


@contextlib.contextmanager
def say_nothing(driver: Driver, text: str) -> Iterator[None]:
    links = [driver.dial(JoinString.parse(text).address, [ALPN_JOIN]) for _ in range(MANY)]
    for link in links:
        link.wait_connected()
    yield


@contextlib.contextmanager
def say_half_a_message(driver: Driver, text: str) -> Iterator[None]:
    links = [driver.dial(JoinString.parse(text).address, [ALPN_JOIN]) for _ in range(MANY)]
    for link in links:
        link.wait_connected()
    for link in links:
        link.write(link.open(bidirectional=True), (4088).to_bytes(8, "little") + bytes(4087))
    for link in links:
        link.wait_acknowledged()
    yield


@contextlib.contextmanager
def leave_handshakes(_: Driver, text: str) -> Iterator[None]:
    with strangers.half_open(JoinString.parse(text).address, ALPN_JOIN, MANY):
        yield


@pytest.mark.parametrize("crowd", [say_nothing, say_half_a_message, leave_handshakes], ids=lambda f: f.__name__)
def test_s6_a_crowd_of_strangers_costs_little_and_the_job_forms(
    ranks: Ranks, driver: Driver, join: Join, crowd: Crowd
) -> None:
    """O7 too: the reference allocates what an unknown client announces, up to 4 GiB.

    What they cost is the resident memory of a process that does nothing but serve, after less before.
    """
    host = ranks.start("seed")
    text = open_seed(host)
    before = host.resident()
    with crowd(driver, text):
        form(join, text)
        assert (host.resident() - before) / MANY <= strangers.LIMIT


def test_b3_garbage_on_the_port(host: Rank, join: Join) -> None:
    text = open_seed(host)
    before = host.resident()
    for seed in range(3):
        strangers.throw_garbage(JoinString.parse(text).address, ALPN_JOIN, seed)
    form(join, text)
    assert host.resident() - before < 2**23
