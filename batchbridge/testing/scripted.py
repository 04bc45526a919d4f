"""A driver without an engine: jobs pass the states that a script gives them, when told to.

::

    driver = ScriptedDriver()
    with Client(driver=driver, journal=False) as client:
        job = client.submit(["anything"])
        driver.say(job.ref.id, JobState.RUNNING)
        driver.say(job.ref.id, JobState.SUCCEEDED, final=True, exit_code=0)
        assert job.wait().state is JobState.SUCCEEDED
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from batchbridge.driver import BatchDriver, Capabilities, Known, NoOptions
from batchbridge.errors import CursorExpired
from batchbridge.model import (
    Absent,
    Batch,
    Explanation,
    JobRef,
    JobState,
    Listed,
    LogPage,
    Receipt,
    Scope,
    Seen,
    Stream,
    Submission,
)

Script = Callable[[Submission], Iterable[Seen]]
"""What is said of a job as soon as it is submitted, its id being its key."""

HEARTBEAT = 0.5


def stay_queued(submission: Submission) -> Iterable[Seen]:
    """The script of an engine that never gets round to the job."""
    yield Seen(submission.key, JobState.QUEUED, 1)


def succeed(submission: Submission) -> Iterable[Seen]:
    """The script of an engine that is done at once."""
    for state in (JobState.QUEUED, JobState.PENDING, JobState.RUNNING):
        yield Seen(submission.key, state, 1)
    yield Seen(submission.key, JobState.SUCCEEDED, 1, final=True, exit_code=0)


@dataclass(frozen=True, slots=True)
class ScriptedSettings:
    """There is nothing to reach."""


@dataclass(slots=True)
class Calls:
    """What was asked of the driver, in order."""

    submitted: list[Submission] = field(default_factory=list)
    snapshots: list[frozenset[str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    watches: list[str | None] = field(default_factory=list)


class ScriptedDriver(BatchDriver[ScriptedSettings]):
    """An engine in memory. Its jobs do what `script` says, and what :meth:`say` is told.

    Attempts are numbered by the script, 1 unless it says otherwise. A cancelled job is CANCELLED at
    once. Safe from several threads. A subclass with other capabilities is another engine.
    """

    name = "scripted"
    contract = 1
    capabilities: ClassVar[Capabilities] = Capabilities(
        idempotency="exact",
        push=True,
        absence=True,
        history=True,
        no_reruns=True,
        counts_attempts=True,
        labels=True,
        list="all",
        explain=True,
        render=True,
    )
    Settings = ScriptedSettings
    Options = NoOptions

    def __init__(
        self,
        settings: ScriptedSettings | None = None,
        *,
        script: Script = stay_queued,
    ) -> None:
        super().__init__(settings or ScriptedSettings())
        self.script = script
        self.calls = Calls()
        self._news = threading.Condition()
        self._jobs: dict[str, Submission] = {}
        self._said: list[Seen] = []
        self._of_job: dict[str, list[Seen]] = {}
        self._logs: dict[tuple[str, int, Stream], bytes] = {}

    # -- what the script is told -------------------------------------------------------------

    def say(self, job_id: str, state: JobState, attempt: int | None = 1, **facts: Any) -> None:
        """The engine says this of one job."""
        self.tell([Seen(job_id, state, attempt, **facts)])

    def tell(self, said: Iterable[Seen]) -> None:
        """The engine says all this at once."""
        with self._news:
            for seen in said:
                self._said.append(seen)
                self._of_job.setdefault(seen.id, []).append(seen)
            self._news.notify_all()

    def write(
        self, job_id: str, data: bytes, *, stream: Stream = "stdout", attempt: int = 1
    ) -> None:
        """The job writes this."""
        with self._news:
            place = (job_id, attempt, stream)
            self._logs[place] = self._logs.get(place, b"") + data
            self._news.notify_all()

    def forget(self, job_id: str) -> None:
        """The engine collects the job as garbage: from now on it denies it."""
        with self._news:
            del self._jobs[job_id]
            del self._of_job[job_id]

    # -- the contract ------------------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Accept everything; a job's id is its key."""
        for submission in submissions:
            with self._news:
                self.calls.submitted.append(submission)
                created = submission.key not in self._jobs
                self._jobs.setdefault(submission.key, submission)
            if created:
                self.tell(self.script(submission))
            yield Receipt(submission.key, id=submission.key, created=created)

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """All that was said of these jobs."""
        with self._news:
            self.calls.snapshots.append(frozenset(known))
            said = [seen for job_id in known for seen in self._of_job.get(job_id, ())]
            absent = [Absent(job_id, time.time()) for job_id in known if job_id not in self._jobs]
        return Batch((*said, *absent))

    def watch(self, scope: Scope, cursor: str | None, known: Known) -> Iterator[Batch]:
        """Everything that is said, as it is said; a cursor counts what was said before."""
        with self._news:
            self.calls.watches.append(cursor)
            place = len(self._said) if cursor is None else int(cursor)
            if place > len(self._said):
                raise CursorExpired(f"nothing is known of {cursor}")
        yield Batch(cursor=str(place))
        while True:
            with self._news:
                if len(self._said) == place:
                    self._news.wait(HEARTBEAT)
                said = tuple(self._said[place:])
            place += len(said)
            yield Batch(said, str(place))

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """End them at once, unless they have ended."""
        with self._news:
            going = [ref.id for ref in refs if not self._over(ref.id)]
            self.calls.cancelled += [ref.id for ref in refs]
        self.tell(Seen(job_id, JobState.CANCELLED, final=True) for job_id in going)

    def read_logs(
        self,
        ref: JobRef,
        attempt: int,
        stream: Stream,
        cursor: str | None,
        *,
        ended: bool,
        wait: float,
    ) -> LogPage:
        """What :meth:`write` was given."""
        start, name = int(cursor or 0), (ref.id, attempt, stream)

        def written() -> bytes:
            return self._logs.get(name, b"")[start:]

        with self._news:
            if not ended:
                self._news.wait_for(written, wait)
            data = written()
        return LogPage(data, str(start + len(data)), eof=ended)

    def list(self, job_set: str | None, user: str | None) -> Iterable[Listed]:
        """The jobs of that set and that user."""
        with self._news:
            jobs = [job for job in self._jobs.values() if job_set in (None, job.job_set)]
            return [self._listed(job) for job in jobs if user in (None, job.user)]

    def explain(self, ref: JobRef) -> Explanation | None:
        """A queued job waits for its script."""
        with self._news:
            said = self._of_job.get(ref.id)
        queued = said and said[-1].state is JobState.QUEUED
        return Explanation("the script has not let it run") if queued else None

    def render(self, submission: Submission) -> Mapping[str, Any]:
        """The job's form."""
        return submission.spec.to_json()

    def _listed(self, job: Submission) -> Listed:
        seen = self._of_job[job.key][-1]
        return Listed((), job.spec.name, job.job_set, job.user, seen, labels=job.spec.labels)

    def _over(self, job_id: str) -> bool:
        said = self._of_job.get(job_id)
        return job_id not in self._jobs or bool(said and said[-1].final)
