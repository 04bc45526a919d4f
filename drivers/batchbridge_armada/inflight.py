"""Keys whose submit is under way."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class InFlight:
    """Lets nobody submit a key while another does. Safe from several threads.

    Armada looks for a key before it takes a job and notes it afterwards
    (``internal/server/submit/submit.go``), so that of two submits at once both would be taken.
    """

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def alone(self, keys: Collection[str]) -> Iterator[None]:
        """Wait until none of these keys is under way; meanwhile they are."""
        with self._changed:
            self._changed.wait_for(lambda: self._keys.isdisjoint(keys))
            self._keys.update(keys)
        try:
            yield
        finally:
            with self._changed:
                self._keys.difference_update(keys)
                self._changed.notify_all()
