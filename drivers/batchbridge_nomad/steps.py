"""Requests as steps, each of which says what it waits for: so one thread makes many at once.

A thread for each would spend more on taking turns than on the requests themselves.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from batchbridge.errors import BatchBridgeError
from batchbridge_nomad.transfer import Reply, wait

M = TypeVar("M")
T = TypeVar("T")

Steps: TypeAlias = Generator[Reply | float, None, T]
"""Yields an answer to wait for, or the seconds to rest before it asks again; returns its result."""


def alone(steps: Steps[T]) -> T:
    """What these steps come to, with nothing beside them."""
    while True:
        try:
            what = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if not isinstance(what, Reply):  # a reply waits by itself when it is read
            time.sleep(what)


def together(
    source: Iterator[tuple[M, Steps[T]]], *, at_once: int
) -> Iterator[tuple[M, T | BatchBridgeError]]:
    """What each of these comes to, in no order, with its mark; as many under way at once."""
    crowd: _Crowd[M, T] = _Crowd(source, at_once)
    try:
        while crowd.begin():
            crowd.wait()
            crowd.begin()  # others, before whoever asked looks at the results
            yield from crowd.results()
    finally:
        crowd.close()


@dataclass(slots=True)
class _Crowd(Generic[M, T]):
    """Steps that are under way, and those that were refused: these go on first."""

    source: Iterator[tuple[M, Steps[T]]]
    room: int
    under_way: dict[Reply, tuple[M, Steps[T]]] = field(default_factory=dict)
    resting: deque[tuple[float, M, Steps[T]]] = field(default_factory=deque)
    over: list[tuple[M, T | BatchBridgeError]] = field(default_factory=list)

    def begin(self) -> bool:
        """Begin what there is room for; whether anything is left to wait for."""
        before = len(self.over)
        while (
            len(self.under_way) < self.room and len(self.over) <= before and (some := self._next())
        ):
            self._move(*some)
        return bool(self.under_way or self.resting or self.over)

    def wait(self) -> None:
        """Wait until something has happened."""
        if self.over:
            return
        if self.under_way:
            for reply in wait(self.under_way):
                if _settled(reply):
                    self._move(*self.under_way.pop(reply))
        elif self.resting:
            time.sleep(max(0.0, self.resting[0][0] - time.monotonic()))

    def results(self) -> list[tuple[M, T | BatchBridgeError]]:
        """What is over and was not told yet."""
        over, self.over = self.over, []
        return over

    def close(self) -> None:
        """Let go of all."""
        for _, steps in self.under_way.values():
            steps.close()
        for _, _, steps in self.resting:
            steps.close()

    def _next(self) -> tuple[M, Steps[T]] | None:
        if not self.resting:
            return next(self.source, None)
        due, mark, steps = self.resting[0]
        if time.monotonic() < due:
            return None
        self.resting.popleft()
        return mark, steps

    def _move(self, mark: M, steps: Steps[T]) -> None:
        """Go on until there is something to wait for."""
        try:
            while isinstance(what := next(steps), Reply) and _settled(what):
                pass
        except StopIteration as end:
            self.over.append((mark, end.value))
        except BatchBridgeError as error:
            self.over.append((mark, error))
        else:
            if isinstance(what, Reply):
                self.under_way[what] = (mark, steps)
            else:
                self._rest(what, mark, steps)

    def _rest(self, seconds: float, mark: M, steps: Steps[T]) -> None:
        """Make no more at once than are under way; the end of one of them is room enough."""
        due = time.monotonic() + (0 if self.under_way else seconds)
        self.room = max(1, len(self.under_way))
        self.resting.append((due, mark, steps))


def _settled(reply: Reply) -> bool:
    """Read what there is of it; whether it is over."""
    while reply.advance() and not reply.over:
        pass
    return reply.over
