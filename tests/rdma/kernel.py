#!/usr/bin/env python3
"""Takes what the guest needs out of an unpacked kernel package.

usage: kernel.py PACKAGE INTO

INTO/vmlinux becomes the kernel, decompressed if that can be done here (an emulated processor would take seconds for
it), INTO/modules the modules, numbered in the order in which they are to be loaded.
"""

from __future__ import annotations

import lzma
import pathlib
import re
import sys

WANTED = ["veth", "bridge", "sch_netem", "crc32_generic", "crc32_pclmul", "ib_uverbs", "rdma_ucm", "rdma_rxe"]
OPTIONAL = {"crc32_generic", "crc32_pclmul", "rdma_ucm"}  # built into some kernels
DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
XZ = b"\xfd7zXZ\0"


def name_of(path: pathlib.Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def read(path: pathlib.Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if data.startswith(XZ) else data


def load(name: str, files: dict[str, pathlib.Path], loaded: dict[str, bytes]) -> None:
    """Puts a module, after all that it depends on, into `loaded`."""
    if name in loaded or (name in OPTIONAL and name not in files):
        return
    module = read(files[name])
    needs = DEPENDS.search(module)
    for other in (needs[1].decode() if needs else "").split(","):
        if other:
            load(other.replace("-", "_"), files, loaded)
    loaded[name] = module


def kernel(path: pathlib.Path) -> bytes:
    """A bzImage decompressed: an ELF file, which QEMU starts at its PVH entry; else as it is."""
    image = path.read_bytes()
    at = image.find(XZ)
    if at >= 0:
        plain = lzma.LZMADecompressor().decompress(image[at:])
        if plain.startswith(b"\x7fELF"):
            return plain
    return image


def main() -> None:
    package, into = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    files = {name_of(path): path for path in package.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}
    for name in WANTED:
        load(name, files, loaded)
    (into / "modules").mkdir()
    for number, (name, module) in enumerate(loaded.items()):
        (into / "modules" / f"{number:02}-{name}.ko").write_bytes(module)
    (into / "vmlinux").write_bytes(kernel(next(package.glob("boot/vmlinuz*"))))


if __name__ == "__main__":
    main()
