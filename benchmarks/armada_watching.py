"""What it costs to watch very many Armada jobs: one stream, beside polling GetJobStatus.

The jobs wait, and are cancelled all at once when they have been watched for a while.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.armada_stack import job_set, stack
from benchmarks.harness import Goal, NotRun, Report, Row, Size, Taken, in_turn, rows_of
from benchmarks.peers import ourselves
from benchmarks.place import SCRIPTS, place
from localdev.armada_state import Stack

JOBS, SECONDS = 5_000, 30.0

POLLING = "all polled every second"


class Cost(NamedTuple):
    """What one program needed in one round."""

    cpu: float
    memory: float
    unseen: float  #: ends


def run(size: Size) -> Report:
    """Each cost of both, ours first."""
    jobs, seconds, armada = size.of(JOBS), SECONDS * size.fraction, stack()
    candidates: dict[str, Callable[[], Cost]] = {
        str(ourselves()): partial(_cost, armada, jobs, seconds, "armada_watch.py"),
        POLLING: partial(_cost, armada, jobs, seconds, "armada_poll.py"),
    }
    taken = in_turn(candidates, size.rounds)
    rows = [*_rows(taken, "cpu", "s"), *_rows(taken, "memory", "MB"), *_ends(taken)]
    return Report(f"{jobs:,} Armada jobs watched, until all ends are known", rows)


def _cost(armada: Stack, jobs: int, seconds: float, script: str) -> Cost:
    us = ourselves().python
    with place() as here, job_set(armada, waits=True) as where:
        lines = b"\n".join(where.payloads(jobs)).decode()
        submit = ("ids", str(jobs), *where.words, "bulk")
        ids = here.output(us, SCRIPTS / "armada_stubs.py", *submit, text=lines)
        timer = threading.Timer(seconds, where.cancel)
        timer.start()
        told = json.loads(here.output(us, SCRIPTS / script, *where.words, text=ids))
        timer.join()
    unseen = len(set(ids.split()) - set(told["ended"]))
    return Cost(told["cpu"], told["memory"], unseen)


def _rows(taken: Taken[Cost], what: str, unit: str) -> list[Row]:
    samples = {
        f"{what}: {name}": costs if isinstance(costs, NotRun) else [getattr(c, what) for c in costs]
        for name, costs in taken.items()
    }
    return rows_of(samples, unit=unit)


def _ends(taken: Taken[Cost]) -> list[Row]:
    """Ends that were not seen; the goal is for ours."""
    goals = {str(ourselves()): Goal("≤", 0, "")}
    return [
        Row(what=f"ends not seen: {name}", samples=[c.unseen for c in costs], goal=goals.get(name))
        for name, costs in taken.items()
        if not isinstance(costs, NotRun)
    ]
