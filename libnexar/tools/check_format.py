#!/usr/bin/env python3
"""Holds the layout of C and C++ sources: as clang-format 14 lays them out by the repository's .clang-format.

Other releases of clang-format disagree in details, so without that one the check is skipped (exit status 77).  --fix
rewrites the files.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys

FOLDERS = ("libnexar", "tests", "bench")
SUFFIXES = {".c", ".h", ".cpp"}


def clang_format() -> str:
    for name in ("clang-format-14", "clang-format"):
        path = shutil.which(name)
        if path and b" version 14." in subprocess.run([path, "--version"], capture_output=True, check=True).stdout:
            return path
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--root", type=pathlib.Path, default=root, help="the repository (default: %(default)s)")
    parser.add_argument("--fix", action="store_true", help="rewrite the files instead of complaining")
    args = parser.parse_args()
    tool = clang_format()
    if not tool:
        print("skipped: there is no clang-format 14 (Debian 12: apt-get install clang-format-14)")
        return 77
    files = [p for folder in FOLDERS for p in sorted((args.root / folder).rglob("*")) if p.suffix in SUFFIXES]
    mode = ["-i"] if args.fix else ["--dry-run", "--Werror"]
    return subprocess.run([tool, "--style=file", *mode, *files], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
