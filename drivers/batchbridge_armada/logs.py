"""Pages of a job's output from the lines that Binoculars sends. Pure.

Binoculars has no cursor. It is asked for all lines from a second on, and answers at most 2 MB of
them; each line has the time at which it was written, in nanoseconds. A cursor is therefore
``run|time|count``: the run whose output it is, the time of the last line that was told, and how
many lines of that time were. Counting, and not comparing, keeps equal lines of one time apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from batchbridge.model import LogPage

LIMIT = 2_000_000
"""Bytes at which Kubernetes cuts an answer, times and newlines included."""

_STAMP = re.compile(r"(?P<second>[^.Z+]+)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)?")

Order = tuple[str, str]


class LogLine(NamedTuple):
    """One line of output, without its newline, and when it was written."""

    stamp: str
    text: bytes


LogReply = tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the output of a run was told."""

    run: str = ""
    stamp: str = ""
    count: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor that `text` writes; None is the beginning."""
        run, stamp, count = text.split("|") if text else ("", "", "0")
        return cls(run, stamp, int(count))

    def __str__(self) -> str:
        return f"{self.run}|{self.stamp}|{self.count}"


def page(lines: Sequence[LogLine], cursor: Cursor, *, ended: bool) -> LogPage:
    """The lines of an answer that follow the cursor; `ended`: nothing more will be written."""
    cut = sum(len(line.stamp) + len(line.text) + 2 for line in lines) >= LIMIT
    # What an answer was cut in may be half a line; it is in the next one again.
    whole = lines[:-1] if cut else lines
    news = after(whole, cursor)
    if cut and not news:
        # More than an answer holds was written in one second, which is the least to ask for.
        skipped = replace(cursor, stamp=_next_second(lines[-1].stamp), count=0)
        return LogPage(b"", str(skipped), truncated=True)
    data = b"".join(line.text + b"\n" for line in news)
    gone = _rotated(lines, cursor)
    return LogPage(data, str(_moved(cursor, news)), eof=ended and not news, truncated=gone)


def _rotated(lines: Sequence[LogLine], cursor: Cursor) -> bool:
    """Whether the line that was told last is gone, and so may be what was written after it.

    A node begins a file anew when it is some 10 MB long, and Kubernetes reads the newest alone.
    """
    return bool(lines and cursor.count) and order(lines[0].stamp) > order(cursor.stamp)


def after(lines: Sequence[LogLine], cursor: Cursor) -> list[LogLine]:
    """The lines that were not told yet."""
    if not cursor.stamp:
        return list(lines)
    told, left, news = order(cursor.stamp), cursor.count, []
    for line in lines:
        at = order(line.stamp)
        if at > told or (at == told and left <= 0):
            news.append(line)
        elif at == told:
            left -= 1
    return news


def _moved(cursor: Cursor, news: Sequence[LogLine]) -> Cursor:
    if not news:
        return cursor
    last = order(news[-1].stamp)
    count = sum(order(line.stamp) == last for line in news)
    same = bool(cursor.stamp) and order(cursor.stamp) == last
    return replace(cursor, stamp=news[-1].stamp, count=count + (cursor.count if same else 0))


def order(stamp: str) -> Order:
    """What times of one machine are compared by: trailing zeros may be left out of them."""
    match = _STAMP.match(stamp)
    return (match["second"], (match["fraction"] or "").rstrip("0")) if match else (stamp, "")


def _next_second(stamp: str) -> str:
    match = _STAMP.match(stamp)
    if match is None:
        return stamp
    second = datetime.fromisoformat(match["second"]) + timedelta(seconds=1)
    return f"{second.isoformat()}{match['zone'] or 'Z'}"
