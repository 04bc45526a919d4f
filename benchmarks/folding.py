"""How many observations a second `fold` takes in, by the kind of history they come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from batchbridge.model import Absent, Cause, JobState, Observation, Seen, Tick
from batchbridge.states import Record, fold
from benchmarks.harness import Report, Row, Size

EVENTS = 50_000
"""Observations in each round, of each kind."""

LIVE = (JobState.SUBMITTED, JobState.QUEUED, JobState.PENDING, JobState.RUNNING)


def plain() -> list[Observation]:
    """One attempt that succeeds, told once and in order."""
    return [*(Seen("job", state, at=1.0) for state in LIVE), _success()]


def retried() -> list[Observation]:
    """Three attempts, numbered and ordered by the engine; the third is the last."""
    story: list[Observation] = []
    for attempt in (1, 2, 3):
        for place, state in enumerate(LIVE[1:]):
            story.append(Seen("job", state, attempt=attempt, seq=(attempt, place), at=1.0))
        last = attempt == 3
        end = Seen(
            "job",
            JobState.FAILED,
            attempt=attempt,
            seq=(attempt, 9),
            again=not last,
            final=last,
            cause=Cause.EXIT_CODE,
            exit_code=1,
        )
        story.append(end)
    return story


def redelivered() -> list[Observation]:
    """Each word of the engine four times, as a stream tells it that was cut and resumed."""
    return [said for said in retried() for _ in range(4)]


def unchanged() -> list[Observation]:
    """A running job in snapshot after snapshot."""
    return [Seen("job", JobState.RUNNING, at=1.0, node="n1")] * 100


def settling() -> list[Observation]:
    """A provisional ending that stands once enough snapshots were answered."""
    end = Seen("job", JobState.FAILED, cause=Cause.EXIT_CODE, exit_code=1)
    return [*plain()[:-1], end, *(Tick(10.0 * n) for n in range(5))]


def denied() -> list[Observation]:
    """A job that the engine forgets while it runs."""
    return [*plain()[:-1], *(Absent("job", 30.0 * n) for n in range(4))]


KINDS: dict[str, Callable[[], list[Observation]]] = {
    "one attempt": plain,
    "three attempts": retried,
    "each word four times": redelivered,
    "unchanged snapshots": unchanged,
    "an ending that settles": settling,
    "a job that is forgotten": denied,
}


def run(size: Size) -> Report:
    """Observations folded in a second; there is no goal but the watched jobs' CPU time."""
    events = size.of(EVENTS)
    rows = [
        Row(what=kind, unit="/s", samples=_rates(make(), events, size.rounds))
        for kind, make in KINDS.items()
    ]
    return Report("fold: observations a second, CPU time", rows)


def _rates(history: Sequence[Observation], events: int, rounds: int) -> list[float]:
    return [_rate(history, max(1, events // len(history))) for _ in range(rounds)]


def _rate(history: Sequence[Observation], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        record = Record("job")
        for observation in history:
            record, _changes = fold(record, observation)
    return times * len(history) / (time.process_time() - began)


def _success() -> Seen:
    return Seen("job", JobState.SUCCEEDED, final=True, at=2.0, exit_code=0)
