"""Which queued job may start: first come, first served, within the bounds. Pure.

The oldest job waits until it fits and nobody passes it, so that none starves. Where nothing runs
it starts whatever its bounds say.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from batchbridge_local.records import Job


class Need(NamedTuple):
    """What a job takes while it runs: cores and bytes."""

    cpu: float
    memory: int


class Waiting(NamedTuple):
    """A queued job; the order of these tuples is the order of the queue."""

    submitted_at: float
    id: str
    need: Need
    bound: Need
    deadline: float | None

    @classmethod
    def of(cls, id: str, job: Job) -> Waiting:
        need, bound = Need(job.cpu, job.memory), Need(job.cpu_bound, job.memory_bound)
        late = job.submitted_at + job.queue_timeout if job.queue_timeout else None
        return cls(job.submitted_at, id, need, bound, late)


def in_use(running: Iterable[Need]) -> Need:
    """The sum of what these take."""
    everyone = list(running)
    return Need(sum(need.cpu for need in everyone), sum(need.memory for need in everyone))


def fits(job: Waiting, running: Iterable[Need]) -> bool:
    """Whether the job may start beside these."""
    others = list(running)
    used = in_use(others)
    # Cores are decimal fractions: ten jobs of 0.1 fill one core exactly.
    cpu = used.cpu + job.need.cpu <= job.bound.cpu + 1e-6
    return not others or (cpu and used.memory + job.need.memory <= job.bound.memory)


class Queue:
    """The jobs that wait, in order."""

    def __init__(self) -> None:
        self._jobs: dict[str, Waiting] = {}
        self._order: list[Waiting] = []
        self._deadlines: list[tuple[float, str]] = []

    def __contains__(self, id: object) -> bool:
        return id in self._jobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Waiting) -> None:
        """Put a job in its place; one that is there already stays."""
        if job.id in self._jobs:
            return
        self._jobs[job.id] = job
        heapq.heappush(self._order, job)
        if job.deadline is not None:
            heapq.heappush(self._deadlines, (job.deadline, job.id))

    def remove(self, id: str) -> None:
        """Take a job out; one that is not there is fine."""
        self._jobs.pop(id, None)

    def head(self) -> Waiting | None:
        """The job whose turn it is."""
        while self._order and self._order[0].id not in self._jobs:
            heapq.heappop(self._order)
        return self._order[0] if self._order else None

    def overdue(self, now: float) -> list[str]:
        """The jobs whose queue timeout has passed."""
        late = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, id = heapq.heappop(self._deadlines)
            if id in self._jobs:
                late.append(id)
        return late

    def defer(self, id: str, until: float) -> None:
        """Report a job as overdue again, then."""
        heapq.heappush(self._deadlines, (until, id))

    def next_deadline(self) -> float | None:
        """When a queue timeout passes next, or would have."""
        return self._deadlines[0][0] if self._deadlines else None
