"""Following one namespace: by Nomad's event stream, or by asking for changes where it has none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain

from batchbridge.driver import Known as Followed
from batchbridge.errors import CursorExpired
from batchbridge.model import Batch
from batchbridge.streams import bridged
from batchbridge_nomad import events, translate
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.book import Book
from batchbridge_nomad.changes import Changes
from batchbridge_nomad.wire import Line

PRUNE = 60.0
"""Seconds between two looks at which jobs are still followed."""

UNTOLD = "@"
"""How a cursor begins that proves nothing when resumed: no line of the stream stood there."""


def watch(
    api: Api, place: Place, book: Book, cursor: str | None, known: Followed
) -> Iterator[Batch]:
    """Batches from `cursor` on, or from now. AuthError where the token may not read.

    The index is asked for first, because to whoever may not read the stream says nothing at all.
    Where it says nothing to one who may, it is switched off, or a proxy holds it back: then changes
    are asked for instead, since the same index: of each allocation that tells all.
    """
    index = api.index(place)
    resumed = cursor is not None and not cursor.startswith(UNTOLD)
    start = int(cursor.removeprefix(UNTOLD)) if cursor else index
    stream = events.Stream(api, place, start)
    with closing(bridged(stream.read, stream.break_off)) as lines:
        first = events.first_line(lines)
        if first is not None:
            if resumed:
                first = events.line_at(chain([first], lines), start)
            else:
                book.clear()
            yield Batch(cursor=cursor or f"{UNTOLD}{start}")
            yield from told(chain([first], lines), book, known, "")
            return
    if cursor is None:
        book.clear()
    yield from _asked(api, place, book, start, known)


def _asked(api: Api, place: Place, book: Book, start: int, known: Followed) -> Iterator[Batch]:
    """Batches from that index on, without a stream. CursorExpired where Nomad is not there yet."""
    index = api.index(place)  # unless it is refused by now
    if index < start:
        raise CursorExpired(f"Nomad's index is {index}, and was {start}")
    changes = Changes(api, place, start, known)
    with closing(bridged(changes.read, changes.break_off)) as lines:
        yield Batch(cursor=f"{UNTOLD}{start}")
        yield from told(lines, book, known, UNTOLD)


def told(lines: Iterator[Line | None], book: Book, known: Followed, mark: str) -> Iterator[Batch]:
    """What lines mean for the jobs in the book; each cursor begins with `mark`.

    CursorExpired where an index goes back: then the cluster has begun anew.
    """
    looked, index = time.monotonic(), 0
    for line in lines:
        if time.monotonic() - looked > PRUNE:
            book.keep(set(known()))
            looked = time.monotonic()
        if line is None or not line.index:
            yield Batch()
            continue
        if line.index < index:
            raise CursorExpired(f"Nomad's index went back from {index} to {line.index}")
        index = line.index
        seen = (seen for job in book.told(line) for seen in translate.history(job))
        yield Batch(tuple(seen), f"{mark}{index}")
