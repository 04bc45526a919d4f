"""Finding and ending the jobs of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from batchbridge import Client, Job, refresh
from batchbridge.errors import NoSuchJob, TransportError, Unsupported, WaitTimeout

from . import runs
from .runs import Run, Task

PAUSE = 0.5
"""Seconds between two tries at an engine that cannot be asked."""

Find = Callable[[], list[Job]]


def live(client: Client, run: Run) -> list[Job]:
    """The run's jobs on this client's engine that have not ended.

    An engine that lists its jobs is asked; of another, the jobs that this machine submitted are.
    """
    if client.driver.capabilities.list != "absent":
        return going(client.list(run.job_set))
    remembered = runs.remembered_jobs(run)
    return [job for name, ref in remembered if _held(job := client.attach(ref, name=name))]


def going(found: Iterable[Job]) -> list[Job]:
    """Those of them that have not ended, as far as is known here."""
    return [job for job in found if not job.done()]


def _held(job: Job) -> bool:
    """Whether the engine knows it, and that it has not ended."""
    try:
        return not job.refresh().terminal
    except NoSuchJob:
        return False


def live_of(client: Client, flow: str, user: str | None) -> list[Job]:
    """The jobs of all runs of that flow, by that user, that have not ended."""
    engine = client.engine
    if engine.driver.capabilities.list != "all":
        raise Unsupported(f"{engine.driver.name} cannot list its jobs", remedy="name a --run-id")
    found = [
        engine.job(engine.ref(listed.scope, listed.seen.id), name=listed.name)
        for listed in engine.driver.list(None, None)
        if listed.job_set.startswith(f"mf.{flow}.")
        and user in (None, listed.labels.get("metaflow.user", listed.user))
    ]
    refresh(found)
    return going(found)


def earlier(client: Client, run: Run, task: Task) -> list[Job]:
    """The jobs of earlier attempts at that task that have not ended."""

    def precedes(job: Job) -> bool:
        other = runs.task_of(job.name)
        same = other and (other.step, other.task_id) == (task.step, task.task_id)
        return bool(other and same and other.attempt < task.attempt)

    return [job for job in live(client, run) if precedes(job)]


def end(client: Client, find: Find, *, reason: str, patience: float) -> bool:
    """Cancel what `find` finds until it finds nothing; False if `patience` seconds were too few.

    Each job's end is confirmed by the engine, not only asked for.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            left = find()
            if not left:
                return True
            client.cancel(left, reason=reason)
            for job in left:
                job.wait(timeout=max(0.0, deadline - time.monotonic()))
        except (TransportError, NoSuchJob):
            time.sleep(PAUSE)
        except WaitTimeout:
            pass
        if time.monotonic() >= deadline:
            return False
