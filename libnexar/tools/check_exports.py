#!/usr/bin/env python3
"""Holds what libnexar.so gives and takes: it exports exactly the functions that the public headers declare, the version
script lets nothing else out, and it needs the C library alone (with MsQuic and OpenSSL inside it).  And what modules
give: nexar_module_v1 alone.
"""
import argparse
import pathlib
import re
import subprocess
import sys

FUNCTION = re.compile(r"^NEXAR_API\b[^;]*?\b(nexar_\w+)\(", re.MULTILINE)
# glibc before 2.34 has these beside libc.so.6; the last is the dynamic linker.
LIBC = re.compile(r"^(libc\.so\.6|libpthread\.so\.0|libdl\.so\.2|librt\.so\.1|ld-linux[\w.-]*\.so\.\d)$")
SYSTEM = re.compile(r"^(libmsquic\.so\.2|libssl\.so\.3|libcrypto\.so\.3)$")
SONAME = "libnexar.so.0"


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def faults(library: str, include: pathlib.Path, version_script: pathlib.Path, msquic: str):
    declared = {name for header in include.glob("nexar/*.h") for name in FUNCTION.findall(header.read_text())}
    exported = {line.split()[-1].split("@")[0] for line in output("nm", "-D", "--defined-only", library).splitlines()
                if line.split()[1] != "A"}  # A: the version node itself
    yield from (f"{name} is declared in a header, but not exported" for name in sorted(declared - exported))
    yield from (f"{name} is exported, but declared in no header" for name in sorted(exported - declared))

    script = re.sub(r"/\*.*?\*/", "", version_script.read_text(), flags=re.DOTALL)
    if re.findall(r"global:\s*(.*?)\s*local:\s*(.*?)\s*\}", script, re.DOTALL) != [("nexar_*;", "*;")]:
        yield f"{version_script.name} lets out something else than nexar_*"

    dynamic = output("readelf", "--dynamic", "--wide", library)
    soname = re.findall(r"SONAME.*\[(.*)\]", dynamic)
    if soname != [SONAME]:
        yield f"its SONAME is {soname}, not {SONAME}"
    for needed in re.findall(r"NEEDED.*\[(.*)\]", dynamic):
        if not LIBC.match(needed) and not (msquic == "system" and SYSTEM.match(needed)):
            yield f"it needs {needed}"
    for path in re.findall(r"(?:RPATH|RUNPATH).*\[(.*)\]", dynamic):
        if msquic == "bundled":
            yield f"it looks for libraries in {path}"


def module_faults(module: str):
    exported = [line.split()[-1] for line in output("nm", "-D", "--defined-only", module).splitlines()]
    if exported != ["nexar_module_v1"]:
        yield f"{module} exports {exported}, not nexar_module_v1 alone"
    for needed in re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "--dynamic", "--wide", module)):
        if not LIBC.match(needed):
            yield f"{module} needs {needed}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2] / "libnexar"
    parser.add_argument("--library", required=True, help="the built libnexar.so")
    parser.add_argument("--include", type=pathlib.Path, default=root / "include", help="default: %(default)s")
    parser.add_argument("--map", type=pathlib.Path, default=root / "libnexar.map", help="default: %(default)s")
    parser.add_argument("--msquic", choices=["bundled", "system"], default="bundled", help="default: %(default)s")
    parser.add_argument("--module", default=[], nargs="*", help="built modules of libnexar/modules")
    args = parser.parse_args()
    found = list(faults(args.library, args.include, args.map, args.msquic))
    found += [fault for module in args.module for fault in module_faults(module)]
    print("\n".join([*found, f"{args.library}: {len(found)} faults"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
