"""Compares the membership machine in C with its reference: the same seeds must give the same lines, event by event.

python3 twin.py PROGRAM [--first SEED] [--runs N]: PROGRAM is the one made of play.c.
NX_TEST_FULL in the environment: ten times as many.
"""

import argparse
import os
import subprocess
import sys

from scenario import scenario
from sim import BrokenRuleError

SETS = (  # seeds of these many members, mode, and whether a reset connection looks like a death
    (400, 2, 9, "witnessed", False),
    (200, 2, 9, "majority", False),
    (100, 2, 9, "witnessed", True),
    (60, 10, 24, "witnessed", False),
    (4, 25, 64, "witnessed", False),
)


def reference(seed, lo, hi, mode, false_close):
    lines, fault = [], ""
    try:
        for common, after in scenario(seed, lo, hi, mode, "", lines, false_close)[1]:
            lines.append(f"side {'stopped' if common is None else 'whole'} {after}")
    except BrokenRuleError as error:
        fault = str(error)
    return [*lines, f"end {fault}"]


def compare(program, first, runs, lo, hi, mode, false_close):
    """Lines compared; ends the program at the first that differs."""
    command = [program, str(first), str(runs), str(lo), str(hi), mode] + ["false-close"] * false_close
    total = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as play:
        for seed in range(first, first + runs):
            for number, want in enumerate(reference(seed, lo, hi, mode, false_close)):
                got = play.stdout.readline().rstrip("\n")
                if got != want:
                    play.kill()
                    sys.exit(f"seed {seed}, {lo}-{hi} {mode}, line {number}:\n  python: {want}\n  C:      {got}")
                total += 1
        if play.stdout.readline() or play.wait() != 0:
            sys.exit(f"{command} went on, or failed")
    return total


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--runs", type=int, default=0, help="of each set; 0: as the set says")
    a = p.parse_args()
    times = 10 if os.environ.get("NX_TEST_FULL") else 1
    for runs, lo, hi, mode, false_close in SETS:
        n = a.runs or runs * times
        lines = compare(a.program, a.first, n, lo, hi, mode, false_close)
        kind = ", resets look like deaths" if false_close else ""
        print(f"{n} seeds of {lo}-{hi} members, {mode}{kind}: {lines} lines, all equal", flush=True)


if __name__ == "__main__":
    main()
