"""How long to wait before asking again: one home for every pause between two tries."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from batchbridge.errors import RateLimited

FIRST, LONGEST = 0.2, 30.0
"""Seconds before the second try, and the most before any; each pause is twice the one before."""

PATIENCE = 3
"""Failures in a row after which people are told."""


def delays() -> Iterator[float]:
    """Seconds to wait before each next try, with jitter (0.5 to 1.0)."""
    delay = FIRST
    while True:
        yield delay * random.uniform(0.5, 1.0)
        delay = min(delay * 2, LONGEST)


def pause(delay: float, error: Exception) -> float:
    """The pause after `error`: `delay`, or longer where the engine asks for it."""
    return max(delay, error.retry_after) if isinstance(error, RateLimited) else delay


class Backoff:
    """Failures in a row, and when to ask again after them."""

    def __init__(self) -> None:
        self.failures = 0
        self.not_before = 0.0  #: of ``time.monotonic()``
        self._delays = delays()

    def failed(self, error: Exception) -> None:
        """Another failure: wait longer."""
        self.failures += 1
        self.not_before = time.monotonic() + pause(next(self._delays), error)

    def succeeded(self) -> None:
        """The engine answered: begin anew."""
        self.failures = 0
        self.not_before = 0.0
        self._delays = delays()
