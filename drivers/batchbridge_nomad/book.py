"""What is known of the jobs of one namespace, put together from lists and from the stream.

The stream tells one object at a time, and an attempt's number is an allocation's place among the
job's others; so a job's events count only once all its allocations are known: from a list, or
because it was registered here. Safe from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace

from batchbridge_nomad.translate import Known
from batchbridge_nomad.wire import Alloc, Evaluation, Line


class Book:
    """The jobs of one namespace, as far as somebody waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Known] = {}

    def clear(self) -> None:
        """Know nothing: what follows may lack what came before."""
        with self._lock:
            self._jobs.clear()

    def enter(self, job: Known) -> Known:
        """Note all that a list says of a job; the newer of each allocation is kept."""
        with self._lock:
            before = self._jobs.get(job.id, job)
            self._jobs[job.id] = replace(
                job,
                allocs=_merged(before.allocs, job.allocs),
                stopped=job.stopped or before.stopped,
                submitted_at=job.submitted_at or before.submitted_at,
            )
            return self._jobs[job.id]

    def get(self, job_id: str) -> Known | None:
        """What is known of that job."""
        with self._lock:
            return self._jobs.get(job_id)

    def keep(self, wanted: Collection[str]) -> None:
        """Forget every other job."""
        with self._lock:
            self._jobs = {id: job for id, job in self._jobs.items() if id in wanted}

    def told(self, line: Line) -> tuple[Known, ...]:
        """Note what the stream says; each job that it speaks of, once.

        One that it speaks of again is told again: its reader may not have been told before.
        """
        told: dict[str, Known] = {}
        with self._lock:
            for event in line.events:
                said = event.payload.allocation or event.payload.evaluation
                job = self._jobs.get(said.job_id) if said else None
                if said is not None and job is not None:
                    self._jobs[job.id] = told[job.id] = _with(job, said)
        return tuple(told.values())


def _with(job: Known, said: Alloc | Evaluation) -> Known:
    if isinstance(said, Evaluation):
        stops = said.triggered_by == "job-deregister"
        return replace(job, stopped=True, waiting=False) if stops else job
    return replace(job, allocs=_merged(job.allocs, (said,)), waiting=False)


def _merged(older: tuple[Alloc, ...], newer: tuple[Alloc, ...]) -> tuple[Alloc, ...]:
    """Both, in the order of creation; of the same allocation what was said last."""
    by_id = {alloc.id: alloc for alloc in older}
    for alloc in newer:
        known = by_id.get(alloc.id)
        if known is None or known.modify_index <= alloc.modify_index:
            by_id[alloc.id] = alloc
    return tuple(sorted(by_id.values(), key=lambda alloc: (alloc.create_index, alloc.id)))
