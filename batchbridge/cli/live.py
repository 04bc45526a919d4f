"""What moves on a terminal: a progress bar, and the table of watch. Only they need rich.

No thread refreshes them: they are drawn again when their owner says so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from batchbridge.cli.console import COLOURS, on_terminal
from batchbridge.cli.following import called, how, summary
from batchbridge.configfiles import printable
from batchbridge.jobs import Job

if TYPE_CHECKING:
    from rich.table import Table

REDRAW: Final = 0.1
"""Seconds between two drawings."""


class _Pace:
    """True at most every :data:`REDRAW` seconds."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        due = now >= self._next
        self._next = now + REDRAW if due else self._next
        return due


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, where that is a terminal; call what is yielded for each that is done."""
    if total < 2 or not on_terminal():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else answers would go where the bar goes
    )
    pace = _Pace()
    with bar:
        task = bar.add_task(what, total=total)
        bar.refresh()

        def advance() -> None:
            bar.advance(task)
            if pace.due():
                bar.refresh()

        yield advance


@contextmanager
def table(jobs: Sequence[Job]) -> Iterator[Callable[[], None]]:
    """The jobs as a table on the terminal; call what is yielded to draw it again."""
    from rich.live import Live

    pace = _Pace()
    with Live(auto_refresh=False, vertical_overflow="crop") as live:

        def draw() -> None:
            if pace.due():
                live.update(_table(jobs, rows=live.console.height - 5), refresh=True)

        yield draw
        live.update(_table(jobs, rows=live.console.height - 5), refresh=True)


def _table(jobs: Sequence[Job], *, rows: int) -> Table:
    """Those that go on first, as many as fit, and the count of all."""
    from rich.table import Table
    from rich.text import Text

    shown = sorted(jobs, key=lambda job: job.done() or job.record.missing)[: max(rows, 1)]
    hidden = f"; {len(jobs) - len(shown)} are not shown" if len(shown) < len(jobs) else ""
    drawn = Table("JOB", "STATE", "ATTEMPT", "NODE", "MESSAGE", caption=summary(jobs) + hidden)
    for job in shown:
        record = job.record
        state = Text(how(record), style=COLOURS.get(str(record.state), ""))
        message = printable(record.message)
        cells = (Text(text) for text in (str(record.attempt), record.node, message))
        drawn.add_row(Text(called(job)), state, *cells)
    return drawn
