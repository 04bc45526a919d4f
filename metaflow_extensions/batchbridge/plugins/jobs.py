"""Finding and ending the jobs of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from batchbridge import Cause, Client, Job, JobSpec, Record, refresh
from batchbridge.errors import NoSuchJob, TransportError, WaitTimeout

from . import runs
from .runs import Run, Task

PAUSE = 0.5
"""Seconds between two tries at an engine that cannot be asked."""

NEVER_BEGUN = (Cause.REJECTED, Cause.UNSCHEDULABLE, Cause.IMAGE, Cause.START_ERROR)
"""Causes of an end for which no command of the job's was begun."""

Find = Callable[[], list[Job]]


def of_run(client: Client, run: Run, job_set: str | None = None) -> list[Job]:
    """The run's jobs on this client's engine, those that have ended too.

    An engine that lists its jobs is asked; of another, the jobs that this machine submitted are.
    `job_set` is where the run's jobs are, if not in its own.
    """
    if client.driver.capabilities.list != "absent":
        return [job for job in client.list(job_set or run.job_set) if run.has(job.name)]
    return held(client, runs.remembered_jobs(run))


def of_runs(
    client: Client, flow: str, user: str | None, *, job_set: str | None = None
) -> list[Job]:
    """The jobs of all runs of that flow, by that user (None: anybody); of an engine that lists.

    `job_set`: only of that one.
    """
    engine = client.engine
    found = [
        engine.job(engine.ref(listed.scope, listed.seen.id), name=listed.name)
        for listed in engine.driver.list(job_set, None)
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
    """The jobs of earlier attempts at that task, those that have ended too."""

    def precedes(job: Job) -> bool:
        other = runs.task_of(job.name)
        same = other and (other.step, other.task_id) == (task.step, task.task_id)
        return bool(other and same and other.attempt < task.attempt)

    return [job for job in of_run(client, run, job_set) if precedes(job)]


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
    client: Client, find: Find, spec: JobSpec, *, reason: str, patience: float
) -> bool:
    """As `end`, such that no process of what `find` finds is left when another attempt begins.

    `spec` is that of the jobs. An engine may tell an end before a job's processes have ended.
    """
    found: list[Job] = []

    def left() -> list[Job]:
        found[:] = find()
        return going(found)

    if not end(client, left, reason=reason, patience=patience):
        return False
    if not client.driver.capabilities.confirms_end:
        _sit_out(found, client.driver.linger(spec))
    return True


def _sit_out(ended: Iterable[Job], linger: float) -> None:
    """Wait until no process can be left of jobs that were ended, and may have begun."""
    unsure = [record for job in ended if _may_linger(record := job.record)]
    until = max((record.finished_at or time.time() for record in unsure), default=0.0) + linger
    # The engine's clock may be another than ours.
    time.sleep(min(linger, max(0.0, until - time.time())))


def _may_linger(record: Record) -> bool:
    """Whether its command told no end of its own; when it began, a list need not tell."""
    return record.exit_code is None and record.signal is None and record.cause not in NEVER_BEGUN
