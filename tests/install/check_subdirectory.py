#!/usr/bin/env python3
"""What a C project sees that builds nexar as a part of itself with add_subdirectory: no flags, no tests, no C++, and a
library that works.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cmake", default="cmake", help="default: %(default)s")
    parser.add_argument("--cc", default="cc", help="default: %(default)s")
    parser.add_argument("--generator", default="Unix Makefiles", help="default: %(default)s")
    parser.add_argument("--msquic", default="auto", help="as NEXAR_MSQUIC (default: %(default)s)")
    parser.add_argument("--cache", default="", help="as NEXAR_MSQUIC_CACHE")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        project = pathlib.Path(__file__).parent / "subdirectory"
        configure = [
            args.cmake,
            "-S",
            project,
            "-B",
            scratch,
            "-G",
            args.generator,
            f"-DNEXAR={ROOT}",
            f"-DCMAKE_C_COMPILER={args.cc}",
            f"-DNEXAR_MSQUIC={args.msquic}",
        ]
        if args.cache:
            configure.append(f"-DNEXAR_MSQUIC_CACHE={args.cache}")
        subprocess.run(configure, check=True)
        subprocess.run([args.cmake, "--build", scratch, "--parallel", "2"], check=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NEXAR_")}
        return subprocess.run([pathlib.Path(scratch) / "user"], env=clean, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
