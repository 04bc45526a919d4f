"""One followed job: its record, its events, and what the client enforces for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchbridge.errors import BatchBridgeError, NoSuchJob
from batchbridge.model import Cause, JobRef, JobState, rfc3339
from batchbridge.states import Change, Record

if TYPE_CHECKING:
    from batchbridge.ledger import Ledger

log = logging.getLogger("batchbridge")


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one job, as it was observed."""

    ref: JobRef
    name: str
    job_set: str
    record: Record
    at: float | None  #: when it happened, on the engine's clock
    observed_at: float  #: when this process learnt of it
    inferred: bool  #: nobody said so; what followed implies it

    def to_json(self) -> dict[str, Any]:
        """The event as a line of ``watch --json``."""
        return {
            "event": "state",
            **job_json(self.ref, self.name, self.job_set, self.record),
            "at": rfc3339(self.at),
            "observed_at": rfc3339(self.observed_at),
            "inferred": self.inferred,
        }


def job_json(ref: JobRef, name: str, job_set: str, record: Record) -> dict[str, Any]:
    """A job as one line of JSON: the fields that users script against."""
    return {
        "ref": str(ref),
        "name": name,
        "job_set": job_set,
        "backend": ref.backend,
        "state": record.state,
        "attempt": record.attempt,
        "cause": record.cause,
        "exit_code": record.exit_code,
        "signal": record.signal,
        "message": record.message,
        "node": record.node,
        "submitted_at": rfc3339(record.submitted_at),
        "started_at": rfc3339(record.started_at),
        "finished_at": rfc3339(record.finished_at),
        "terminal": record.terminal,
    }


@dataclass(frozen=True, slots=True)
class Policy:
    """What the client enforces for a job, because its engine does not promise it."""

    once: bool = False  #: end the job at the first end of an attempt
    timeout: float | None = None
    queue_timeout: float | None = None
    start_timeout: float | None = None

    @property
    def limits(self) -> bool:
        """Whether there is a limit of time to enforce."""
        return (self.timeout, self.queue_timeout, self.start_timeout) != (None, None, None)


class Watched:
    """One followed job: its record as far as concluded, and its events so far."""

    __slots__ = (
        "__weakref__",
        "callbacks",
        "events",
        "job_set",
        "ledger",
        "name",
        "notes",
        "policy",
        "record",
        "ref",
    )

    def __init__(self, ref: JobRef, ledger: Ledger, *, name: str, job_set: str) -> None:
        self.ref = ref
        self.ledger = ledger
        self.name = name
        self.job_set = job_set
        self.policy = Policy()
        self.notes: tuple[str, ...] = ()
        self.record = Record(ref.id)
        self.events: list[Event] = []
        self.callbacks: list[Callable[[], None]] = []

    @property
    def settled(self) -> bool:
        """Nothing more will be learnt: the job is terminal, or nobody knows it."""
        return self.record.terminal or self.record.missing

    def error(self) -> BatchBridgeError | None:
        """Why waiting for this job is in vain, if it is."""
        if self.record.missing:
            return NoSuchJob(
                f"{self.ref.backend} knows no job {self.ref}",
                remedy="batchbridge list shows the jobs that it knows",
            )
        return None if self.record.terminal else self.ledger.trouble

    def check(self) -> None:
        """Raise :meth:`error`, if there is one."""
        problem = self.error()
        if problem is not None:
            raise problem


def event_of(watched: Watched, change: Change, now: float) -> Event:
    """The event that this change of that job is, learnt now."""
    return Event(
        watched.ref,
        watched.name,
        watched.job_set,
        change.record,
        change.at,
        now,
        change.inferred,
    )


def overdue(watched: Watched, now: float) -> Cause | None:
    """The limit that this job has passed, by the asker's clock alone."""
    policy, last = watched.policy, watched.events[-1]
    if watched.record.state is JobState.RUNNING:
        late = _passed(policy.timeout, now - last.observed_at)
        return Cause.TIMEOUT if late else None
    if last.record.settling:
        return None
    waits = not any(event.record.state is JobState.RUNNING for event in watched.events)
    if waits and _passed(policy.queue_timeout, now - watched.events[0].observed_at):
        return Cause.UNSCHEDULABLE
    prepared = last.record.state is JobState.PENDING
    late = prepared and _passed(policy.start_timeout, now - last.observed_at)
    return Cause.START_ERROR if late else None


def _passed(limit: float | None, seconds: float) -> bool:
    return limit is not None and seconds > limit


def run_callbacks(watched: Watched) -> None:
    """Call whoever asked to be told of the end; one that raises does not stop the others."""
    while watched.callbacks:
        try:
            callback = watched.callbacks.pop(0)
        except IndexError:  # another thread was faster
            return
        try:
            callback()
        except Exception:
            log.exception("a callback for %s raised", watched.ref)
