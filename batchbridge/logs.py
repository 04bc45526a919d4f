"""Following a job's output: the attempts in order, each stream's bytes once and in order."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from batchbridge.backoff import delays, pause
from batchbridge.errors import TransportError
from batchbridge.model import LogPage, Stream
from batchbridge.watched import Watched

WAIT = 0.5
"""Seconds that a driver may block for more output."""

TRIES = 6
"""Times in a row that a page is asked for before the engine counts as unreachable."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """The next bytes of one stream of one attempt; none where a follower only gets its turn.

    ``truncated``: what came before them was lost to rotation or garbage collection.
    """

    stream: Stream
    attempt: int
    data: bytes
    truncated: bool = False


@dataclass(slots=True)
class Decoder:
    """Text from one stream's chunks, in whole characters; what is no UTF-8 becomes U+FFFD."""

    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def text(self, data: bytes, *, final: bool = False) -> str:
        """The characters that `data` completes."""
        return self._decoder.decode(data, final)


@dataclass(slots=True)
class _Reader:
    """Where one stream of one attempt has been read to."""

    watched: Watched
    stream: Stream
    attempt: int
    cursor: str | None = None
    eof: bool = False

    def page(self, *, wait: float) -> LogPage:
        """The next page; errors of the connection are tried again, a few times."""
        driver, pauses = self.watched.ledger.driver, delays()
        ended = self.watched.record.ended(self.attempt) or self.watched.record.terminal
        for left in reversed(range(TRIES)):
            try:
                page = driver.read_logs(
                    self.watched.ref, self.attempt, self.stream, self.cursor, ended=ended, wait=wait
                )
            except TransportError as error:
                if not left:
                    raise
                time.sleep(pause(next(pauses), error))
            else:
                break
        self.cursor, self.eof = page.cursor, page.eof
        return page


def output(watched: Watched, streams: Iterable[Stream], *, follow: bool) -> Iterator[LogChunk]:
    """What the job writes, until it has ended and all is read; without `follow`, what is there.

    What has ended is read to its end in any case, for which an engine may need some seconds.
    An engine that counts attempts has the logs of each; of another, the current run's are read.
    Who waits gets a chunk at least once a second outside an engine call, empty if nothing came.
    """
    wanted = tuple(streams)
    counted = watched.ledger.driver.capabilities.counts_attempts
    attempt, told = 1 if counted else max(watched.record.attempt, 1), 0
    while True:
        if attempt != told:
            yield from _attempt(watched, attempt, wanted, follow=follow)
            told = attempt
        if watched.record.attempt > attempt:
            attempt = attempt + 1 if counted else watched.record.attempt
        elif watched.settled or not follow:
            return
        else:
            _await_news(watched)
            yield LogChunk(wanted[-1], attempt, b"")


def _attempt(
    watched: Watched, attempt: int, streams: tuple[Stream, ...], *, follow: bool
) -> Iterator[LogChunk]:
    readers = [_Reader(watched, stream, attempt) for stream in streams]
    while open_readers := [reader for reader in readers if not reader.eof]:
        silent, waits = True, follow or watched.record.ended(attempt)
        for reader in open_readers:
            patient = waits and silent and reader is open_readers[-1]
            page = reader.page(wait=WAIT if patient else 0.0)
            if page.data or page.truncated:
                silent = False
                yield LogChunk(reader.stream, attempt, page.data, page.truncated)
        if not silent or all(reader.eof for reader in open_readers):
            continue
        if not watched.record.ended(attempt):
            if not follow:
                return
            watched.check()
            if watched.settled:
                return
        yield LogChunk(streams[-1], attempt, b"")


def _await_news(watched: Watched) -> None:
    """The attempt's output is complete, but the job is not settled: wait for what comes."""
    with watched.ledger.changed:
        watched.ledger.changed.wait(1.0)
    watched.check()
