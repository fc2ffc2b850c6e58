"""nexar run: starts the ranks of a job on this machine, and a seed for them and those of other machines."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import socket
import stat
import sys

from pynexar import launched

from . import guard
from .job import CannotStartError, Job, Rank
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pynexar.seed import Seed

USAGE = """nexar run [-n N] [--nnodes A[:B]] [--join S] [--env K=V] [--log-dir D] [--bind ADDR] [--keep-going]
                 [--restarts R] (script.py | -m module | -- program) argument..."""
EPILOG = """\
Each rank gets NEXAR_RANK, NEXAR_WORLD_SIZE, NEXAR_LOCAL_RANK, NEXAR_LOCAL_SIZE and NEXAR_JOIN in its environment;
nexar.init(), nexar_init() in C, find them there.  When one rank fails, the others have 3 seconds to fail by themselves;
then the job is ended.  The exit status is that of the first rank that failed, 128 + signal if a signal ended it.
With --keep-going the others go on (see Comm.shrink), and the exit status is 0 if one of them ends well.
With --nnodes A:B or --restarts R the job is elastic (see Comm.elastic_checkpoint): NEXAR_ELASTIC, NEXAR_MIN_WORLD and
NEXAR_MAX_WORLD are set, too, and a rank that fails does not end the others as long as it can be started again.

examples:
  nexar run -n 4 train.py --epochs 3
  nexar run -n 4 -m package.module
  nexar run -n 4 -- ./program argument
  nexar run -n 2 --nnodes 1:4 train.py        starts with 2 ranks; up to 3 other machines may join later
