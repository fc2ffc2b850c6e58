#!/usr/bin/env python3
"""What users do with an installed libnexar: installs the build into a scratch folder, moves that folder, and builds the
programs of libnexar/examples against it with pkg-config and with CMake's find_package.  Each program runs as a job of
one rank and checks its own results.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "libnexar/examples"
LICENSES = {"LICENSE"}
BUNDLED_LICENSES = {"LICENSE-MsQuic.txt", "LICENSE-OpenSSL.txt", "THIRD-PARTY-NOTICES-MsQuic.txt"}


def run(*command, **environment) -> str:
    words = [str(word) for word in command]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NEXAR_")}
    result = subprocess.run(words, env={**inherited, **environment}, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(words)}\nfailed with {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def check_program(program: pathlib.Path, library_dir: pathlib.Path) -> None:
    """The program checks every element itself; a job of one rank needs no launcher."""
    path = os.pathsep.join([str(library_dir), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    print(run(program, LD_LIBRARY_PATH=path), end="")


def check_files(prefix: pathlib.Path, library: pathlib.Path, build: pathlib.Path) -> None:
    headers = {path.name for path in (prefix / "include/nexar").iterdir()}
    ours = {path.name for path in (ROOT / "libnexar/include/nexar").glob("*.h")}
    if headers != ours:
        sys.exit(f"installed headers differ from libnexar/include/nexar: {headers ^ ours}")
    licenses = {path.name for path in (prefix / "share/licenses/nexar").iterdir()}
    if licenses not in (LICENSES, LICENSES | BUNDLED_LICENSES):
        sys.exit(f"installed licences: {licenses}")
    binary = library.read_bytes()
    for path in (ROOT, build, pathlib.Path.home() / ".cache"):
        if f"{path}/".encode() in binary:
            sys.exit(f"{library.name} contains {path}, a path of the machine that built it")


def check_pkg_config(prefix: pathlib.Path, library_dir: pathlib.Path, compilers: dict, out: pathlib.Path) -> None:
    for language, (compiler, standard, source) in compilers.items():
        flags = run("pkg-config", "--cflags", "--libs", "nexar", PKG_CONFIG_PATH=str(library_dir / "pkgconfig")).split()
        if not any(flag.startswith("-I") and pathlib.Path(flag[2:]).resolve().is_relative_to(prefix) for flag in flags):
            sys.exit(f"nexar.pc did not move with its prefix: {flags}")
        program = out / f"pkg_config_{language}"
        run(compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", EXAMPLES / source, *flags, "-o", program)
        check_program(program, library_dir)


def check_find_package(
    cmake: str, prefix: pathlib.Path, library_dir: pathlib.Path, compilers: dict, out: pathlib.Path
) -> None:
    project = pathlib.Path(__file__).parent / "find_package"
    run(
        cmake,
        "-S",
        project,
        "-B",
        out / "find_package",
        f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DEXAMPLES={EXAMPLES}",
        f"-DCMAKE_C_COMPILER={compilers['c'][0]}",
        f"-DCMAKE_CXX_COMPILER={compilers['cxx'][0]}",
    )
    run(cmake, "--build", out / "find_package")
    for language in compilers:
        check_program(out / f"find_package/user_{language}", library_dir)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path, help="build folder of libnexar")
    parser.add_argument("--cmake", default="cmake", help="default: %(default)s")
    parser.add_argument("--cc", default="cc", help="default: %(default)s")
    parser.add_argument("--cxx", default="c++", help="default: %(default)s")
    args = parser.parse_args()
    missing = [tool for tool in ("pkg-config", args.cxx) if not shutil.which(tool)]
    if missing:
        print(f"skipped: {' and '.join(missing)} not found (Debian, Ubuntu: apt-get install pkg-config g++)")
        return 77

    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch).resolve()
        run(args.cmake, "--install", args.build, "--prefix", out / "first", "--strip")
        prefix = (out / "first").rename(out / "moved")
        library = next(prefix.rglob("libnexar.so.0")).resolve()
        compilers = {"c": (args.cc, "c11", "all_reduce.c"), "cxx": (args.cxx, "c++17", "all_reduce.cpp")}
        check_files(prefix, library, args.build)
        check_pkg_config(prefix, library.parent, compilers, out)
        check_find_package(args.cmake, prefix, library.parent, compilers, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
