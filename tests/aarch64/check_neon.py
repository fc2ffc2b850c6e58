#!/usr/bin/env python3
"""Compiles the reduction kernels for 64-bit ARM and compares them with the oracle: on such a processor as they are,
else under qemu.  Skipped, with the reason, where there is no cross compiler or no qemu.
"""

import argparse
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wvla", "-Werror"]
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-D_GNU_SOURCE", "-static", *WARNINGS]
SKIPPED = 77


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", default="aarch64-linux-gnu-gcc", help="default: %(default)s")
    parser.add_argument("--qemu", default="qemu-aarch64", help="default: %(default)s")
    args = parser.parse_args()

    native = platform.machine() == "aarch64"
    compiler = "cc" if native else args.cc
    for tool in [compiler] if native else [compiler, args.qemu]:
        if shutil.which(tool) is None:
            print(f"skipped: there is no {tool} (Debian, Ubuntu: apt-get install gcc-aarch64-linux-gnu qemu-user)")
            return SKIPPED

    folders = [ROOT / "libnexar/src", ROOT / "libnexar/include", ROOT / "tests/c"]
    kernels = [folders[0] / "math" / name for name in ("reduce_scalar.c", "reduce_neon.c", "reduce_avg.c")]
    oracle = [folders[2] / name for name in ("reduce_oracle.c", "reduce_compare.c")]
    with tempfile.TemporaryDirectory() as scratch:
        program = pathlib.Path(scratch) / "neon"
        build = [compiler, *FLAGS, *(f"-I{folder}" for folder in folders), ROOT / "tests/aarch64/neon.c"]
        subprocess.run([*build, *kernels, *oracle, "-lm", "-o", program], check=True)
        run = [program] if native else [args.qemu, program]
        return subprocess.run(run, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
