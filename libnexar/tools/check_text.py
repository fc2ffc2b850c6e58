#!/usr/bin/env python3
"""Holds what the text of the repository may not contain: paths of the machine that somebody worked on, and host names
of package registries (which mirror serves a package is a setting of the machine, never of the project).

Looks at every text file that git knows, or would add; without git, at the project's folders.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

# Written in pieces, so that this file passes its own check.
RULES = {
    "a path of somebody's machine": re.compile(r"(?<![\w./$}{-])/(?:work|root|home/\w+|tmp/(?!nexar-)\w[\w.-]*)\b"),
    "a host name of a package registry": re.compile(
        r"(?:" + "|".join([r"crates\." + "io", r"pypi\." + "org", r"pythonhosted\." + "org", r"npmjs\." + "org",
                           r"registry\." + "npm", r"proxy\.golang\." + "org", r"repo\.maven\." + "apache",
                           r"deb\.debian\." + "org", r"static\.rust-lang\." + "org"]) + ")"),
}


def files(root: pathlib.Path):
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=False) if shutil.which("git") else None
    if listed and listed.returncode == 0:
        return [root / name for name in listed.stdout.decode().split("\0") if name]
    folders = ("libnexar", "pynexar", "tests", "bench")
    return [*root.glob("*"), *(p for folder in folders for p in (root / folder).rglob("*"))]


def faults(path: pathlib.Path):
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return  # not text
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in RULES.items():
            match = pattern.search(line)
            if match:
                yield f"line {number}: {what}: {match[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--root", type=pathlib.Path, default=root, help="the repository (default: %(default)s)")
    root = parser.parse_args().root
    names = [p for p in files(root) if p.is_file()]
    found = [f"{path.relative_to(root)}: {fault}" for path in names for fault in faults(path)]
    print("\n".join([*found, f"{len(names)} files, {len(found)} faults"]))
    return 1 if found or not names else 0


if __name__ == "__main__":
    sys.exit(main())
