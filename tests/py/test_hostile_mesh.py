"""Strangers and impostors at the ports of ranks that form a mesh: not let in, with the reason in the rank's log; and
ranks that call somebody who is not the one of the list.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest

import foreign
import refcodec
import strangers
from foreign import Mate
from foreignid import Authority, Key
from foreignmesh import REAL, Forming
from quicpeer import Credentials, Driver
from ranks import Raised, Rank, Ranks

CERTIFICATE_REQUIRED, BAD_CERTIFICATE, NO_PROTOCOL = 0x100 + 116, 0x100 + 42, 0x100 + 120


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ranks, dict[int, Rank]]]:
    ranks = Ranks(tmp_path_factory.mktemp("mesh"))
    yield ranks, {}
    ranks.kill()


@pytest.fixture
def processes(kept: tuple[Ranks, dict[int, Rank]]) -> dict[int, Rank]:
    """The same for all tests, unless one has failed and left them in the middle of something."""
    ranks, started = kept
    for rank in REAL:
        if rank not in started or started[rank].busy:
            started[rank] = ranks.start(f"rank{rank}")
    return started


@pytest.fixture
def forming(driver: Driver, processes: dict[int, Rank]) -> Forming:
    return Forming(driver, processes)


# --- certificates of those who call ----------------------------------------------------------------------------------

CERTIFICATES: dict[str, tuple[Callable[[Forming], Credentials | None], int, str]] = {
    "none": (lambda _: None, CERTIFICATE_REQUIRED, "is not let in: the peer showed no certificate"),
    "unknown authority": (
        lambda _: Authority().credentials(Key()),
        BAD_CERTIFICATE,
        r"was not issued by the CA of this cluster \(\w+\); it says that it is of \w+",
    ),
    "false authority": (
        lambda f: Authority(imitated=f.authority).credentials(f.keys[0]),
        BAD_CERTIFICATE,
        r"was not issued by the CA of this cluster \(\w+\)$",
    ),
    "expired": (
        lambda f: f.authority.credentials(f.keys[0], lifetime=-60),
        BAD_CERTIFICATE,
        r"certificate expired at .* UTC; this machine's clock says",
    ),
    "the seed's": (lambda f: f.authority.credentials(Key(), "seed"), BAD_CERTIFICATE, "is that of a seed"),
    "of another node": (
        lambda f: f.authority.credentials(Key(), f.keys[0].node.hex()),
        BAD_CERTIFICATE,
        "names a node that its key is not of",
    ),
    "of another cluster": (
        lambda f: f.authority.credentials_named(f"nexar:{'7' * 32}:{'8' * 32}"),
        BAD_CERTIFICATE,
        "is of another cluster",
    ),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_s6_a_caller_without_the_right_certificate_is_told_nothing(forming: Forming, case: str) -> None:
    """The sidecar of the reference takes anybody."""
    show, code, logged = CERTIFICATES[case]
    since = forming.since[2]
    link = forming.caller(2, show(forming))
    ended = link.wait_closed()
    assert ended.error_code == code
    assert not ended.reason_phrase
    assert not link.received
    forming.processes[2].until_logged(f"127.0.0.1:.*{logged}", since)
    forming.tell()
    forming.finish()


def test_callers_that_speak_other_protocols(forming: Forming) -> None:
    alpns = ("libnexar/0", "libnexar-join/1", "nexar-bulk/1")
    for link in [forming.caller(1, forming.credentials(0), alpn) for alpn in alpns]:
        assert link.wait_closed().error_code == NO_PROTOCOL
    forming.tell()
    forming.finish()


# --- what callers with a certificate say -----------------------------------------------------------------------------

Claim = Callable[[Forming], "tuple[Credentials, dict[str, object]]"]

# The hello of one that calls rank 2; and the reason why it is not let in.
CLAIMS: dict[str, tuple[Claim, str]] = {
    "no rank": (lambda f: (f.authority.credentials(Key()), {}), "its certificate is not one of a rank of this job"),
    "another rank": (
        lambda f: (f.credentials(0), {"from": 1}),
        "it claims to be rank 1, its certificate is that of rank 0",
    ),
    "rank 2^32-1": (lambda f: (f.credentials(0), {"from": 2**32 - 1}), "it claims to be rank 4294967295"),
    "that one itself": (lambda f: (f.credentials(0), {"from": 2}), "it claims to be rank 2, its certificate"),
    "for another rank": (lambda f: (f.credentials(0), {"to": 1}), "it wants rank 1, this is rank 2"),
    "old version": (lambda f: (f.credentials(0), {"version": 0}), "it speaks version 0 of the mesh, this rank 1"),
    "another cluster": (lambda f: (f.credentials(0), {"cluster": bytes(16)}), "it belongs to another job"),
    "no cluster": (lambda f: (f.credentials(0), {"cluster": b""}), "it belongs to another job"),
    "other settings": (lambda f: (f.credentials(0), {"settings": 1}), "different settings"),
    "a higher rank": (lambda f: (f.credentials(3), {"from": 3}), "rank 3 calls rank 2, which is to call it"),
}


def greet(forming: Forming, credentials: Credentials, **more: object) -> Mate:
    mate = Mate(forming.driver, forming.caller(2, credentials))
    mate.link.wait_connected()
    worker = forming.workers[0]
    worker.greet(mate, 2, **{"settings": forming.settings(), **more})
    return mate


@pytest.mark.parametrize("case", CLAIMS)
def test_s4_a_member_that_claims_to_be_another_is_not_let_in(forming: Forming, case: str) -> None:
    """In the reference every certificate is as good as any."""
    claim, words = CLAIMS[case]
    forming.tell()
    credentials, hello = claim(forming)
    since = forming.since[2]
    mate = greet(forming, credentials, **hello)
    assert words in mate.next_framed("abort")["reason"]
    mate.link.wait_closed()
    forming.processes[2].until_logged(f"is not let in: .*{words}", since)
    forming.finish()


def test_s4_a_rank_that_is_connected_cannot_be_taken(forming: Forming) -> None:
    forming.tell()
    first = greet(forming, forming.credentials(0))
    first.next_framed("mesh_ack")
    second = greet(forming, forming.credentials(0))
    assert "rank 0 is connected already" in second.next_framed("abort")["reason"]
    second.link.wait_closed()
    assert first.link.closed is None
    for mate in (first, second):
        mate.link.close()
    with pytest.raises(Raised, match=r"rank 0 .* was lost while the job formed"):
        forming.processes[2].end()
    forming.give_up()
    with pytest.raises(Raised, match="was lost while the job formed"):
        forming.processes[1].end()


def frame(name: str, **fields: object) -> bytes:
    return bytes([refcodec.MANY]) + refcodec.framed_message(name, dict(fields))


ANY = {"lane": 8, "scope": 1, "id": 1}

# What a caller with a certificate of the job says instead of its hello.
BABBLE: dict[str, tuple[bytes, str]] = {
    "hold": (frame("hold", **ANY), "it sent hold before it was let in"),
    "go": (frame("join_go"), "it sent join_go before it was let in"),
    "ack": (frame("mesh_ack", rank=0, incarnation=1), "it sent mesh_ack before it was let in"),
    "bye": (frame("bye", reason=0, messages=0), "it sent bye before it was let in"),
    "unknown tag": (b"\x99", "unknown tag"),
    "nested": (bytes([refcodec.MANY, refcodec.MANY]), "on one of its streams"),
    "1 MiB framed": (b"\1" + (2**20).to_bytes(8, "little"), "it sent a framed message of 1048576 bytes, 65536"),
    "8 EiB framed": (b"\1" + b"\xff" * 8, "message longer than the limit"),
    "a message of the reference": (frame("barrier", epoch=1, comm_id=0), "which the protocol in use does not have"),
    "broken archive": (
        bytes([refcodec.MANY, 1]) + (56).to_bytes(8, "little") + refcodec.frame(b"\xff" * 48),
        "",
    ),
}


@pytest.mark.parametrize("case", BABBLE)
def test_a_caller_that_breaks_the_protocol(forming: Forming, case: str) -> None:
    data, words = BABBLE[case]
    since = forming.since[2]
    link = forming.caller(2, forming.credentials(0))
    link.wait_connected()
    link.write(link.open(), data)
    assert link.wait_closed().error_code == foreign.CLOSE["protocol"]
    forming.processes[2].until_logged(f"called and was not let in: .*({words})", since)
    forming.tell()
    forming.finish()


# --- those who are called --------------------------------------------------------------------------------------------

SHOWN: dict[str, tuple[Callable[[Forming], Credentials], str]] = {
    "unknown authority": (lambda _: Authority().credentials(Key()), "was not issued by the CA of this cluster"),
    "expired": (lambda f: f.authority.credentials(f.keys[3], lifetime=-60), "certificate expired at"),
    "of another rank": (lambda f: f.credentials(0), "at the address of rank 3 there is another member of the job"),
    "of no rank": (lambda f: f.authority.credentials(Key()), "at the address of rank 3 there is another member"),
    "the seed's": (lambda f: f.authority.credentials(Key(), "seed"), "is that of a seed"),
}


@pytest.mark.parametrize("case", SHOWN)
def test_s4_who_is_called_must_be_the_one_of_the_list(forming: Forming, case: str) -> None:
    """It may be one that is about to end, so the call is repeated."""
    show, words = SHOWN[case]
    since = forming.since
    forming.tell(show(forming))
    for rank, process in forming.processes.items():
        process.until_logged("{}:{} is not let in: .*{}".format(*forming.endpoint.address, words), since[rank])
    assert not any(link.received for link in forming.endpoint.accepted)
    forming.give_up()
    for process in forming.processes.values():
        with pytest.raises(Raised, match="was lost while the job formed"):
            process.end()


def test_at_the_deadline_the_error_says_who_was_called(driver: Driver, processes: dict[int, Rank]) -> None:
    forming = Forming(driver, processes, timeout=2)
    forming.tell(forming.authority.credentials(forming.keys[3], lifetime=-60))
    said = []
    for process in forming.processes.values():
        with pytest.raises(Raised) as caught:
            process.end()
        said.append(str(caught.value))  # one of the two may hear of the other's end first
    words = r"Timeout: rank [12] is not connected .* rank 3 \(127\.0\.0\.1:\d+: .* certificate expired at"
    assert any(re.match(words, text) for text in said), said


def test_a_rank_that_is_refused_says_why(forming: Forming) -> None:
    forming.tell()
    mate = forming.called(0)
    mate.control("abort", code=3, rank=2**32 - 1, reason="not you\x07")
    with pytest.raises(Raised, match=r"rank 3 \(127\.0\.0\.1:\d+\): not you\?") as caught:
        forming.processes[mate.hello["from"]].end()
    assert (caught.value.name, caught.value.peer) == ("AuthError", 3)
    forming.give_up()
    with pytest.raises(Raised, match="was lost while the job formed"):
        forming.processes[3 - mate.hello["from"]].end()


# --- many ------------------------------------------------------------------------------------------------------------

MANY = 200

Crowd = Callable[[Forming], "contextlib.AbstractContextManager[int]"]  # how many they are


@contextlib.contextmanager
def leave_handshakes(forming: Forming) -> Iterator[int]:
    with strangers.half_open(forming.address(2), refcodec.ALPN_OWN, MANY):
        yield MANY


@contextlib.contextmanager
def say_nothing(forming: Forming) -> Iterator[int]:
    """With a certificate of the job's, without which nobody gets so far; and not for long."""
    shown = forming.authority.credentials(Key())
    links = []
    for _ in range(MANY // 2):
        links.append(forming.caller(2, shown))
        links[-1].wait_connected()
    yield sum(link.closed is None for link in links)
    for link in links:
        assert set(map(bytes, link.received.values())) <= {bytes([refcodec.MANY])}  # streams without a message


@contextlib.contextmanager
def show_nothing(forming: Forming) -> Iterator[int]:
    for link in [forming.caller(2, None) for _ in range(MANY)]:
        link.wait_closed()
    yield MANY


@pytest.mark.parametrize("crowd", [leave_handshakes, show_nothing, say_nothing], ids=lambda f: f.__name__)
def test_s6_a_crowd_at_a_rank_costs_little_and_the_job_forms(driver: Driver, ranks: Ranks, crowd: Crowd) -> None:
    """Resident memory of the rank, after less before."""
    processes = {rank: ranks.start(f"rank{rank}") for rank in REAL}
    forming = Forming(driver, processes)
    before = processes[2].resident()
    with crowd(forming) as count:
        assert (processes[2].resident() - before) / count <= strangers.LIMIT
        forming.tell()
        forming.finish()


def test_garbage_on_the_port_of_a_rank(forming: Forming) -> None:
    for seed in range(3):
        strangers.throw_garbage(forming.address(2), refcodec.ALPN_OWN, seed)
    forming.tell()
    forming.finish()
