"""nexar bench: measures one kind of operation over sizes, and checks its results."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time

from . import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np

    from pynexar.comm import Comm

CASES = {
    "all_reduce": "every rank gets the sum of all ranks' arrays (float32)",
    "broadcast": "rank 0's array to every rank (float32)",
    "barrier": "every rank waits for every other",
    "p2p": "a message from rank 0 to rank 1 and back; times are one way",
}
EPILOG = """cases:
{cases}

Times are microseconds, of the slowest rank in each round; bandwidths are 10^9 bytes a second at the median.  `algbw` is
bytes / time, `busbw` what each rank's link carries of it.  `wrong` counts elements that are not what they should be.
Inside a job (nexar run, srun, ...) all ranks take part; outside, the command starts N ranks by itself.
"""
_SIZES = "8,64,512,4k,32k,256k,2m,16m"
_WARM_UP = 0.1  # seconds
_SPAN = 0.4
_ROUNDS = (20, 10_000)  # at least, at most
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30}


def main(argv: Sequence[str]) -> int:
    """Exit status of `nexar bench ARGV`."""
    parser = argparse.ArgumentParser(
        prog="nexar bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG.format(cases="\n".join(f"  {name:12}{text}" for name, text in CASES.items())),
    )
    parser.add_argument("case", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--sizes", type=parse_sizes, default=_SIZES, help="bytes of an array (default: %(default)s)")
    parser.add_argument("-n", type=int, default=2, metavar="N", help="ranks to start (default: 2)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args(argv)
    if in_job():
        return bench(options)
    if options.n < (2 if options.case == "p2p" else 1):
        parser.error(f"{options.case} needs {'two ranks' if options.case == 'p2p' else 'a rank'}")
    said = ["-m", "pynexar", "bench", *argv]
    job, command, said = run.parse(["-n", str(options.n), *said])
    return run.run(job, command, said, prefix=False)


def in_job() -> bool:
    """Whether this process is a rank of a job already."""
    from pynexar.config import environment

    launcher: str = environment()[0]["launcher"]
    return launcher != "none"


def parse_sizes(text: str) -> list[int]:
    """ "8,64k,1m" in bytes."""
    sizes = []
    for word in text.lower().split(","):
        match = re.fullmatch(r"(\d+)([kmg]?)(?:i?b)?", word)
        if match is None:
            raise argparse.ArgumentTypeError(f"{word!r} is no size such as 8, 64k, 1m")
        sizes.append(int(match[1]) << _SHIFTS[match[2]])
    return sizes


def bench(options: argparse.Namespace) -> int:
    """One rank's part."""
    from pynexar.node import init

    sizes = [0] if options.case == "barrier" else options.sizes
    all_wrong = 0
    with init() as comm:
        if options.case == "p2p" and comm.size < 2:
            print("nexar bench: p2p needs two ranks", file=sys.stderr)
            return 2
        if comm.rank == 0 and not options.json:
            print("       bytes       n      p50 us      p99 us  algbw GB/s  busbw GB/s  wrong")
        for nbytes in sizes:
            result = measure(comm, options.case, nbytes)
            all_wrong += result["wrong"]
            if comm.rank != 0:
                continue
            if options.json:
                print(json.dumps(result), flush=True)
            else:
                line = "{bytes:12} {n:7} {p50_us:11.1f} {p99_us:11.1f} {algbw_GBps:11.3f} {busbw_GBps:11.3f} {wrong:6}"
                print(line.format(**result), flush=True)
    return 1 if all_wrong else 0


