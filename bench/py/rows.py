"""The table of figures: what is compared with whom, and what the goals are.  Sizes and ratios as in bench/README.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pynexar.cli.peers import PEERS, Runner

KIB, MIB = 1 << 10, 1 << 20
ALL = (8, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB)
BLOCKS = ("broadcast", "all_gather", "reduce_scatter", "all_to_all")
COLLECTIVES = (*((case, (4 * KIB, 4 * MIB)) for case in BLOCKS), ("barrier", (0,)))

DEFAULT = Runner("nexar", "nexar")
OWN_MEMORY = Runner("nexar, its memory", "nexar", own_memory=True)
TCP = Runner("nexar, tcp", "nexar", {"NEXAR_TRANSPORTS": "tcp", "NEXAR_TCP_TLS": "off"})
TLS = Runner("nexar, tcp with TLS", "nexar", {"NEXAR_TRANSPORTS": "tcp"})
HOSTS = Runner("nexar, 2 hosts", "nexar", hosts=2)
FLAT = Runner(  # what it would choose if all ranks were equally far apart
    "nexar, 2 hosts, flat",
    "nexar",
    {
        "NEXAR_COLL_TUNE": "all_reduce:0-16k:bruck,all_reduce:0-32k:flat,all_reduce:0-64k:cube,all_reduce:0-:direct,"
        "broadcast:0-255k:binomial,broadcast:0-:scatter,all_gather:0-64k:flat,all_gather:0-:ring,"
        "reduce_scatter:0-:direct,barrier:0-:dissemination"
    },
    hosts=2,
)
QUIC = Runner("nexar, quic", "nexar", {"NEXAR_TRANSPORTS": "quic"})


@dataclass(frozen=True)
class Row:
    """Our time / the best peer's must be at most `goal(case, bytes, ranks)`."""

    key: str
    title: str
    own: Runner
    peers: tuple[Runner, ...]
    work: tuple[tuple[str, Sequence[int]], ...]
    ranks: tuple[int, ...]
    goal: Callable[[str, int, int], float]
    face: str = "c"


@dataclass(frozen=True)
class Limit:
    """A value that must be at most `limit`."""

    key: str
    title: str
    what: str  # what figures.py measures
    unit: str
    limit: float
    ranks: int = 4


def peers(*names: str) -> tuple[Runner, ...]:
    return tuple(PEERS[name] for name in names)


def up_to(*steps: tuple[int, float]) -> Callable[[str, int, int], float]:
    """The goal of the first step whose size is not smaller."""
    return lambda _case, nbytes, _ranks: next(goal for size, goal in steps if nbytes <= size)


def always(goal: float) -> Callable[[str, int, int], float]:
    return lambda _case, _nbytes, _ranks: goal


def of_ranks(goals: dict[int, float]) -> Callable[[str, int, int], float]:
    return lambda _case, _nbytes, ranks: goals[ranks]


HERE = peers("openmpi", "openmpi-nocma", "mpich")
OPENMPI = peers("openmpi", "openmpi-nocma")
REDUCE = (("all_reduce", ALL),)
FOUR_UP = (("all_reduce", (4, *ALL[1:])), ("p2p", (8, 64 * KIB)))

