"""What changes in one namespace, by one blocking query, for where there is no event stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from batchbridge.driver import Known as Followed
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.lists import beginning
from batchbridge_nomad.wire import Line, Payload, StreamEvent

WAIT = 3.0
"""Seconds that Nomad may hold the query; to end a watch takes as long."""

REST = 0.5
"""Seconds between two queries: each answer tells the whole state, and not what has changed."""


class Changes:
    """What the event stream would tell of the followed jobs, from an index on."""

    def __init__(self, api: Api, place: Place, index: int, known: Followed) -> None:
        self._api, self._place, self._known = api, place, known
        self._index = self._stops = index
        self._over = threading.Event()

    def read(self) -> Iterator[Line]:
        """Lines, until broken off; one whose index is lower than before is a cluster begun anew."""
        while not self._over.wait(REST):
            yield self._line()

    def break_off(self) -> None:
        """Ask no more."""
        self._over.set()

    def _line(self) -> Line:
        prefix = beginning(self._known())
        found = self._api.allocations_after(self._place, self._index, prefix=prefix, wait=WAIT)
        stops = self._api.stops(self._place, prefix=prefix)
        told = [
            *(Payload(allocation=a) for a in found.allocs if a.modify_index > self._index),
            *(Payload(evaluation=e) for e in stops if e.modify_index > self._stops),
        ]
        self._index = found.index
        self._stops = max([self._stops, *(e.modify_index for e in stops)])
        return Line(found.index, tuple(map(StreamEvent, told)))
