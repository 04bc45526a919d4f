"""What the kit found, driver by driver: for the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict, cast

import pytest

from batchbridge.testing.floor import Floor
from batchbridge.testing.needs import DRIVER, lacking

OUTCOMES = ("failed", "skipped", "absent", "passed")
"""From what matters most; a test is what its worst phase was."""


class Note(TypedDict):
    """One phase of one test: plain values, because they travel between pytest's processes."""

    driver: str
    test: str
    about: str
    outcome: str
    reason: str


def annotate(report: pytest.TestReport, item: pytest.Item) -> None:
    """Note on `report` what it says of a driver; make it a failure if its skip is not allowed."""
    kind, function = cast(Any, item).cls, cast(Any, item).function
    driver = item.stash.get(DRIVER, None)
    missing = lacking(function, driver.capabilities) if driver else []
    if report.skipped:
        _check_allowed(report, item.name, kind.allowed_skips)
    outcome = "absent" if report.skipped and missing else report.outcome
    note = Note(
        driver=driver.name if driver else kind.__name__,
        test=item.name,
        about=(function.__doc__ or "").strip(),
        outcome=outcome,
        reason=_reason(report) if outcome in ("skipped", "absent") else "",
    )
    cast(Any, report).batchbridge = note


def _check_allowed(report: pytest.TestReport, name: str, allowed: frozenset[str] | None) -> None:
    if allowed is not None and name not in allowed:
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped, which is not allowed here: {_reason(report)}"


def _reason(report: pytest.TestReport) -> str:
    where = report.longrepr
    return str(where[-1] if isinstance(where, tuple) else where).removeprefix("Skipped: ")


def results(notes: Iterable[Note]) -> dict[str, dict[str, Note]]:
    """Driver -> test -> the note of its worst phase."""
    found: dict[str, dict[str, Note]] = {}
    for note in notes:
        tests = found.setdefault(note["driver"], {})
        known = tests.setdefault(note["test"], note)
        if OUTCOMES.index(note["outcome"]) < OUTCOMES.index(known["outcome"]):
            tests[note["test"]] = note
    return found


def verdict(tests: Iterable[Note]) -> str:
    """``complete``, ``partial`` (the floor does not hold) or ``failing``."""
    bad = [note for note in tests if note["outcome"] in ("failed", "skipped")]
    if any(hasattr(Floor, note["test"].partition("[")[0]) for note in bad):
        return "partial"
    return "failing" if any(note["outcome"] == "failed" for note in bad) else "complete"


def summary(notes: Iterable[Note]) -> Iterator[str]:
    """A few lines for each driver; one for each reason why tests were skipped."""
    for driver, tests in sorted(results(notes).items()):
        yield f"{driver}: {verdict(tests.values())}"
        groups: dict[tuple[str, str], list[str]] = {}
        for name, note in tests.items():
            why = note["reason"] if note["outcome"] == "skipped" else ""
            groups.setdefault((note["outcome"], why), []).append(name)
        for (outcome, why), names in sorted(groups.items(), key=_from_what_matters_least):
            listed = "" if outcome == "passed" else ": " + ", ".join(names)
            yield f"  {len(names)} {outcome}{why and f' ({why})'}{listed}"


def _from_what_matters_least(group: tuple[tuple[str, str], Any]) -> int:
    return -OUTCOMES.index(group[0][0])


def markdown(notes: Sequence[Note]) -> str:
    """A section and a table for each driver."""
    lines = ["# Conformance", ""]
    for driver, tests in sorted(results(notes).items()):
        lines += [f"## {driver}: {verdict(tests.values())}", ""]
        lines += ["| test | outcome | what it is about |", "|---|---|---|"]
        for name, note in sorted(tests.items()):
            outcome = " ".join(filter(None, (note["outcome"], note["reason"])))
            about = " ".join(note["about"].split())
            lines.append("| " + " | ".join(_cell(text) for text in (name, outcome, about)) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
