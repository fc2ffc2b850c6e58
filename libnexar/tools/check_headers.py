#!/usr/bin/env python3
"""Holds the public headers: each compiles alone as C11 and as C++17 without a warning, and before each NEXAR_API
function stands a comment with @returns and @threads.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
# A function, and the comment that ends on the line before it, if there is one.
FUNCTION = re.compile(r"(?P<doc>/\*\*(?:[^*]|\*(?!/))*\*/\n)?^NEXAR_API\b[^;]*?\b(?P<name>nexar_\w+)\(", re.MULTILINE)


def undocumented(header: pathlib.Path):
    for match in FUNCTION.finditer(header.read_text()):
        missing = [word for word in ("@returns", "@threads") if word not in (match["doc"] or "")]
        if missing:
            yield f"{header.name}: {match['name']} says nothing of {' and '.join(missing)}"


def does_not_compile(header: pathlib.Path, compiler: str, language: str, standard: str):
    command = [compiler, "-x", language, f"-std={standard}", *WARNINGS, "-fsyntax-only", f"-I{header.parents[1]}", "-"]
    program = f'#include "nexar/{header.name}"\n'
    result = subprocess.run(command, input=program, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        yield f"{header.name} as {standard}:\n{result.stderr.rstrip()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--include", type=pathlib.Path, default=root / "libnexar/include", help="default: %(default)s")
    parser.add_argument("--cc", default="cc", help="C compiler (default: %(default)s)")
    parser.add_argument("--cxx", default="c++", help="C++ compiler (default: %(default)s)")
    args = parser.parse_args()

    headers = sorted((args.include / "nexar").glob("*.h"))
    compilers = [(args.cc, "c", "c11")]
    if shutil.which(args.cxx):
        compilers.append((args.cxx, "c++", "c++17"))
    found = []
    for header in headers:
        found += undocumented(header)
        for compiler in compilers:
            found += does_not_compile(header, *compiler)
    if len(compilers) < 2:
        print(f"not compiled as C++: there is no {args.cxx}")
    print("\n".join([*found, f"{len(headers)} headers, {len(found)} faults"]))
    return 1 if found or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
