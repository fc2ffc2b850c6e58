#!/usr/bin/env python3
"""Holds the sizes: files of at most 500 lines, C functions of at most 80, lines of at most 120 columns.

Looks at everything that people write (C, Python, CMake, shell); pynexar/_ffi/_api.py is generated and excepted.
"""
import argparse
import pathlib
import re
import sys

FILE_LINES, FUNCTION_LINES, COLUMNS = 500, 80, 120
FOLDERS = ("libnexar", "pynexar", "tests", "bench")
SUFFIXES = {".c", ".h", ".cpp", ".py", ".sh", ".cmake"}
GENERATED = {"pynexar/_ffi/_api.py"}

# clang-format puts the braces of a function, and only those, alone in column one.
FUNCTION = re.compile(r"^(?P<head>[^\s#/{}][^;{}]*\)\n)\{\n(?P<body>.*?)^\}$", re.MULTILINE | re.DOTALL)


def faults(path: pathlib.Path):
    text = path.read_text()
    lines = text.splitlines()
    if len(lines) > FILE_LINES:
        yield f"{len(lines)} lines; {FILE_LINES} are allowed"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"line {number} has {len(line)} columns; {COLUMNS} are allowed"
    if path.suffix in {".c", ".h", ".cpp"}:
        for match in FUNCTION.finditer(text):
            size = match["body"].count("\n")
            if size > FUNCTION_LINES:
                line = text.count("\n", 0, match.start()) + 1
                yield f"line {line}: a function of {size} lines; {FUNCTION_LINES} are allowed: {match['head'].strip()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--root", type=pathlib.Path, default=root, help="the repository (default: %(default)s)")
    root = parser.parse_args().root
    files = [root / "CMakeLists.txt"]
    for folder in FOLDERS:
        files += sorted(p for p in (root / folder).rglob("*") if p.suffix in SUFFIXES and p.is_file())
    files = [p for p in files if str(p.relative_to(root)) not in GENERATED and "build" not in p.relative_to(root).parts]
    found = [f"{path.relative_to(root)}: {fault}" for path in files for fault in faults(path)]
    print("\n".join([*found, f"{len(files)} files, {len(found)} faults"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
