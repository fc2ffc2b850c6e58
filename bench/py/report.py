"""Makes bench/RESULTS.md from the files that figures.py wrote: python bench/py/report.py A.json B.json > RESULTS.md

A row that is in several files is taken from the last of them; one that is in none is said to be not measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]

from rows import LIMITS, ROWS  # noqa: E402

Row = dict[str, Any]

HEAD = """# Results

Made by `bench/py/report.py` from measurements of `bench/py/figures.py`; what is measured, how, and what is done about
outliers is in [README.md](README.md). Ratios are our time / that of the best peer in the same round: median of the
rounds (least - most). `~`: others used more than 8 % of the machine in a run that counts.
"""
UNITS = ((1 << 20, "MiB"), (1 << 10, "KiB"))
BUSY = 0.08


def size(nbytes: int) -> str:
    for unit, name in UNITS:
        if nbytes >= unit and nbytes % unit == 0:
            return f"{nbytes // unit} {name}"
    return f"{nbytes} B"


def microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def ratio(cell: Row) -> str:
    if "ratio" not in cell:
        return "-"
    busy = " ~" if cell["others_most"] > BUSY else ""
    return f"{cell['ratio']:.2f} ({cell['ratio_least']:.2f} - {cell['ratio_most']:.2f}){busy}"


def name_of(cell: Row) -> str:
    parts = [cell["case"], size(cell["bytes"]) if cell["bytes"] else "", f"{cell['ranks']} ranks"]
    return ", ".join(filter(None, parts))


def verdict(met: bool | None, wrong: int = 0) -> str:
    said = {True: "met", False: "**missed**", None: "-"}[met]
    return f"{said}, {wrong} WRONG" if wrong else said


def wrong_in(row: Row) -> int:
    parts: list[Row] = [row, *row.get("cells", []), *row.get("measures", [])]
    return sum(part.get("wrong", 0) for part in parts)


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> Iterator[str]:
    columns = list(head)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for line in lines:
        yield "| " + " | ".join(line) + " |"
    yield ""


def span(values: list[float]) -> str:
    least, most = f"{min(values):.2f}", f"{max(values):.2f}"
    return least if least == most else f"{least} ... {most}"


def goals() -> dict[str, str]:
    """Of each row."""
    found = {limit.key: f"{limit.limit:g} {limit.unit}" for limit in LIMITS}
    for row in ROWS:
        each = [row.goal(case, nbytes, n) for case, sizes in row.work for nbytes in sizes for n in row.ranks]
        found[row.key] = span(each)
    return found


def summary(key: str, title: str, row: Row | None) -> list[str]:
    """One line of the first table."""
    goal = goals().get(key, "see below")
    if row is None:
        return [title, goal, "not measured", "-", "-"]
    if "unit" in row:
        value = f"{row['value']:.3g} {row['unit']}" if "value" in row else "not measured"
        return [title, goal, value, verdict(row.get("met"), wrong_in(row)), row["date"]]
    parts = row.get("cells") or row.get("measures") or []
    judged = [part for part in parts if "met" in part]
    with_ratio = [part["ratio"] for part in judged if "ratio" in part]
    met = sum(part["met"] for part in judged)
    said = f"{met} of {len(judged)}" if judged else "-"
    said += f", {wrong_in(row)} WRONG" if wrong_in(row) else ""
    return [title, goal, span(with_ratio) if with_ratio else "not measured", said, row["date"]]


def details(row: Row) -> Iterator[str]:
    """All cells of a row."""
    yield f"### {row['title']}"
    yield ""
    for name, reason in row.get("missing", {}).items():
        yield f"Not measured: {name}. {' '.join(reason.split())[:300]}"
        yield ""
    if "measures" in row:
        yield from measures(row)
    cells = row.get("cells", [])
    if not cells:
        return
    peers = list(dict.fromkeys(name for cell in cells for name in cell["peers_us"]))
    yield from table(
        ["case", "nexar, us", *(f"{name}, us" for name in peers), "carried by", "ratio to the best", "goal", ""],
        (
            [
                name_of(cell),
                microseconds(cell["own_us"]),
                *(microseconds(cell["peers_us"].get(name)) for name in peers),
                cell["transport"],
                ratio(cell),
                f"{cell['goal']:g}",
                verdict(cell.get("met"), cell["wrong"]),
            ]
            for cell in cells
        ),
    )


def measures(row: Row) -> Iterator[str]:
    yield from table(
        ["measure", "nexar", "bare MsQuic", "unit", "ratio", "goal", ""],
        (
            [
                line["measure"],
                f"{line['nexar']:.4g}",
                f"{line['yardstick']:.4g}" if "yardstick" in line else "-",
                line["unit"],
                f"{line['ratio']:.2f} ({line['ratio_least']:.2f} - {line['ratio_most']:.2f})"
                if "ratio" in line
                else "-",
                line.get("goal", "-"),
                verdict(line.get("met"), line["wrong"]),
            ]
            for line in row["measures"]
        ),
    )


def origin(file: Row) -> str:
    machine = file["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in file["versions"].items())
    return (
        f"- `{file['command']}` at commit {file['commit']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, Python {machine['python']}; {versions}"
    )


def report(files: list[Row]) -> str:
    rows = {row["key"]: row for file in files for row in file["rows"]}
    titles = {row.key: row.title for row in ROWS}
    titles["quic"] = "NEXAR_TRANSPORTS=quic, against bare MsQuic (bench/py/compare.py)"
    titles.update({limit.key: limit.title for limit in LIMITS})
    lines = [HEAD]
    lines += table(
        ["figure", "goal, at most", "reached", "goals met", "measured"],
        (summary(key, title, rows.get(key)) for key, title in titles.items()),
    )
    lines += ["## Measured by", "", *(origin(file) for file in files), "", "## All of it", ""]
    for key in titles:
        if key in rows and "unit" not in rows[key]:
            lines += details(rows[key])
    return "\n".join(lines).rstrip() + "\n"


def main(argv: list[str]) -> int:
    if any(argument.startswith("-") for argument in argv):
        print(__doc__)
        return 0
    sys.stdout.write(report([json.loads(Path(name).read_text()) for name in argv]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
