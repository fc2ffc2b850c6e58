"""The command `nexar`, also `python -m pynexar`."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

COMMANDS = {
    "run": "start the ranks of a job on this machine",
    "seed": "serve as the place where the ranks of a job meet",
    "info": "show library, settings, what the environment says, and how to compile C programs",
    "analyze": "read the flight recorders of all ranks and say what went wrong",
    "bench": "measure collectives and messages, and check their results",
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else "--help"
    if name in COMMANDS:
        try:
            status: int = import_module(f".cli.{name}", __package__).main(argv[1:])
            sys.stdout.flush()
        except BrokenPipeError:  # `nexar info | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 128 + signal.SIGPIPE
        return status
    if name in ("--help", "-h", "help"):
        print(usage())
        return 0
    if name in ("--version", "-V"):
        from . import __version__

        print(f"nexar {__version__}")
        return 0
    print(f"nexar: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
    return 2


def usage() -> str:
    """What there is."""
    lines = [f"  {name:8}{text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: nexar COMMAND ...", "", *lines, "", "nexar COMMAND --help says more."])


if __name__ == "__main__":
    sys.exit(main())
