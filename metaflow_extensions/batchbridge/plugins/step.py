"""One attempt at one task, from here: submit its job, show what it writes, say how it ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY
from metaflow.metadata_provider import MetaDatum
from metaflow.metadata_provider.util import sync_local_metadata_from_datastore
from metaflow.metaflow_config import DATASTORE_LOCAL_DIR

from batchbridge import BatchBridgeError, Client, Job, JobState, Record
from batchbridge.errors import TransportError

from . import jobs, runs, task_env, telling
from .attempts import Attempt, Order
from .attributes import BatchBridgeException
from .clients import connect
from .job import job_spec, run_of, some_job_spec, summary, task_of
from .joblogs import JobLogs
from .runs import Run, Task
from .stops import Stopped, Stops
from .telling import explained, say

PATIENCE = 600.0
"""Seconds that an attempt waits for the confirmed end of the one before."""

FAREWELL = 30.0
"""Seconds that a process that was stopped waits for the end of its job."""


@dataclass(frozen=True)
class Step:
    """An attempt, and Metaflow's metadata provider in this process."""

    attempt: Attempt
    metadata: Any

    @property
    def order(self) -> Order:
        return self.attempt.order

    @property
    def run(self) -> Run:
        return run_of(self.attempt)

    @property
    def task(self) -> Task:
        return task_of(self.attempt)


def run(step: Step) -> int:
    """Run one attempt to its end; the exit code that tells Metaflow's runtime how it went."""
    stops = Stops(step.order.launcher)
    with stops.watched(), connect(step.attempt.decorator.target) as client:
        try:
            return _attempt(step, client, stops)
        except Stopped as stopped:
            say(f"stopped by {stopped}")
            return METAFLOW_EXIT_DISALLOW_RETRY
        except BatchBridgeError as error:
            say(explained(error))
            return 1 if error.retryable else METAFLOW_EXIT_DISALLOW_RETRY
        finally:
            _fetch_metadata(step)


def _attempt(step: Step, client: Client, stops: Stops) -> int:
    if step.task.attempt:
        _after_the_last(step, client)
    task_env.offer_headers()
    with stops.held():
        resolved = client.engine.resolved
        spec = job_spec(step.attempt, resolved)
        job = client.submit(spec, key=step.order.key)
        if client.driver.capabilities.list == "absent":
            runs.remember_job(step.run, step.task, str(job.ref))
    with _ended(client, job):
        telling.submitted(job, summary(spec, resolved))
        _register(step, {"batchbridge-job": str(job.ref), "batchbridge-backend": job.ref.backend})
        with telling.Telling(job):
            _follow(step, job)
            record = job.wait()
        details = _details(job)
    _register(step, {**_facts(record), **_named(details)})
    telling.ended(job, record, details)
    return _verdict(record)


def _after_the_last(step: Step, client: Client) -> None:
    """Before a retry: the end of the last attempt's job confirmed, and @retry's pause."""
    own = step.attempt.decorator
    find = partial(jobs.earlier, client, step.run, step.task, own.target.job_set)
    spec, reason = some_job_spec(own, client.engine.resolved), "its attempt is over"
    if not jobs.end_before_another(client, find, spec, reason=reason, patience=PATIENCE):
        raise BatchBridgeException("the last attempt's job does not end; nothing was started")
    minutes = own.minutes_between_retries
    if minutes:
        say(f"Sleeping {minutes:g} minutes before the next attempt.")
        time.sleep(minutes * 60)


@contextlib.contextmanager
def _ended(client: Client, job: Job) -> Iterator[None]:
    """Whatever ends the block, the job does not outlive it."""
    try:
        yield
    except BaseException as error:
        why = str(error) if isinstance(error, Stopped) else type(error).__name__
        find = partial(jobs.going, [job])
        jobs.end(client, find, reason=f"the step was stopped: {why}", patience=FAREWELL)
        raise


def _follow(step: Step, job: Job) -> None:
    """Show and keep the output until the job has ended."""
    datastore = step.attempt.datastore.get_task_datastore(
        mode="w",
        run_id=step.order.run_id,
        step_name=step.task.step,
        task_id=step.order.task_id,
        attempt=step.order.attempt,
    )
    with JobLogs(datastore) as logs:
        while not _followed(job, logs):
            logs.rewind()


def _followed(job: Job, logs: JobLogs) -> bool:
    """Whether all that can be had of the output was; an outage breaks off, and ends no job."""
    try:
        for chunk in job.logs():
            logs.write(chunk)
    except TransportError as error:
        say(f"[{job.ref}] its output cannot be read now: {error}")
        return job.done()
    except BatchBridgeError as error:
        say(f"[{job.ref}] its output cannot be shown: {error}")
    return True


def _verdict(record: Record) -> int:
    if record.state is JobState.SUCCEEDED:
        return 0
    return METAFLOW_EXIT_DISALLOW_RETRY if record.state is JobState.CANCELLED else 1


# -- what is told ----------------------------------------------------------------------------


def _facts(record: Record) -> dict[str, str]:
    facts = {
        "batchbridge-state": record.state,
        "batchbridge-cause": record.cause,
        "batchbridge-node": record.node,
        "batchbridge-exit-code": record.exit_code,
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _details(job: Job) -> Mapping[str, str]:
    """What the engine calls the pieces of the job, where it still knows."""
    try:
        return job.details()
    except BatchBridgeError:
        return {}


def _named(details: Mapping[str, str]) -> dict[str, str]:
    """The names among them, for the metadata; the others are commands, which hold blanks."""
    return {f"batchbridge-{label}": name for label, name in details.items() if " " not in name}


def _register(step: Step, facts: Mapping[str, str]) -> None:
    """Write facts into the task's metadata, tagged with the attempt."""
    tags = [f"attempt_id:{step.order.attempt}"]
    data = [MetaDatum(field=n, value=v, type=n, tags=tags) for n, v in facts.items()]
    step.metadata.register_metadata(step.order.run_id, step.task.step, step.order.task_id, data)


def _fetch_metadata(step: Step) -> None:
    """Bring home what the step wrote into a metadata directory of its own."""
    if step.attempt.local or step.metadata.TYPE != "local":
        return
    # A job that never came to run has left none; that is not what the user must hear about.
    with contextlib.suppress(Exception):
        sync_local_metadata_from_datastore(
            DATASTORE_LOCAL_DIR,
            step.attempt.datastore.get_task_datastore(
                step.order.run_id, step.task.step, step.order.task_id
            ),
        )
