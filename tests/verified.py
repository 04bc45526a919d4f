"""Write down what ran on a real engine: ``python -m tests.verified ENGINE VERSION REPORT...``.

A report is what ``pytest --junitxml`` wrote. The engine's section of docs/verified.md is replaced,
the others stay. The exit code is 1 if a test failed, or if none ran.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).parents[1] / "docs" / "verified.md"
TITLE = "# What ran on real engines\n"
OUTCOMES = ("passed", "skipped", "failed")


@dataclass(frozen=True)
class Outcome:
    """What became of one test."""

    group: str
    outcome: str
    seconds: float
    reason: str = ""


def outcomes(report: str) -> Iterator[Outcome]:
    """What a JUnit report says. A test that failed twice, in its teardown too, failed once."""
    worst: dict[tuple[str, str], Outcome] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        key = case.get("classname", ""), case.get("name", "")
        found = outcome(case)
        if key not in worst or OUTCOMES.index(found.outcome) > OUTCOMES.index(worst[key].outcome):
            worst[key] = found
    yield from worst.values()


def outcome(case: ElementTree.Element) -> Outcome:
    """One test case's."""
    group = case.get("classname", "").removeprefix("tests.")
    seconds, skipped = float(case.get("time", 0)), case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        return Outcome(group, "failed", seconds)
    if skipped is not None:
        return Outcome(group, "skipped", seconds, skipped.get("message", ""))
    return Outcome(group, "passed", seconds)


def commit() -> str:
    """What of batchbridge runs here; ``-dirty`` where more than the page differs from it."""
    but_for_the_page = ["--", ":/", f":(exclude){PAGE.name}"]
    differs = subprocess.run(["git", "diff", "--quiet", "HEAD", *but_for_the_page], cwd=PAGE.parent)
    words = ["git", "rev-parse", "--short", "HEAD"]
    said = subprocess.check_output(words, cwd=PAGE.parent, text=True).strip()
    return f"{said}-dirty" if differs.returncode else said


def section(engine: str, version: str, found: Iterable[Outcome], *, ours: str, day: str) -> str:
    """The engine's section, group by group. `ours`: which batchbridge it was."""
    found = list(found)
    where = f"{platform.system()}, Python {platform.python_version()}"
    rows = [row(group, found) for group in sorted({one.group for one in found})]
    reasons = Counter(one.reason for one in found if one.outcome == "skipped")
    lines = [
        f"## {engine}",
        "",
        f"{version}, batchbridge {ours}, {day}, {where}: {counts(found)}.",
        "",
        "| tests | passed | skipped | failed | seconds |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        *(["", "Skipped:", ""] if reasons else []),
        *(f"- {reason}: {count}" for reason, count in sorted(reasons.items())),
    ]
    return "\n".join(lines) + "\n"


def row(group: str, found: Iterable[Outcome]) -> str:
    """A line of the table."""
    ours = [one for one in found if one.group == group]
    numbers = [str(sum(one.outcome == kind for one in ours)) for kind in OUTCOMES]
    seconds = f"{sum(one.seconds for one in ours):.0f}"
    return f"| {' | '.join([group, *numbers, seconds])} |"


def counts(found: Iterable[Outcome]) -> str:
    """``3 passed, 1 skipped, 0 failed``."""
    counted = Counter(one.outcome for one in found)
    return ", ".join(f"{counted[kind]} {kind}" for kind in OUTCOMES)


def replaced(page: str, engine: str, text: str) -> str:
    """The page with that section, in the alphabetical place of its engine."""
    sections = dict(re.findall(r"^(## (?:.+)\n)((?:(?!## ).*\n?)*)", page, flags=re.M))
    head, _, body = text.partition("\n")
    sections[f"{head}\n"] = f"{body}"
    told = "\n".join(f"{name}{sections[name].rstrip()}\n" for name in sorted(sections))
    return f"{TITLE}\n{told}"


def main(engine: str, version: str, *reports: str) -> int:
    """Write the section; the exit code."""
    found = [one for report in reports for one in outcomes(Path(report).read_text("utf-8"))]
    if not any(one.outcome == "passed" for one in found):
        print(f"nothing ran on {engine}: {counts(found)}", file=sys.stderr)
        return 1
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    text = section(engine, version, found, ours=commit(), day=day)
    page = PAGE.read_text("utf-8") if PAGE.exists() else ""
    PAGE.write_text(replaced(page, engine, text), "utf-8")
    print(f"{engine}: {counts(found)}; see {PAGE}")
    return 1 if any(one.outcome == "failed" for one in found) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
