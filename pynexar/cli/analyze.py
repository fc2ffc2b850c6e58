"""nexar analyze: reads the dumps of all ranks and says in words what went wrong: who is missing, who never came to
which operation, and which calls disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict

from .dumps import BadDumpError, Dump, Membership, Operation, plain, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

EPILOG = """\
Dumps are written by comm.dump(path), nexar_comm_dump(comm, path), and by themselves with NEXAR_DUMP_DIR=DIR (which
`nexar run --log-dir DIR` sets): when a collective fails, and on SIGUSR1.

exit status:
  0  all dumps were read, whatever they say
  1  there are none
  3  some files were skipped, since they are no dumps; what is said is true of the others
"""
_WORLD = 1
_OLD = 60.0  # seconds between dumps, after which they may be of different hangs
_NAMED = 12


class Finding:
    """One sentence, and its facts."""

    def __init__(self, kind: str, text: str, **facts: Any) -> None:
        self.text = text
        self.facts = {"kind": kind, "text": text, **facts}


def main(argv: Sequence[str]) -> int:
    """Exit status of `nexar analyze ARGV`."""
    parser = argparse.ArgumentParser(
        prog="nexar analyze",
        description="Reads the dumps of all ranks and says what went wrong.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", help="where the dumps are: all its files nexar-*.json")
    parser.add_argument("--json", action="store_true", help="one object, for programs")
    options = parser.parse_args(argv)
    try:
        names = sorted(n for n in os.listdir(options.folder) if n.startswith("nexar-") and n.endswith(".json"))
    except OSError as error:
        print(f"nexar analyze: cannot read {options.folder}: {error.strerror}", file=sys.stderr)
        return 1
    dumps, bad = load([os.path.join(options.folder, name) for name in names])
    if options.json:
        print(json.dumps(report(dumps, bad), indent=2))
    else:
        show(dumps, bad, options.folder)
    return 3 if bad else 0 if dumps else 1


def load(paths: Iterable[str]) -> tuple[dict[int, Dump], dict[str, str]]:
    """Dumps by rank, and why the other files are none."""
    dumps: dict[int, Dump] = {}
    bad: dict[str, str] = {}
    for path in paths:
        name = plain(os.path.basename(path))
        try:
            dump = read(path)
            first = next(iter(dumps.values()), dump)
            if dump.size != first.size:
                raise BadDumpError(f"it is of another job: {dump.size} ranks, not {first.size} as in {first.name}")
            if dump.rank in dumps:
                raise BadDumpError(f"it is of rank {dump.rank}, and so is {dumps[dump.rank].name}")
            dumps[dump.rank] = dump
        except BadDumpError as error:
            bad[name] = plain(str(error))
    return dict(sorted(dumps.items())), bad


def report(dumps: dict[int, Dump], bad: dict[str, str]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "size": next((dump.size for dump in dumps.values()), 0),
        "read": list(dumps),
        "bad": [{"file": name, "why": why} for name, why in bad.items()],
        "findings": [finding.facts for finding in findings(dumps)],
        "ranks": [
            {"rank": rank, "host": dump.host, "pid": dump.pid, "reason": dump.reason, "doing": doing(dump)}
            for rank, dump in dumps.items()
        ],
    }


def show(dumps: dict[int, Dump], bad: dict[str, str], folder: str) -> None:
    """Everything, for people."""
    for name, why in bad.items():
        print(f"skipped {name}: {why}", file=sys.stderr)
    if not dumps:
        print(f"there are no dumps in {plain(folder)}")
        return
    size = next(iter(dumps.values())).size
    print(f"{len(dumps)} of {size} ranks have written a dump\n")
    found = list(findings(dumps))
    for finding in found:
        print(f"- {finding.text}")
    if not found:
        print("- nothing is wrong that could be seen: no calls disagree, and no rank is behind where others wait")
    print("\nwhat each rank is doing")
    for rank, dump in dumps.items():
        print(f"  rank {rank} ({dump.host}, process {dump.pid}): {doing(dump)}")


# ----------------------------------------------------------------------------------------------------------- findings
def findings(dumps: dict[int, Dump]) -> Iterator[Finding]:
    """What is wrong, most telling first."""
    if not dumps:
        return
    yield from disagreements(dumps)
    yield from absences(dumps)
    yield from missing(dumps)
    yield from failures(dumps)
    newest = max(dump.written for dump in dumps.values())
    for rank, dump in dumps.items():
        if newest - dump.written > _OLD:
            yield Finding(
                "old",
                f"the dump of rank {rank} is {newest - dump.written:.0f} s older than the newest: it may tell of "
                "something else",
                rank=rank,
            )


def disagreements(dumps: dict[int, Dump]) -> Iterator[Finding]:
    """The first collective of each communicator that ranks called differently."""
    calls: dict[tuple[int, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for rank, dump in dumps.items():
        for op in dump.collectives:
            calls[op.comm, op.seq or 0][op.what].append(rank)
    told = set()
    for (comm, seq), sides in sorted(calls.items()):
        if len(sides) > 1 and comm not in told:
            told.add(comm)
            words = "; ".join(f"{ranks_text(ranks)} called {what}" for what, ranks in sides.items())
            yield Finding(
                "mismatch",
                f"collective #{seq}{of(comm)} is not the same on all ranks: {words}",
                comm=comm,
                seq=seq,
                calls=[{"call": what, "ranks": ranks} for what, ranks in sides.items()],
            )


def absences(dumps: dict[int, Dump]) -> Iterator[Finding]:
    """Ranks that never came to a collective in which others wait, or which failed for others."""
    waited: dict[int, dict[int, Operation]] = defaultdict(dict)
    for dump in dumps.values():
        for op in dump.collectives:
            if op.running or op.failed:
                waited[op.comm].setdefault(op.seq or 0, op)
    for comm, ops in sorted(waited.items()):
        members = next((dump.comms[comm].world for dump in dumps.values() if comm in dump.comms), [])
        for rank in sorted(set(members) & set(dumps)):
            dump = dumps[rank]
            if comm not in dump.comms:
                yield Finding("closed", f"rank {rank} has closed communicator {comm:#x}", comm=comm, rank=rank)
                continue
            behind = [seq for seq in ops if seq > dump.comms[comm].seq]
            if behind:
                seq = min(behind)
                came = [r for r in members if r in dumps and comm in dumps[r].comms and dumps[r].comms[comm].seq >= seq]
                yield Finding(
                    "absent",
                    f"rank {rank} never came to {ops[seq].call} #{seq}{of(comm)}, to which {ranks_text(came)} came: "
                    f"it {doing(dump)}",
                    comm=comm,
                    seq=seq,
                    rank=rank,
                    came=came,
                )


def missing(dumps: dict[int, Dump]) -> Iterator[Finding]:
    """Ranks without a dump, and what the others know of them."""
    size = next(iter(dumps.values())).size
    absent = [rank for rank in range(size) if rank not in dumps]
    if absent:
        words = [
            f"rank {rank} says: {dump.gone[peer]}"
            for rank, dump in dumps.items()
            for peer in absent
            if peer in dump.gone
        ]
        told = f"; {'; '.join(words[:3])}" if words else ""
        one = len(absent) == 1
        yield Finding(
            "missing",
            f"{ranks_text(absent)} {'has' if one else 'have'} written no dump: "
            f"{'its process' if one else 'their processes'} ended before, or could not write{told}",
            ranks=absent,
        )


def failures(dumps: dict[int, Dump]) -> Iterator[Finding]:
    """The first operation that failed on each rank, as far back as is known."""
    failed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for rank, dump in dumps.items():
        first = next((op for op in dump.ended if op.failed), None)
        if first is not None:
            failed[title(first, dump), first.status].append(rank)
    for (name, status), ranks in failed.items():
        words = f"{name} failed with {status} on {ranks_text(ranks)}, the first failure there"
        yield Finding("failed", words, ranks=ranks, status=status)


# -------------------------------------------------------------------------------------------------------------- words
def doing(dump: Dump) -> str:
    """What a rank did when it wrote its dump: "is in all_reduce #7 for 3.1 s"."""
    if dump.running:
        first = min(dump.running, key=lambda op: op.begun)
        more = len(dump.running) - 1
        others = f", with {more} other{'s' if more > 1 else ''}" if more else ""
        return f"is in {title(first, dump)} for {ago(dump.now - first.begun)}{others}"
    if dump.ended:
        last = max(dump.ended, key=lambda op: op.ended or 0.0)
        verb = f"failed ({last.status})" if last.failed else "ended"
        return f"is in no call; its last, {title(last, dump)}, {verb} {ago(dump.now - (last.ended or 0.0))} ago"
    return "is in no call, and was in none before"


def title(op: Operation, dump: Dump) -> str:
    """An operation in words, with ranks of the job."""
    if op.seq is not None:
        return f"{op.call} #{op.seq}{of(op.comm)}"
    other = "any rank" if op.other is None else f"rank {world(dump.comms.get(op.comm), op.other)}"
    tag = "any tag" if op.tag is None else f"tag {op.tag}"
    return f"{op.call} {'to' if op.call == 'send' else 'from'} {other}, {tag}{of(op.comm)}"


def world(comm: Membership | None, rank: int) -> int:
    """Rank in the job of one in a communicator, where that is known."""
    return comm.world[rank] if comm is not None and rank < len(comm.world) else rank


def of(comm: int) -> str:
    """Which communicator, unless it is the job's."""
    return "" if comm == _WORLD else f" of communicator {comm:#x}"


def ago(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.001 else "0 s"


def ranks_text(ranks: list[int]) -> str:
    """ "rank 3"; "ranks 0, 1 and 2"."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > _NAMED:
        return f"ranks {', '.join(map(str, ranks[:_NAMED]))} and {len(ranks) - _NAMED} more"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}" if ranks else "nobody"
