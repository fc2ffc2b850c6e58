"""nexar bench: measures one kind of operation over sizes, and checks its results."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap

from . import compare, method, peers, plot, run, tune
from .cases import CASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """cases:
{cases}

Calls are made back to back in rows of at least 20 ms; a sample is the time from the first rank's start of a row to the
last rank's end of it, divided by the calls.  Times are microseconds: the median and the 99th percentile of the samples;
bandwidths are 10^9 bytes a second at the median.  `bytes` are those of the whole vector, all blocks of it, `algbw` is
bytes / time, `busbw` what each rank's link carries of it.  `wrong` counts elements that are not what they should be,
after one call with known values; it must be 0.
Inside a job (nexar run, srun, ...) all ranks take part; outside, the command starts N ranks by itself.

peers, for --compare; those that are not installed are named and left out:
{peers}
"""
_SIZES = "8,64,512,4k,32k,256k,2m,16m"
_SECONDS = 0.4
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30}
_SEVERAL = ("compare", "transports", "plot", "tune")  # they start jobs of their own


def main(argv: Sequence[str]) -> int:
    """Exit status of `nexar bench ARGV`."""
    parser = make_parser()
    options = parser.parse_args(argv)
    for name in _SEVERAL if in_job() else ():
        if getattr(options, name):
            parser.error(f"--{name} starts jobs of its own: run it outside of one")
    if options.tune and options.alloc:
        parser.error("--tune measures in ordinary memory")
    if options.tune:
        return tune.tune([options.case] if options.case else list(CASES), options.n, options.sizes)
    if options.case is None:
        parser.error("which CASE?  " + ", ".join(CASES))
    least = CASES[options.case][0].ranks_least
    if not in_job() and options.n < least:
        parser.error(f"{options.case} needs {'two ranks' if least == 2 else 'a rank'}")
    if options.plot and (reason := plot.missing()) is not None:
        parser.error(reason)
    if any(getattr(options, name) for name in _SEVERAL):
        return compare.run(options)
    if options.face == "c":
        return from_c(options)
    if in_job():
        return bench(options)
    said = ["-m", "pynexar", "bench", *argv]
    job, command, said = run.parse(["-n", str(options.n), *said])
    return run.run(job, command, said, prefix=False)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nexar bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG.format(
            cases="\n".join(f"  {name:16}{text}" for name, (_, text) in CASES.items()),
            peers=textwrap.fill(
                ", ".join([*peers.GROUPS, *peers.PEERS]), 100, initial_indent="  ", subsequent_indent="  "
            ),
        ),
    )
    add = parser.add_argument
    add("case", nargs="?", choices=CASES, metavar="CASE", help=", ".join(CASES))
    add("--sizes", type=parse_sizes, default=_SIZES, help="bytes of an array (default: %(default)s)")
    add("-n", type=int, default=2, metavar="N", help="ranks to start (default: 2)")
    add("--seconds", type=positive, default=_SECONDS, metavar="S", help="to measure one size (default: %(default)s)")
    add(
        "--face",
        choices=("python", "c"),
        default="python",
        help="call from Python, or from C by the programs of a build folder (default: %(default)s)",
    )
    add("--alloc", action="store_true", help="nexar's arrays lie in memory of comm.alloc, which ranks of a host share")
    add("--transports", metavar="A,B", help="once by each of these transports, in turn: shm,tcp,quic")
    add("--compare", type=parse_peers, metavar="A,B", help="the same work by these peers, too, and the ratios of times")
    add("--rounds", type=int, default=3, metavar="K", help="of jobs that take turns (default: %(default)s)")
    add("--plot", metavar="FILE.png", help="draw times over sizes; needs matplotlib: pip install 'pynexar[plot]'")
    add("--json", action="store_true", help="one object a line")
    add(
        "--tune",
        action="store_true",
        help="measure all algorithms of CASE, or of all cases, and print a line NEXAR_COLL_TUNE=...",
    )
    return parser


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


def parse_peers(text: str) -> list[peers.Runner]:
    try:
        return peers.named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def from_c(options: argparse.Namespace) -> int:
    """By face-nexar, as all ranks of a job or as one of them."""
    try:
        program = [peers.find_program("face-nexar"), "--seconds", str(options.seconds)]
    except peers.CannotRunError as error:
        print(f"nexar bench: --face c: {error}", file=sys.stderr)
        return 1
    program += ["--alloc"] * options.alloc + ["--json"] * options.json
    program += [f"{options.case}:{','.join(map(str, options.sizes))}"]
    if in_job():
        sys.stdout.flush()
        os.execv(program[0], program)
    job, command, said = run.parse(["-n", str(options.n), "--", *program])
    return run.run(job, command, said, prefix=False)


def bench(options: argparse.Namespace) -> int:
    """One rank's part."""
    from pynexar.node import init

    from .faces import Nexar, NexarAlloc

    with init() as comm:
        least = CASES[options.case][0].ranks_least
        if comm.size < least:
            print(f"nexar bench: {options.case} needs two ranks", file=sys.stderr)
            return 2
        if comm.rank == 0 and not options.json:
            print(method.HEADER)
        work = [(options.case, options.sizes)]
        face = (NexarAlloc if options.alloc else Nexar)(comm)
        return method.measure_all(face, work, options.seconds, as_json=options.json)
