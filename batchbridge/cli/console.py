"""How things are shown: answers on stdout, as JSON lines or columns; all else on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec

from batchbridge.errors import BatchBridgeError

COLOURS: Final = {"SUCCEEDED": "green", "FAILED": "red", "LOST": "red", "CANCELLED": "yellow"}
"""Of states, as a terminal shows them; the others have none."""


json_flag = click.option("--json", "as_json", is_flag=True, help="One JSON line for each.")


def emit(value: Mapping[str, Any]) -> None:
    """One JSON line on stdout."""
    click.echo(msgspec.json.encode(value))


def note(text: str, remedy: str = "") -> None:
    """One line for people, on stderr, and what to do about it."""
    click.echo(f"note: {text}", err=True)
    _advise(remedy)


def complain(error: BatchBridgeError, where: str = "") -> None:
    """An error on stderr, and what to do about it; `where` names what it is about."""
    prefix = f"{where}: " if where else ""
    click.echo(click.style("error: ", fg="red", bold=True) + f"{prefix}{error}", err=True)
    _advise(error.remedy)


def _advise(remedy: str) -> None:
    if remedy:
        click.echo(f"  → {remedy}", err=True)


def coloured(state: str) -> str:
    """A state as a terminal shows it; click takes the colour out elsewhere."""
    return click.style(state, fg=COLOURS[state]) if state in COLOURS else state


def unwanted_colour() -> bool:
    """Whether the user, or the terminal, wants no colour: https://no-color.org."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def columns(rows: Iterable[Sequence[str]]) -> None:
    """Rows on stdout, aligned; the first is the heading. Nothing is cut."""
    table = [list(row) for row in rows]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _width(cell: str) -> int:
    return len(click.unstyle(cell))


def on_terminal() -> bool:
    """Whether somebody sees what is written to stderr as it is written."""
    return sys.stderr.isatty()


class _Notes(logging.Handler):
    """Warnings of the library, as lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def notes_on_stderr(*, debug: bool) -> Callable[[], None]:
    """Show the library's warnings on stderr until the returned function is called."""
    logger = logging.getLogger("batchbridge")
    handler, level = _Notes(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)

    def undo() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)

    return undo
