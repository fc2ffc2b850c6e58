#!/usr/bin/env python3
"""Holds the layers: which folder of libnexar/src may include which.

Includes are written from src/ ("base/list.h").  Everybody may include the public headers ("nexar/base.h"); msquic.h is
for quic/, OpenSSL for identity/ and the TLS of bulk/ alone.  A .c file includes its own header before any other.
"""
import argparse
import pathlib
import re
import sys

# folder: folders it may include, itself apart
MAY_INCLUDE = {
    "base": "",
    "wire": "base",
    "math": "base",
    "identity": "base",
    "quic": "base identity",
    "net": "base wire math identity quic",
    "bulk": "base",
    "coll": "base wire math identity quic net bulk comm",
    "comm": "base wire math identity quic net bulk coll rpc",
    "rpc": "base wire net comm",
    "cluster": "base wire math identity quic net bulk coll comm",
    "node": "base wire math identity quic net bulk coll comm rpc cluster",
}
# Machines of cluster/ are pure; these files beside them move their bytes.
CLUSTER_IO = re.compile(r"_io$|_serve$|^talk$")
PURE_CLUSTER = "base wire math identity"
OWNERS = {"msquic": "quic", "openssl": "identity bulk/tcp_tls"}  # of foreign headers: folders, or files

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def faults(path: pathlib.Path, src: pathlib.Path):
    folder = path.relative_to(src).parts[0]
    allowed = {folder, *MAY_INCLUDE.get(folder, "").split()}
    if folder == "cluster" and not CLUSTER_IO.search(path.stem):
        allowed = {folder, *PURE_CLUSTER.split()}
    if folder not in MAY_INCLUDE:
        yield f"the folder {folder}/ is in no layer"
    includes = INCLUDE.findall(path.read_text())
    own = str(path.relative_to(src).with_suffix(".h"))
    if path.suffix == ".c" and (src / own).exists() and includes[:1] != [('"', own)]:
        yield f'its first include is not its own "{own}"'
    for quote, name in includes:
        head = name.split("/")[0]
        if quote == '"' and head != "nexar" and not (src / name).is_file():
            yield f'"{name}" is not a path from src/'
        elif quote == '"' and head != "nexar" and head not in allowed:
            yield f'{folder}/ may not include "{name}"'
        for prefix, owner in OWNERS.items():
            if quote == "<" and name.startswith(prefix) and not {folder, f"{folder}/{path.stem}"} & set(owner.split()):
                yield f"<{name}> is for {owner} alone"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--src", type=pathlib.Path, default=root / "libnexar/src", help="default: %(default)s")
    src = parser.parse_args().src
    files = sorted(p for p in src.rglob("*.[ch]"))
    found = [f"{path.relative_to(src)}: {fault}" for path in files for fault in faults(path, src)]
    print("\n".join([*found, f"{len(files)} files, {len(found)} faults"]))
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
