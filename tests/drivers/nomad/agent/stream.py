"""The event stream: lines of JSON, from an index on, until its reader goes or falls behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tests.drivers.nomad.agent.state import Entry, Event, State

HEARTBEAT = 30.0
"""Seconds of silence after which a stream says ``{}``."""


class Reader:
    """One who reads the stream from an index on.

    What is older than the buffer is left out, and nothing says so; an index that is still to come
    gives the last entry. A reader that the buffer has overtaken gets an end.
    """

    def __init__(self, state: State, namespace: str, topics: Sequence[str], index: int) -> None:
        self._state, self._namespace, self._topics = state, namespace, topics
        self._last = self._before(index)
        self._spoke = time.monotonic()

    def lines(self) -> Iterator[bytes]:
        """The stream's lines; the first is a heartbeat."""
        yield b"{}\n"
        while (news := self._news()) is not None:
            told = [*_wanted(news, self._namespace, self._topics)]
            if not told and self._patience() <= 0:
                told = [b"{}\n"]
            if told:
                self._spoke = time.monotonic()
            yield from told

    def _before(self, index: int) -> int:
        """The index after which to begin."""
        with self._state.changed:
            entries = self._state.entries
            if not entries:
                return self._state.index
            return min(max(index, entries[0].index), entries[-1].index) - 1

    def _news(self) -> list[Entry] | None:
        """What is new, once there is something or a heartbeat is due; None: it is over."""
        with self._state.changed:
            self._state.changed.wait_for(self._due, self._patience())
            entries = self._state.entries
            if self._state.closed or (entries and entries[0].index > self._last + 1):
                return None
            news = [entry for entry in entries if entry.index > self._last]
            self._last = news[-1].index if news else self._last
            return news

    def _due(self) -> bool:
        entries = self._state.entries
        return self._state.closed or bool(entries and entries[-1].index > self._last)

    def _patience(self) -> float:
        return self._spoke + HEARTBEAT - time.monotonic()


def _wanted(news: list[Entry], namespace: str, topics: Sequence[str]) -> Iterator[bytes]:
    for entry in news:
        for line in entry.lines:
            texts = [event.text for event in line if _asked(event, namespace, topics)]
            if texts:
                yield f'{{"Events":[{",".join(texts)}],"Index":{entry.index}}}\n'.encode()


def _asked(event: Event, namespace: str, topics: Sequence[str]) -> bool:
    if event.namespace not in (namespace, ""):
        return False
    return not topics or any(_matches(event, topic) for topic in topics)


def _matches(event: Event, topic: str) -> bool:
    name, _, key = topic.partition(":")
    return name in (event.topic, "*") and (key in ("", "*") or key in event.keys)
