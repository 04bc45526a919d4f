"""The event stream: lines of JSON over an answer without end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice

from batchbridge.errors import CursorExpired
from batchbridge_nomad.api import Api, Place, broken
from batchbridge_nomad.replies import Missing, Refused
from batchbridge_nomad.transfer import Broken, Reply
from batchbridge_nomad.wire import Line, line

SILENCE = 40.0
"""Seconds without a byte after which a stream is dead: Nomad sends a heartbeat each 30 s."""

FIRST_LINE = 5
"""Seconds within which a stream that is allowed says something."""

TOPICS = ("Allocation", "Evaluation")
"""Not Job: those events carry the whole job, with its script and environment, each time."""


class Stream:
    """What happens in one namespace from an index on, that index included."""

    def __init__(self, api: Api, place: Place, index: int) -> None:
        self._ask = {"topic": list(TOPICS), "index": index}
        self._api, self._place = api, place
        self._answer: Reply | None = None
        self._over = False

    def read(self) -> Iterator[Line]:
        """Its lines, until it ends. TransportError where it breaks."""
        self._answer = self._api.stream(
            self._place,
            "read-job",
            "/v1/event/stream",
            self._ask,
            silence=SILENCE,
            breakable=True,
        )
        with closing(self._answer) as answer:
            try:
                for text in lines(answer):
                    if self._over:
                        return
                    yield line(text)
            except (Broken, ValueError) as error:
                raise broken(error) from error

    def break_off(self) -> None:
        """Make a read that waits return, from another thread."""
        self._over = True
        if self._answer is not None:
            self._answer.shutdown()


def first_line(lines: Iterator[Line | None]) -> Line | None:
    """The first line, which a stream says at once; None where there is no stream to be had."""
    try:
        return next((line for line in islice(lines, FIRST_LINE) if line is not None), None)
    except (Missing, Refused):
        return None


def line_at(lines: Iterator[Line | None], index: int) -> Line:
    """The line of that index, with which a stream from there on has to begin.

    Nomad gives no other sign of a gap: one that has moved on, or begun anew, starts elsewhere.
    """
    told = (line for line in islice(lines, FIRST_LINE) if line is not None and line.index)
    line = next(told, None)
    if line is None or line.index != index:
        raise CursorExpired(f"Nomad's event stream no longer leads on from {index}")
    return line


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a body as they arrive, however the bytes are cut."""
    rest = b""
    for data in chunks:
        *whole, rest = (rest + data).split(b"\n")
        yield from (text for text in whole if text.strip())