"""
_OWN = ("NEXAR_JOIN", "NEXAR_RANK", "NEXAR_WORLD_SIZE", "NEXAR_LOCAL_RANK", "NEXAR_LOCAL_SIZE", "NEXAR_GROUP")
_WITH_VALUE = ("-n", "--nnodes", "--join", "--env", "--log-dir", "--bind", "--restarts")


def main(argv: list[str]) -> int:
    """Exit status of `nexar run ARGV`."""
    return run(*parse(argv))


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="nexar run",
        usage=USAGE,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("-n", type=_at_least_one, default=1, metavar="N", help="ranks on this machine (default: 1)")
    add(
        "--nnodes",
        type=_machines,
        default=(1, 0),
        metavar="A[:B]",
        help="machines with N ranks each (default: 1); A:B: the job starts with A of them, and others join up to B",
    )
    add(
        "--join",
        metavar="S",
        help="join the job of another seed: a join string, @FILE to read it from a file, - from standard input "
        "(default: NEXAR_JOIN)",
    )
    add("--env", action="append", default=[], type=_assignment, metavar="K=V", help="a variable for the ranks")
    add(
        "--log-dir",
        metavar="D",
        help="also write what each rank prints to D/rank-RANK.log, and dumps of failures "
        "for nexar analyze to D/nexar-RANK.json (on SIGUSR1, too, unless the program handles it)",
    )
    add(
        "--bind",
        metavar="ADDR",
        help="address[:port] of this machine for seed and ranks (default: 127.0.0.1; all of them with --nnodes)",
    )
    add(
        "--keep-going",
        action="store_true",
        help="the job outlives ranks that fail, as long as one is left: for programs that shrink their communicator",
    )
    add(
        "--restarts",
        type=_at_least_one,
        default=0,
        metavar="R",
        help="starts ranks of this machine that fail again, so many times in all; they join the job that the others "
        "go on with",
    )
    return result


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Options, what to execute, and the same as the user said it."""
    own, said = split(argv)
    arguments = parser()
    options = arguments.parse_args(own)
    options.nnodes, options.most = options.nnodes
    options.elastic = options.most > 0 or options.restarts > 0
    if not said:
        arguments.error("what is to be run?  script.py, -m module, or -- program")
    if said[0] == "--":
        command = said[1:]
    elif said[0] == "-m" or said[0].endswith(".py") or os.path.isdir(said[0]):
        command = [sys.executable, *said]
    else:
        arguments.error(f"{said[0]} is no .py file; write '-- {said[0]}' to run a program")
    if len(said) < 2 and said[0] in ("--", "-m"):
        arguments.error(f"{said[0]} needs a {'program' if said[0] == '--' else 'module'}")
    if said[0] not in ("--", "-m") and not os.path.exists(said[0]):  # said once, and not by each rank
        arguments.error(f"there is no {said[0]}")
    if options.log_dir is not None:
        try:
            os.makedirs(options.log_dir, exist_ok=True)
            for rank in range(options.n * options.nnodes):  # an old dump would be taken for one of this job
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(options.log_dir, f"nexar-{rank}.json"))
        except OSError as error:
            arguments.error(f"--log-dir: {error}")
    try:
        options.join = read_join(options.join, os.environ)
    except (OSError, ValueError) as error:
        arguments.error(f"--join: {error}")
    return options, command, said


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Our options, and the command, which begins with the first word that is neither option nor value."""
    position = 0
    while position < len(argv):
        word = argv[position]
        if word in ("-m", "--") or not word.startswith("-") or word == "-":
            break
        position += 2 if word in _WITH_VALUE else 1
    return argv[:position], argv[position:]


def read_join(value: str | None, environment: os._Environ[str] | dict[str, str]) -> str | None:
    """The join string that --join names; without it NEXAR_JOIN, unless this is a rank of another job itself."""
    if value is None:
        return environment.get("NEXAR_JOIN") if "NEXAR_LOCAL_RANK" not in environment else None
    if value == "-":
        text = sys.stdin.readline().strip()
        if not text:
            raise ValueError("there is nothing on standard input")
    elif value.startswith("@"):
        with open(value[1:], encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise ValueError(f"others may read {value[1:]}, which is a secret: chmod 600 {shlex.quote(value[1:])}")
            text = file.read().strip()
    else:
        say("a join string on the command line is seen by all users of this machine; --join - and --join @FILE are not")
        text = value
    if not text.startswith("nexar://"):
        raise ValueError("a join string begins with nexar://")
    return text


def run(options: argparse.Namespace, command: list[str], said: list[str], *, prefix: bool = True) -> int:
    """Runs a job; `prefix`: the rank's number stands before each line it prints."""
    raw = options.n == 1 and options.log_dir is None and prefix and not options.elastic
    ranks = make_ranks(options, raw=raw)
    job = Job(
        command,
        ranks,
        raw=raw,
        prefix=prefix and (options.n > 1 or options.nnodes > 1 or options.elastic),
        log_dir=options.log_dir,
        keep_going=options.keep_going,
        elastic=options.elastic,
        restarts=options.restarts,
        open_seed=lambda: open_seed(options, said, job),
    )
    sys.stdout.flush()
    return guard.run(job.run, patient=raw)


def make_ranks(options: argparse.Namespace, *, raw: bool) -> list[Rank]:
    """The ranks of this machine, with their environments."""
    base = {name: value for name, value in os.environ.items() if name not in _OWN and name != launched.VARIABLE}
    if not raw:
        base.setdefault("PYTHONUNBUFFERED", "1")  # what a rank prints is seen when it prints it
    if options.log_dir is not None:
        base.setdefault("NEXAR_DUMP_DIR", os.path.abspath(options.log_dir))
    if options.bind is not None:
        base["NEXAR_BIND"] = host_of(options.bind)
    alone = options.nnodes == 1 and options.most == 0 and options.join is None
    if alone and not {"NEXAR_BIND", "NEXAR_INTERFACE", "NEXAR_ADVERTISE"} & base.keys():
        base["NEXAR_BIND"] = "127.0.0.1"
    if options.elastic:
        base["NEXAR_ELASTIC"] = "1"
    if options.most > 0:
        base["NEXAR_MIN_WORLD"] = str(options.n * options.nnodes)
        base["NEXAR_MAX_WORLD"] = str(options.n * options.most)
    if (options.nnodes > 1 or alone) and options.most == 0:
        base["NEXAR_WORLD_SIZE"] = str(options.n * options.nnodes)
    base["NEXAR_LOCAL_SIZE"] = str(options.n)
    if not alone:
        base["NEXAR_GROUP"] = os.urandom(16).hex()  # the seed keeps the ranks of one launcher together
    base.update(options.env)
    host = "" if alone else socket.gethostname().split(".")[0] + "."
    ranks = []
    for local in range(options.n):
        environment = {**base, "NEXAR_LOCAL_RANK": str(local)}
        if alone:
            environment["NEXAR_RANK"] = str(local)
        ranks.append(Rank(local, f"{host}{local}", environment))
    return ranks


