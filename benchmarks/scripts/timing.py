"""What each script of local jobs measures: ``SCRIPT many N`` or ``SCRIPT each N``, as JSON.

``many``: seconds until N jobs, handed over together, are known to have ended. ``each``: the median
of the seconds from handing one over until its end is known, N times. Imports are not counted, nor
what the first job starts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median


def main(many: Callable[[int], None]) -> None:
    """`many` runs that many jobs ``true`` to their end."""
    what, amount = sys.argv[1], int(sys.argv[2])
    many(1)
    if what == "many":
        print(_seconds(many, amount))
    else:
        print(median(_seconds(many, 1) for _ in range(amount)))


def _seconds(many: Callable[[int], None], amount: int) -> float:
    began = time.perf_counter()
    many(amount)
    return time.perf_counter() - began
