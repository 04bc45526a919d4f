"""Finding and ending the jobs of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batchbridge import Client, Job, refresh
from batchbridge.errors import NoSuchJob, TransportError, WaitTimeout
from batchbridge.model import read_time

from . import runs
from .runs import Run, Task

PAUSE = 0.5
"""Seconds between two tries at an engine that cannot be asked."""

GRACE = 30.0
"""Seconds that Armada's pods have to end after a SIGTERM, if nobody says otherwise."""

LATE = 15.0
"""Seconds after which Armada's executor has heard that a job is cancelled."""

Find = Callable[[], list[Job]]


def of_run(client: Client, run: Run, job_set: str | None = None) -> list[Job]:
    """The run's jobs on this client's engine, those that have ended too.

    An engine that lists its jobs is asked; of another, the jobs that this machine submitted are.
    `job_set` is where the run's jobs are, if not in its own.
    """
    if client.driver.capabilities.list != "absent":
        return [job for job in client.list(job_set or run.job_set) if run.has(job.name)]
    return held(client, runs.remembered_jobs(run))


def of_runs(client: Client, flow: str, user: str | None) -> list[Job]:
    """The jobs of all runs of that flow, by that user (None: anybody); of an engine that lists."""
    engine = client.engine
    found = [
        engine.job(engine.ref(listed.scope, listed.seen.id), name=listed.name)
        for listed in engine.driver.list(None, None)
        if listed.name.startswith(f"{flow}.")
        and runs.task_of(listed.name)
        and (user is None or listed.labels.get("metaflow.user", listed.user) == runs.label(user))
    ]
    refresh(found)
    return found


def live(client: Client, run: Run, job_set: str | None = None) -> list[Job]:
    """The run's jobs that have not ended."""
    return going(of_run(client, run, job_set))


def going(found: Iterable[Job]) -> list[Job]:
    """Those of them that have not ended, as far as is known here."""
    return [job for job in found if not job.done()]


def held(client: Client, refs: Mapping[str, str]) -> list[Job]:
    """The jobs of these references, each with its name, that the engine knows."""
    found = [client.attach(ref, name=name) for ref, name in refs.items()]
    return [job for job in found if _is_held(job)]


def _is_held(job: Job) -> bool:
    try:
        job.refresh()
    except NoSuchJob:
        return False
    return True


def earlier(client: Client, run: Run, task: Task, job_set: str | None = None) -> list[Job]:
    """The jobs of earlier attempts at that task that have not ended."""

    def precedes(job: Job) -> bool:
        other = runs.task_of(job.name)
        same = other and (other.step, other.task_id) == (task.step, task.task_id)
        return bool(other and same and other.attempt < task.attempt)

    return [job for job in live(client, run, job_set) if precedes(job)]


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


def end_before_another(
    client: Client, find: Find, form: Mapping[str, Any], *, reason: str, patience: float
) -> bool:
    """As `end`, such that no process is left either when the next attempt begins.

    `form` is that of the jobs. Armada says that a job is cancelled before its pod has gone.
    """
    cancelled: list[Job] = []

    def looked() -> list[Job]:
        cancelled.extend(left := find())
        return left

    ended = end(client, looked, reason=reason, patience=patience)
    if ended and cancelled and client.driver.name == "armada":
        options = {**client.engine.resolved.options, **form.get("options", {})}
        time.sleep(read_time("grace", options.get("grace") or GRACE) + LATE)
    return ended