def measure(comm: Comm, name: str, nbytes: int) -> dict[str, Any]:
    """One line of the result; the same on all ranks."""
    import numpy as np

    case = _MAKERS[name](comm, nbytes)
    began = time.perf_counter()
    spans = [timed(comm, case, 1)]
    while agree(comm, time.perf_counter() - began < _WARM_UP):
        spans.append(timed(comm, case, 1))
    rounds = int(comm.all_reduce(np.array(min(_ROUNDS[1], _SPAN / float(np.median(spans)))), "min"))
    times = np.sort(timed(comm, case, max(_ROUNDS[0], rounds))) * case.share * 1e6
    wrong = int(comm.all_reduce(np.array(case.check(), np.int64)))
    p50 = float(times[len(times) // 2])
    algbw = case.nbytes / (p50 * 1e3)
    carried = [transport for transport, counters in comm.stats()["transports"].items() if counters["messages_sent"]]
    return {
        "case": name,
        "ranks": comm.size,
        "bytes": case.nbytes,
        "dtype": case.dtype,
        "transport": "+".join(carried) or "none",
        "n": len(times),
        "p50_us": round(p50, 3),
        "p99_us": round(float(times[math.ceil(0.99 * len(times)) - 1]), 3),
        "algbw_GBps": round(algbw, 6),
        "busbw_GBps": round(algbw * case.bus, 6),
        "wrong": wrong,
    }


def timed(comm: Comm, case: Any, rounds: int) -> np.ndarray[Any, Any]:
    """Seconds of each round, those of its slowest rank."""
    import numpy as np

    times = np.zeros(rounds)
    for i in range(rounds):
        if case.together:
            comm.barrier()
        began = time.perf_counter()
        case.go()
        times[i] = time.perf_counter() - began
    result: np.ndarray[Any, Any] = comm.all_reduce(times, "max")
    return result


def agree(comm: Comm, go_on: bool) -> bool:
    """Rank 0's answer, on every rank."""
    import numpy as np

    return bool(comm.broadcast(np.array(go_on, np.uint8)))


class AllReduce:
    dtype = "float32"
    together = True  # all ranks begin a round at the same time
    share = 1.0  # of a round, that an operation takes

    def __init__(self, comm: Comm, nbytes: int) -> None:
        import numpy as np

        self.comm = comm
        self.bus = 2 * (comm.size - 1) / comm.size
        self.pattern = np.arange(max(1, nbytes // 4), dtype=np.int64) % 1021
        self.x = (self.pattern + comm.rank).astype(np.float32)
        self.y = np.empty_like(self.x)
        self.nbytes = self.x.nbytes

    def go(self) -> None:
        self.comm.all_reduce(self.x, out=self.y)

    def check(self) -> int:
        size = self.comm.size
        self.y.fill(-1)
        self.go()
        return int((self.y != self.pattern * size + size * (size - 1) // 2).sum())


class Broadcast:
    dtype = "float32"
    together = True
    share = 1.0
    bus = 1.0

    def __init__(self, comm: Comm, nbytes: int) -> None:
        import numpy as np

        self.comm = comm
        self.x = np.zeros(max(1, nbytes // 4), np.float32)
        self.nbytes = self.x.nbytes

    def go(self) -> None:
        self.comm.broadcast(self.x)

    def check(self) -> int:
        import numpy as np

        pattern = (np.arange(self.x.size) % 1021).astype(np.float32)
        self.x[:] = pattern if self.comm.rank == 0 else -1
        self.go()
        return int((self.x != pattern).sum())


class Barrier:
    dtype = "none"
    together = False
    share = 1.0
    bus = 1.0
    nbytes = 0

    def __init__(self, comm: Comm, nbytes: int) -> None:  # noqa: ARG002
        self.comm = comm

    def go(self) -> None:
        self.comm.barrier()

    def check(self) -> int:
        """Nobody leaves before the last has come.  Clocks can be compared on one host alone."""
        import numpy as np

        if os.environ.get("NEXAR_LOCAL_SIZE") != str(self.comm.size):
            return 0
        came = time.monotonic_ns()
        self.go()
        left = time.monotonic_ns()
        last = int(self.comm.all_reduce(np.array(came, np.int64), "max"))
        return int(left < last)


class PingPong:
    dtype = "uint8"
    together = False
    share = 0.5
    bus = 1.0

    def __init__(self, comm: Comm, nbytes: int) -> None:
        import numpy as np

        self.comm = comm
        self.nbytes = nbytes
        self.x = np.zeros(nbytes, np.uint8)
        self.y = np.zeros(nbytes, np.uint8)

    def go(self) -> None:
        if self.comm.rank == 0:
            self.comm.send(self.x, 1)
            self.comm.recv(self.y, 1)
        elif self.comm.rank == 1:
            self.comm.recv(self.y, 0)
            self.comm.send(self.y, 0)

    def check(self) -> int:
        import numpy as np

        pattern = (np.arange(self.nbytes) % 251).astype(np.uint8)
        self.x[:] = pattern
        self.y.fill(255)
        self.go()
        return int((self.y != pattern).sum()) if self.comm.rank < 2 else 0


_MAKERS: dict[str, Any] = {"all_reduce": AllReduce, "broadcast": Broadcast, "barrier": Barrier, "p2p": PingPong}
