"""Which finished jobs are forgotten: the old ones, and the oldest where all take too much room."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from batchbridge_local.spool import Spool, now

EVERY = 600.0
"""Seconds between two prunings."""


class Keep(NamedTuple):
    """Bounds of what finished jobs may take: seconds since their end, and bytes together."""

    seconds: float
    size: int


class Finished(NamedTuple):
    """One finished job; the order of these tuples is the order in which they go."""

    ended_at: float
    id: str
    size: int


def expired(jobs: Iterable[Finished], keep: Keep, at: float) -> list[str]:
    """The ids to forget, oldest first. Pure."""
    ordered = sorted(jobs)
    total = sum(job.size for job in ordered)
    gone = []
    for job in ordered:
        if at - job.ended_at <= keep.seconds and total <= keep.size:
            break
        gone.append(job.id)
        total -= job.size
    return gone


def prune(spool: Spool, finished: Iterable[str], keep: Keep) -> set[str]:
    """Remove the files of what has expired among these finished jobs; the ids that are gone."""
    gone = set(expired(_measured(spool, finished), keep, now()))
    for id in gone:
        spool.remove_job(id)
    return gone


def _measured(spool: Spool, finished: Iterable[str]) -> Iterable[Finished]:
    for id in finished:
        place = spool.jobs / id
        with suppress(OSError):
            yield Finished((place / "end.json").stat().st_mtime, id, _size(place))


def _size(place: Path) -> int:
    """Bytes on disk of everything below."""
    total = 0
    for directory, _, files in os.walk(place):
        for name in files:
            with suppress(OSError):
                total += Path(directory, name).lstat().st_blocks * 512
    return total