def open_seed(options: argparse.Namespace, said: list[str], job: Job) -> tuple[Seed | None, str]:
    """The seed of a new job, or none to join another's; and the join string."""
    if options.join is not None:
        return None, options.join
    machines = max(options.nnodes, options.most)
    address = options.bind or os.environ.get("NEXAR_BIND") or ("127.0.0.1" if machines == 1 else "0.0.0.0")
    seed = make_seed(with_port(address), options.n * options.nnodes, elastic=options.elastic)
    join = seed.join_string
    if machines > 1:
        path = announce(options, said, join)
        job.at_end.append(lambda: os.unlink(path))
    return seed, join


def make_seed(address: str, size: int, *, elastic: bool = False) -> Seed:
    """Serves at `address`.

    Raises:
        CannotStartError: no such address, or it is in use, or the library cannot be loaded.
    """
    try:
        from pynexar.errors import NexarError
        from pynexar.seed import Seed
    except ImportError as error:
        raise CannotStartError(str(error)) from error
    try:
        if not elastic:
            return Seed(address, size)
        from pynexar.config import Config

        return Seed(address, size, Config(elastic=True))
    except NexarError as error:
        raise CannotStartError(str(error)) from error


def announce(options: argparse.Namespace, said: list[str], join: str) -> str:
    """Says what to type for the other machines, and returns the path of a file with the join string."""
    import tempfile  # not at the start of every job

    folder = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
    descriptor, path = tempfile.mkstemp(prefix=f"nexar-{os.getpid()}-", suffix=".join", dir=folder)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{join}\n")
    others = options.nnodes - 1
    nnodes = f"{options.nnodes}:{options.most}" if options.most else f"{options.nnodes}"
    start = f"nexar run -n {options.n} --nnodes {nnodes} --join"
    rest = " ".join(shlex.quote(word) for word in said)
    waiting = f"waiting for {others} more machine{'s' if others > 1 else ''}" if others else "others may join"
    if options.most > max(options.nnodes, 1) and others:
        waiting += f", and up to {options.most - options.nnodes} may join later"
    say(
        f"{waiting}; for each, from here:\n"
        f"    ssh HOST {start} - {rest} < {shlex.quote(path)}\n"
        "or there, with a copy of that file, which is a secret:\n"
        f"    {start} @FILE {rest}"
    )
    return path


def with_port(address: str) -> str:
    """An address to listen on; without a port, any."""
    if address.count(":") > 1 and not address.startswith("["):
        return f"[{address}]:0"
    return address if ":" in address.rpartition("]")[2] else f"{address}:0"


def host_of(address: str) -> str:
    """An address without its port."""
    return with_port(address).rpartition(":")[0].strip("[]")


def _at_least_one(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _machines(text: str) -> tuple[int, int]:
    """ "A" or "A:B"; B is 0 if it is not there."""
    least, colon, most = text.partition(":")
    if not colon:
        return _at_least_one(least), 0
    if _at_least_one(most) < _at_least_one(least):
        raise argparse.ArgumentTypeError(f"{text!r}: {most} is below {least}")
    return _at_least_one(least), _at_least_one(most)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
