"""What a command wrote, by byte offset."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from batchbridge.errors import NoSuchJob, SpecError
from batchbridge.model import LogPage, Stream
from batchbridge_local.spool import Spool

PAGE = 1 << 20
"""Bytes of one page at most; a longer line comes in several."""

POLLS = (0.005, 0.05)
"""Seconds between two looks for more: the first, and in the long run."""


def read(
    spool: Spool,
    id: str,
    attempt: int,
    stream: Stream,
    cursor: str | None,
    *,
    ended: bool,
    wait: float,
) -> LogPage:
    """The bytes after `cursor`, waiting up to `wait` seconds for some.

    A job that was removed since its log was begun is ``truncated``; one that was never known here
    is NoSuchJob. There is only the first attempt.
    """
    offset = _offset(cursor)
    if not spool.holds(id):
        return _gone(id, cursor)
    try:
        fd = os.open(spool.jobs / id / stream, os.O_RDONLY)
    except FileNotFoundError:
        return _gone(id, cursor)
    try:
        if attempt != 1:
            return LogPage(b"", str(offset), eof=True)
        return _page(fd, offset, lambda: ended or spool.ended(id), wait)
    finally:
        os.close(fd)


def _page(fd: int, offset: int, over: Callable[[], bool], wait: float) -> LogPage:
    until = time.monotonic() + wait
    pause, slow = POLLS
    while True:
        finished = over()  # asked before reading, so that the last bytes are not missed
        data = os.pread(fd, PAGE, offset)
        if data or finished or time.monotonic() >= until:
            eof = finished and offset + len(data) >= os.fstat(fd).st_size
            return LogPage(data, str(offset + len(data)), eof=eof)
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 1.5, slow)


def _offset(cursor: str | None) -> int:
    if cursor is not None and not cursor.isdecimal():
        raise SpecError(f"{cursor!r} is no offset in a log", path="cursor")
    return int(cursor or 0)


def _gone(id: str, cursor: str | None) -> LogPage:
    if cursor is None:
        raise NoSuchJob(
            f"the spool holds no job {id}",
            remedy="finished jobs are removed in time; batchbridge list shows what is there",
        )
    return LogPage(b"", cursor, eof=True, truncated=True)
