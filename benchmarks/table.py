"""Reports as one table for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from statistics import median

from rich.markup import escape
from rich.table import Table

from benchmarks.harness import Report, Row

STYLES = {"met": "green", "missed": "bold red", "not run": "yellow", "": ""}


def table(reports: Sequence[Report]) -> Table:
    """All numbers: the median of the rounds, the least and the greatest, the ratio, the goal."""
    system = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    made = Table(title=f"batchbridge on {system}", title_justify="left", show_edge=False)
    made.add_column("", overflow="fold")
    for name in ("median", "spread", "ours / theirs", "goal"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("", no_wrap=True)
    for report in reports:
        made.add_section()
        made.add_row(f"[bold]{report.title}[/]")
        for row in report.rows:
            made.add_row(*_cells(row), style=STYLES[row.verdict])
    return made


def _cells(row: Row) -> tuple[str, ...]:
    goal = str(row.goal or "")
    if row.not_run:
        return escape(f"  {row.what} ({row.not_run})"), "", "", "", goal, row.verdict
    spread = f"{_short(min(row.samples))} to {_short(max(row.samples))}"
    ratio = f"{_short(median(row.ratios))} x" if row.ratios else ""
    number = f"{_short(median(row.samples))} {row.unit}".rstrip()
    return f"  {row.what}", number, spread, ratio, goal, row.verdict


def _short(number: float) -> str:
    """Three digits, and thousands in groups."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
