"""How long to wait before asking again: one home for every pause between two tries."""

from __future__ import annotations

import random
from collections.abc import Iterator

from batchbridge.errors import RateLimited


def delays(first: float = 0.2, *, limit: float = 30.0, factor: float = 2.0) -> Iterator[float]:
    """Seconds to wait before each next try: growing to `limit`, each with jitter (0.5 to 1.0)."""
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)
        delay = min(delay * factor, limit)


def pause(delay: float, error: Exception) -> float:
    """The pause after `error`: the engine's own word goes before ours."""
    return max(delay, error.retry_after) if isinstance(error, RateLimited) else delay
