"""nexar seed: serves as the place where the ranks of a job meet."""

from __future__ import annotations

import argparse
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Exit status of `nexar seed ARGV`."""
    parser = argparse.ArgumentParser(
        prog="nexar seed",
        description="Serves as the place where the ranks of a job meet.  Prints the join string, which is a secret, "
        "and waits until all ranks have joined.",
    )
    parser.add_argument("--listen", required=True, metavar="ADDR", help="where: 0.0.0.0:7000, [::]:0 (0: any port)")
    parser.add_argument("--world-size", required=True, type=int, metavar="N", help="ranks of the job")
    parser.add_argument(
        "--elastic", action="store_true", help="others may join after the job has formed: serves until it is ended"
    )
    options = parser.parse_args(argv)

    from pynexar.errors import NexarError
    from pynexar.seed import Seed

    config = None
    if options.elastic:
        from pynexar.config import Config

        config = Config(elastic=True)
    try:
        with Seed(options.listen, options.world_size, config) as seed:
            print(seed.join_string, flush=True)
            seed.wait()
            if options.elastic:
                print(f"nexar seed: {options.world_size} ranks have joined; others may", file=sys.stderr, flush=True)
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                try:
                    while True:
                        signal.pause()
                except KeyboardInterrupt:
                    return 0
    except NexarError as error:
        print(f"nexar seed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"nexar seed: {options.world_size} ranks have joined", file=sys.stderr)
    return 0
