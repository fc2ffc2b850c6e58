"""Strangers, future members and seeds that lie to a job that grows: refused, and the job goes on without them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import pynexar as nx
import refcodec
from foreign import Refused, Worker
from foreignid import proof_key
from foreignseed import Guest, Seed
from quicpeer import Driver


@pytest.fixture
def member() -> Iterator[nx.Comm]:
    """The only rank of a job that grows; its seed is gone."""
    with nx.Seed("127.0.0.1:0", 1, nx.Config(elastic=True)) as seed:
        comm = nx.init(seed.join_string, config=nx.Config(elastic=True, bind="127.0.0.1"))
    yield comm
    comm.close()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def works(comm: nx.Comm, size: int) -> None:
    assert comm.size == size
    if size == 1:
        assert comm.all_reduce(np.arange(3.0)).tolist() == [0, 1, 2]


def worker_of(driver: Driver, comm: nx.Comm, wish: int | None = None) -> Worker:
    worker = Worker(driver, comm.join_string, wish, 0, refcodec.ALPN_OWN, grows=True)
    worker.connect()
    return worker


# ------------------------------------------------------------------------------------------------------ at the member
# What it says in its hello; what it is told.
HELLOS: dict[str, tuple[dict[str, Any], str]] = {
    "of a job that does not grow": ({"formation": 0}, "the job has all its 1 ranks"),
    "back from nowhere": ({"formation": 9, "rank_plus_one": 1}, "the formation .* is over"),
    "back for 2^32-1": ({"formation": 2**32 - 1, "rank_plus_one": 1}, "the formation .* is over"),
    "back as nobody": ({"formation": 2}, "does not say which rank"),
    "another version": ({"version": 7}, "speaks version 1 of joining"),
}


@pytest.mark.parametrize("case", HELLOS)
def test_a_stranger_is_refused_by_a_member(member: nx.Comm, driver: Driver, case: str) -> None:
    fields, told = HELLOS[case]
    worker = worker_of(driver, member)
    worker.hello(**fields)
    if "version" not in fields:
        worker.challenge()
        worker.prove()
    with pytest.raises(Refused, match=told):
        worker.talk.hear("nothing")
    assert member.elastic_checkpoint() is member
    works(member, 1)


def test_a_member_tells_a_stranger_nothing(member: nx.Comm, driver: Driver) -> None:
    """Without the token: no rank, no address, no certificate."""
    worker = worker_of(driver, member)
    worker.hello()
    worker.challenge()
    worker.proofs.key = proof_key(bytes(32))
    worker.prove()
    with pytest.raises(Refused) as caught:
        worker.talk.hear("nothing")
    assert caught.value.reason == "authentication failed"
    assert member.elastic_checkpoint() is member


def waiting(driver: Driver, comm: nx.Comm) -> Worker:
    worker = worker_of(driver, comm)
    worker.hello()
    worker.challenge()
    worker.prove()
    return worker


def lie_no_lobby(worker: Worker) -> None:
    worker.listen()  # it does not say where it lets others in


def lie_out_of_place(worker: Worker) -> None:
    worker.talk.say("join_ready", rank=1)


def lie_no_address(worker: Worker) -> None:
    worker.talk.say("join_listen", addresses=[], lobby=[(0, "127.0.0.1:9")])


def lie_endless_address(worker: Worker) -> None:
    worker.talk.say("join_listen", addresses=[(0, "1" * 300)], lobby=[(0, "127.0.0.1:9")])


def lie_many_addresses(worker: Worker) -> None:
    many = [(i, f"127.0.0.1:{i + 1}") for i in range(9)]
    worker.talk.say("join_listen", addresses=many, lobby=many)


def lie_gone(worker: Worker) -> None:
    worker.talk.link.close()


def lie_gives_up(worker: Worker) -> None:
    worker.talk.say("abort", code=7, rank=2**32 - 1, reason="no more")


LIES = (
    lie_no_lobby,
    lie_out_of_place,
    lie_no_address,
    lie_endless_address,
    lie_many_addresses,
    lie_gone,
    lie_gives_up,
)


@pytest.mark.parametrize("lie", LIES)
def test_e_one_that_joins_and_lies_is_cut_off(
    member: nx.Comm, driver: Driver, thread: ThreadPoolExecutor, lie: Callable[[Worker], None]
) -> None:
    """The members are in the middle of a formation with it, and begin again without it."""
    worker = waiting(driver, member)
    lied = threading.Event()
    begun = thread.submit(checkpoints, member, lied)
    worker.welcome()
    assert (worker.rank, worker.size, worker.formation) == (1, 2, 2)
    lie(worker)
    lied.set()
    begun.result(30)
    works(member, 1)


def checkpoints(comm: nx.Comm, lied: threading.Event) -> None:
    """Until the stranger has been seen, and is gone."""
    while not lied.is_set():
        assert comm.elastic_checkpoint(timeout=30) is comm
    assert comm.elastic_checkpoint(timeout=30) is comm


def test_one_that_never_connects_is_not_waited_for(member: nx.Comm, driver: Driver, thread: ThreadPoolExecutor) -> None:
    """It listens, and takes no call: the checkpoint ends with its own time, and the job is what it was."""
    worker = waiting(driver, member)
    begun: Future[nx.Comm] = thread.submit(member.elastic_checkpoint, timeout=3)
    worker.welcome()
    worker.talk.say("join_listen", addresses=[(0, "127.0.0.1:9")], lobby=[(0, "127.0.0.1:9")])
    worker.roster()
    with pytest.raises((nx.Timeout, nx.PeerLost)):
        begun.result(30)
    worker.talk.link.close()
    works(member, 1)
    assert member.elastic_checkpoint(timeout=30) is member


# ---------------------------------------------------------------------------------------------------- at a false seed
def joining(pool: ThreadPoolExecutor, seed: Seed, timeout: float = 10) -> Future[nx.Comm]:
    return pool.submit(nx.init, seed.join_string, timeout=timeout, elastic=True)


def proven(seed: Seed) -> Guest:
    guest = seed.guest()
    guest.hello()
    guest.challenge()
    guest.proof()
    return guest


# What the authority's key is, which a member of a job that grows gets.
KEYS: dict[str, bytes] = {"nothing of a key": b"key", "an empty sequence": b"\x30\x00", "5 000 bytes": b"\x30" * 5000}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_that_is_none(driver: Driver, thread: ThreadPoolExecutor, case: str) -> None:
    seed = Seed(driver, 1)
    begun = joining(thread, seed)
    guest = proven(seed)
    guest.welcome(0, authority=KEYS[case])
    guest.dismiss()
    with pytest.raises(nx.NexarError, match="key"):
        begun.result(20)


def test_a_key_of_another_authority(driver: Driver, thread: ThreadPoolExecutor) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    other = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    seed = Seed(driver, 1)
    begun = joining(thread, seed)
    guest = proven(seed)
    guest.welcome(0, authority=other)
    guest.dismiss()
    with pytest.raises(nx.AuthError, match="not that of its certificate"):
        begun.result(20)


@pytest.mark.parametrize("addresses", [[], ["nowhere"], ["127.0.0.1"], ["1" * 200], ["127.0.0.1:99999"]])
def test_sent_to_no_address(driver: Driver, thread: ThreadPoolExecutor, addresses: list[str]) -> None:
    seed = Seed(driver, 1)
    begun = joining(thread, seed)
    guest = proven(seed)
    guest.talk.say("join_redirect", addresses=list(enumerate(addresses)))
    guest.dismiss()
    with pytest.raises(nx.NexarError, match="sends this worker nowhere"):
        begun.result(20)


def test_sent_in_a_circle_one_gives_up_in_time(driver: Driver, thread: ThreadPoolExecutor) -> None:
    """A seed that sends to itself: tried again with pauses, not as fast as can be, and not for ever."""
    seed = Seed(driver, 1)
    begun = joining(thread, seed, timeout=2)
    for times in range(4):
        guest = seed.guest(times)
        guest.hello()
        guest.challenge()
        guest.proof()
        guest.talk.say("join_redirect", addresses=[(0, "{}:{}".format(*seed.endpoint.address))])
    with pytest.raises(nx.Timeout):
        begun.result(20)
    assert len(seed.endpoint.accepted) <= 5


def test_a_list_without_the_places_where_others_are_let_in(driver: Driver, thread: ThreadPoolExecutor) -> None:
    """The seed knows the authority's key, and is one of the job; yet its list of ranks is not whole."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    seed = Seed(driver, 1)
    begun = joining(thread, seed)
    guest = proven(seed)
    key = seed.authority._private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    guest.welcome(0, authority=key)
    guest.listen()
    guest.talk.say(
        "roster",
        addresses=[(0, guest.addresses[0])],
        nodes=guest.node,
        groups=bytes(16),
        lobbies=[(7, "127.0.0.1:9")],
    )
    guest.dismiss()
    with pytest.raises(nx.NexarError, match="an address that cannot be"):
        begun.result(20)
