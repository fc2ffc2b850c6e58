"""nexar bench: measures one kind of operation over sizes, and checks its results."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time

from . import run, tune
from .cases import CASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np

    from pynexar.comm import Comm

EPILOG = """cases:
{cases}

Times are microseconds, of the slowest rank in each round; bandwidths are 10^9 bytes a second at the median.  `bytes`
are those of the whole vector, all blocks of it, `algbw` is bytes / time, `busbw` what each rank's link carries of it.
`wrong` counts elements that are not what they should be.
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
        epilog=EPILOG.format(cases="\n".join(f"  {name:16}{text}" for name, (_, text) in CASES.items())),
    )
    parser.add_argument("case", nargs="?", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--sizes", type=parse_sizes, default=_SIZES, help="bytes of an array (default: %(default)s)")
    parser.add_argument("-n", type=int, default=2, metavar="N", help="ranks to start (default: 2)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="measure all algorithms of CASE, or of all cases, and print a line NEXAR_COLL_TUNE=...",
    )
    options = parser.parse_args(argv)
    if options.tune:
        if in_job():
            parser.error("--tune starts jobs of its own, one for each algorithm: run it outside of one")
        return tune.tune([options.case] if options.case else list(CASES), options.n, options.sizes)
    if options.case is None:
        parser.error("which CASE?  " + ", ".join(CASES))
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

    case = CASES[name][0](comm, nbytes)
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
