"""A token that is fetched: kept until it expires or is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

EARLY = 30.0
"""Seconds before its end at which a token is fetched anew: clocks and calls take their time."""


class Token(NamedTuple):
    """A token, and for how many seconds it is good; None: nobody said."""

    value: str
    lifetime: float | None = None


class Fetched:
    """The token that `fetch` gives. Safe from several threads."""

    def __init__(self, fetch: Callable[[], Token]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._value: str | None = None
        self._until = float("inf")

    def get(self) -> str:
        """The token, fetched where there is none that is good."""
        with self._lock:
            if self._value is None or time.monotonic() >= self._until:
                token = self._fetch()
                lifetime = float("inf") if token.lifetime is None else token.lifetime
                # One that lives shorter than that is still used once.
                self._value, self._until = token.value, time.monotonic() + lifetime - EARLY
            return self._value

    def refused(self, value: str | None) -> bool:
        """The server did not accept `value`: another will be fetched."""
        with self._lock:
            if self._value == value:
                self._value = None
            return True
