#!/usr/bin/env python3
"""Says what tests/run.sh did: each stage, how many tests ran in it, which were skipped and why.

usage: summary.py RESULTS SECONDS

RESULTS/stages has a line "name passed|failed|skipped seconds" for each stage; RESULTS/<name>.xml is what ctest or
pytest reported, RESULTS/<name>.skipped why a stage was skipped.  Exit status 1 if anything failed.
"""

from __future__ import annotations

import pathlib
import re
import sys
from xml.etree import ElementTree

CMOCKA_SKIPPED = re.compile(r"^\[  SKIPPED \] (\S+)$", re.MULTILINE)


class Tests:
    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def read(self, report: pathlib.Path) -> None:
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            name = case.get("name", "?")
            printed = case.findtext("system-out") or ""
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.append(name)
            elif skipped is not None:
                said = re.findall(r"^skipped: (.*)$", printed, re.MULTILINE)
                self.skipped.append(f"{name}: {said[-1] if said else skipped.get('message')}")
            else:
                self.passed += 1
                self.skipped += [f"{name}: {part}" for part in dict.fromkeys(CMOCKA_SKIPPED.findall(printed))]


def main() -> int:
    results, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    skipped: list[str] = []
    failed: list[str] = []
    print(f"\n{'stage':12}{'result':10}{'seconds':>8}{'passed':>8}{'failed':>8}{'skipped':>9}")
    for line in (results / "stages").read_text().splitlines():
        stage, result, took = line.split()
        tests = Tests()
        report = results / f"{stage}.xml"
        if report.exists():
            tests.read(report)
        elif result == "passed":
            tests.passed = 1
        if result == "failed" and not tests.failed:
            tests.failed.append("the stage itself")
        reason = results / f"{stage}.skipped"
        if result == "skipped":
            tests.skipped.append("the whole stage: " + (reason.read_text().strip() if reason.exists() else "?"))
        print(f"{stage:12}{result:10}{took:>8}{tests.passed:>8}{len(tests.failed):>8}{len(tests.skipped):>9}")
        totals["passed"] += tests.passed
        totals["failed"] += len(tests.failed)
        totals["skipped"] += len(tests.skipped)
        failed += [f"{stage}: {name}" for name in tests.failed]
        skipped += [f"{stage}: {name}" for name in tests.skipped]
    if skipped:
        print("\nskipped:\n  " + "\n  ".join(skipped))
    if failed:
        print("\nfailed:\n  " + "\n  ".join(failed))
    print(f"\n{seconds // 60} min {seconds % 60} s")
    print(", ".join(f"{count} {what}" for what, count in totals.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