ROWS: tuple[Row, ...] = (
    Row(
        "all_reduce",
        "all_reduce, 2 ranks, from C, against the better of Open MPI (with and without CMA) and MPICH",
        DEFAULT,
        HERE,
        REDUCE,
        (2,),
        up_to((64 * KIB, 0.5), (16 * MIB, 0.6), (64 * MIB, 0.5)),
    ),
    Row(
        "all_reduce-alloc",
        "the same in memory of comm.alloc",
        OWN_MEMORY,
        HERE,
        (("all_reduce", ALL[2:]),),
        (2,),
        always(0.3),
    ),
    Row(
        "all_reduce-python",
        "all_reduce, 2 ranks, from Python, against mpi4py",
        DEFAULT,
        HERE,
        REDUCE,
        (2,),
        up_to((8, 0.8), (64 * KIB, 0.5), (16 * MIB, 0.6), (64 * MIB, 0.5)),
        "python",
    ),
    Row(
        "all_reduce-4", "all_reduce, 4 ranks on 2 cores, against Open MPI", DEFAULT, OPENMPI, REDUCE, (4,), always(0.5)
    ),
    Row(
        "collectives",
        "other collectives, 2 ranks, from C, against the best peer",
        DEFAULT,
        HERE,
        COLLECTIVES,
        (2,),
        always(0.8),
    ),
    Row(
        "collectives-4",
        "other collectives, 4 ranks on 2 cores, from C, against Open MPI (MPICH does not yield: thousands of us)",
        DEFAULT,
        OPENMPI,
        COLLECTIVES,
        (4,),
        always(0.8),
    ),
    Row(
        "p2p",
        "send and receive, half of the round trip, from C, against the best peer",
        DEFAULT,
        HERE,
        (("p2p", ALL[:4]),),
        (2,),
        always(0.6),
    ),
    Row(
        "p2p-python",
        "send and receive, half of the round trip, from Python, against mpi4py",
        DEFAULT,
        HERE,
        (("p2p", (8,)),),
        (2,),
        always(0.6),
        "python",
    ),
    Row(
        "stream",
        "stream of messages, time of one, against the best peer",
        DEFAULT,
        HERE,
        (("stream", (MIB, 16 * MIB)),),
        (2,),
        always(0.9),
    ),
    Row(
        "tcp-openmpi",
        "NEXAR_TRANSPORTS=tcp, TLS off, all_reduce, against Open MPI over TCP",
        TCP,
        peers("openmpi-tcp"),
        REDUCE,
        (2, 4),
        always(1.0),
    ),
    Row(
        "tcp-gloo",
        "NEXAR_TRANSPORTS=tcp, TLS off, all_reduce from Python, against Gloo",
        TCP,
        peers("gloo"),
        REDUCE,
        (2, 4),
        of_ranks({2: 0.7, 4: 1.0}),
        "python",
    ),
    Row(
        "tls-openmpi",
        "NEXAR_TRANSPORTS=tcp with mutual TLS, all_reduce, against Open MPI over TCP in plain text",
        TLS,
        peers("openmpi-tcp"),
        REDUCE,
        (2, 4),
        up_to((4 * KIB, 0.7), (64 * MIB, 2.0)),
    ),
    Row(
        "tls-gloo",
        "NEXAR_TRANSPORTS=tcp with mutual TLS, all_reduce from Python, against Gloo in plain text",
        TLS,
        peers("gloo"),
        REDUCE,
        (2, 4),
        up_to((64 * KIB, 0.1), (16 * MIB, 1.0), (64 * MIB, 1.5)),
        "python",
    ),
    Row(
        "tls-stream",
        "stream over mutual TLS, against SSL_write and SSL_read over one socket",
        TLS,
        peers("ssl"),
        (("stream", (MIB, 16 * MIB)),),
        (2,),
        always(0.95),
    ),
    Row(
        "hosts",
        "4 ranks that say they are on 2 hosts, TCP with mutual TLS between: schedules by hosts, against flat ones",
        HOSTS,
        (FLAT,),
        (("all_reduce", ALL), *(work for work in COLLECTIVES if work[0] != "all_to_all")),
        (4,),
        always(1.0),
    ),
    Row(
        "nexar-0.2",
        "against nexar 0.2.0: its default and ours",
        DEFAULT,
        peers("nexar-0.2"),
        FOUR_UP,
        (2, 4),
        always(0.1),
    ),
    Row(
        "nexar-0.2-sockets",
        "against nexar 0.2.0: its default, and NEXAR_TRANSPORTS=tcp with mutual TLS",
        TLS,
        peers("nexar-0.2"),
        FOUR_UP,
        (2, 4),
        always(0.3),
    ),
    Row(
        "nexar-0.2-quic",
        "against nexar 0.2.0: both over QUIC alone",
        QUIC,
        peers("nexar-0.2-quic"),
        FOUR_UP,
        (2, 4),
        always(0.3),
    ),
)

LIMITS: tuple[Limit, ...] = (
    Limit(
        "start-4", "4 C programs, from before `nexar run` to the first all_reduce of the last", "start", "s", 0.35, 4
    ),
    Limit("start-4-python", "the same, Python scripts", "start_python", "s", 0.35, 4),
    Limit(
        "start-64", "64 C programs, from before `nexar run` to the first all_reduce of the last", "start", "s", 6, 64
    ),
    Limit("idle", "an idle job of 4 ranks and its launcher", "idle_percent", "% of a core", 1, 4),
    Limit("idle-waiting", "the same while 3 ranks wait to receive", "waiting_percent", "% of a core", 1, 4),
    Limit("memory-pair", "memory of a pair on one host, 8 ranks, beyond that of single ranks", "pair_mib", "MiB", 1, 8),
    Limit("memory-rank", "memory of a rank of 64, numpy and Python included", "rank_mib", "MiB", 64, 64),
)

# What compare.py measures against bare MsQuic, by its names.
YARDSTICK = ("round-trip", "one-way", "rate", "cross", "allocations")
