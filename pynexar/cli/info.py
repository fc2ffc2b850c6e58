"""nexar info: what is installed, what is set, and what the environment says about the job."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SPANS = ((1, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_SIZES = ((30, "g"), (20, "m"), (10, "k"))
_CHECKOUT = os.path.join(os.path.dirname(_PACKAGE), "libnexar")


def main(argv: Sequence[str]) -> int:
    """Exit status of `nexar info ARGV`."""
    parser = argparse.ArgumentParser(
        prog="nexar info",
        description="Shows library, settings and what the environment says about the job.",
        epilog="A C program is built with: cc prog.c $(nexar info --cflags --libs)",
    )
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")
    parser.add_argument("--cflags", action="store_true", help="only the compiler's options for programs in C and C++")
    parser.add_argument("--libs", action="store_true", help="only the linker's options")
    options = parser.parse_args(argv)
    try:
        found = collect()
    except ImportError as error:
        print(f"nexar info: {error}", file=sys.stderr)
        return 1
    if options.cflags or options.libs:
        wanted = (found["cflags"] if options.cflags else []) + (found["libs"] if options.libs else [])
        print(shlex.join(wanted))
    elif options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


def collect() -> dict[str, Any]:
    """All that is known.

    Raises:
        ImportError: there is no library, or it does not fit.
    """
    from pynexar._ffi import find, lib
    from pynexar.config import environment, name_of, settings

    library = find()
    said, _ = environment()
    values = {row["variable"]: row for row in said.pop("settings")}
    rows = []
    for setting in settings():
        value = values.get(setting.variable, {})
        rows.append(
            {
                "name": name_of(value.get("name", "")),
                "variable": setting.variable,
                "value": value.get("value"),
                "source": value.get("source"),
                "unit": setting.unit,
                "default": setting.default,
                "range": setting.range,
                "help": setting.help,
            }
        )
    folder = os.path.dirname(library)
    return {
        "version": (lib.nexar_version() or b"").decode(),
        "abi": lib.nexar_abi_version(),
        "library": library,
        "package": _PACKAGE,
        "python": f"{sys.executable} {sys.version.split()[0]}",
        "cflags": [f"-I{include_folder(folder)}"],
        "libs": [f"-L{folder}", "-lnexar", f"-Wl,-rpath,{folder}"],
        "environment": said,
        "settings": rows,
    }


def include_folder(library_folder: str) -> str:
    """Where the headers of a library are: beside it when it is installed, else in the checkout it was built in."""
    candidates = [
        os.path.join(os.path.dirname(library_folder), "include"),
        os.path.join(_PACKAGE, "include"),
        os.path.join(_CHECKOUT, "include"),
    ]
    return next((path for path in candidates if os.path.isfile(os.path.join(path, "nexar", "nexar.h"))), candidates[0])


def show(found: dict[str, Any]) -> None:
    """Prints it for people."""
    rows = [
        ("nexar", f"{found['version']}, binary interface {found['abi']}"),
        ("library", found["library"]),
        ("Python", found["python"]),
        ("C", "cc prog.c $(nexar info --cflags --libs)"),
    ]
    said = found["environment"]
    meeting = said.get("meeting") or {}
    seed = ", ".join(f"{host['host']} port {host['port']}" for host in meeting.get("seed") or [])
    rows += [
        ("launcher", f"{said.get('launcher')}: {said.get('why')}" if said.get("why") else said.get("launcher")),
        ("rank", f"{_or(said.get('rank'))} of {_or(said.get('size'))}"),
        ("on this host", f"{_or(said.get('local_rank'))} of {_or(said.get('local_size'))}"),
        ("ranks meet by", " ".join(filter(None, [meeting.get("way"), seed and f"at {seed}"])) or None),
    ]
    for name, value in rows:
        if value is not None:
            print(f"{name:14}{value}")
    print("\nsettings")
    for row in found["settings"]:
        value = as_set(row["value"], row["unit"])
        origin = "" if row["source"] in (None, "default") else f"({row['source']})"
        print(f"  {row['variable']:26}{' '.join(filter(None, [value, origin])):16} {row['help']}")
    for error in said.get("errors", []):
        print(f"\nwrong: {error}")
    for unknown in said.get("unknown", []):
        nearest = f"; did you mean {unknown['nearest']}?" if unknown["nearest"] else ""
        print(f"\nno such setting: {unknown['variable']}{nearest}")


def as_set(value: Any, unit: str) -> str:
    """A value as one would write it into the variable."""
    if value is None:
        return ""
    if unit == "seconds" and isinstance(value, (int, float)):
        scale, name = next(((scale, name) for scale, name in _SPANS if value >= scale), _SPANS[-1])
        return f"{value / scale:g}{name}"
    if unit == "bytes" and isinstance(value, int):
        shift, name = next(((s, name) for s, name in _SIZES if value and value % (1 << s) == 0), (0, ""))
        return f"{value >> shift}{name}"
    return str(value)


def _or(value: Any) -> str:
    return "any" if value is None else str(value)
