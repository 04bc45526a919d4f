"""What a step's process says of its job on standard error: what was asked, where it is, its end."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Mapping
from types import TracebackType

from batchbridge import BatchBridgeError, Event, Job, JobState, Record
from batchbridge.errors import OutcomeUnknown
from batchbridge.jobs import describe

from . import onebyone

WAITED = 10.0
"""Seconds that a job waits before the engine is asked why, and again after as many."""

PATIENCE = 10.0
"""Seconds that the end of a job waits for what is still being said of it."""

WAITING = (JobState.SUBMITTED, JobState.QUEUED, JobState.LEASED, JobState.PENDING)


def say(text: str) -> None:
    """Tell whoever watches, who may be gone."""
    lines = [line.encode(errors="backslashreplace") + b"\n" for line in text.splitlines()]
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.flush()
        onebyone.show(lines, sys.stderr.buffer)


def explained(error: BatchBridgeError) -> str:
    """What happened and, in a line of its own, what to do about it: often a command."""
    # The key of a submit that nobody answered is the run's, which ends what came of it.
    unheard = error.__cause__ if isinstance(error, OutcomeUnknown) else None
    remedy = unheard.remedy if isinstance(unheard, BatchBridgeError) else error.remedy
    return f"{error}\n→ {remedy}" if remedy else str(error)


def remote(job: Job) -> bool:
    """Whether its engine is elsewhere. Of a job on this machine only what goes wrong is told."""
    return job.ref.backend != "local"


def submitted(job: Job, asked: str) -> None:
    """The job, what it asks for, and where else to look for it."""
    say(f"[{job.ref}] Job is submitted{f': {asked}' if asked else ''}.")
    for note in job.notes:
        say(f"[{job.ref}] note: {note}")
    if hints := listed(job.hints()):
        say(f"[{job.ref}] {hints}")


def listed(facts: Mapping[str, str]) -> str:
    """Facts in one line."""
    return "; ".join(f"{label}: {fact}" for label, fact in facts.items())


class Telling:
    """Says each state of a job as it comes, and why it waits. A context manager."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._over = threading.Event()
        work = (self._states, self._reasons) if remote(job) else ()
        self._threads = [threading.Thread(target=one, daemon=True) for one in work]

    def __enter__(self) -> Telling:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads if kind is None else ():
            thread.join(PATIENCE)

    # What goes wrong with the engine is met, and told, by whoever waits for the job.

    def _states(self) -> None:
        with contextlib.suppress(BatchBridgeError):
            for event in self._job.events():
                self._say(event)

    def _reasons(self) -> None:
        said = ""
        while not self._over.wait(WAITED) and self._job.record.state in WAITING:
            why = reason(self._job)
            if why and why != said:
                say(f"[{self._job.ref}] it waits: {why}")
                said = why

    def _say(self, event: Event) -> None:
        """A state that the engine told of; the end is told when all output was shown."""
        record = event.record
        if event.inferred or record.state in (None, JobState.SUBMITTED) or record.terminal:
            return
        where = f" on {record.node}" if record.node else ""
        why = f": {record.message}" if record.message else ""
        say(f"[{self._job.ref}] {str(record.state).lower()}{where}{why}")


def reason(job: Job, told: str = "") -> str:
    """Why the job is not running, as the engine says; of what is `told` already, the remedy."""
    try:
        why = job.explain()
    except BatchBridgeError:
        return ""
    return str(why.remedy if why and why.summary in told else why or "")


def ended(job: Job, record: Record, details: Mapping[str, str]) -> None:
    """The last line, with the end; of a failure, what the engine says and where it was."""
    if record.state is JobState.SUCCEEDED:
        if remote(job):
            say(f"[{job.ref}] succeeded")
        return
    if details:
        say(f"[{job.ref}] {listed({**job.hints(), **details})}")
    if record.started_at is None and (why := reason(job, record.message)):
        say(f"[{job.ref}] it did not start: {why}")
    fault = " (segmentation fault)" if record.signal == 11 or record.exit_code == 139 else ""
    say(f"[{describe(job.ref, record)}{fault}]")
