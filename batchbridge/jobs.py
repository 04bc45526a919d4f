"""Jobs in hand: wait for them, follow them, read what they write, ask for their ends."""

from __future__ import annotations

import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from batchbridge import submit
from batchbridge.driver import BatchDriver
from batchbridge.errors import (
    BatchBridgeError,
    JobFailed,
    Unsupported,
    WaitTimeout,
)
from batchbridge.logs import Decoder, LogChunk, output
from batchbridge.model import Cause, Explanation, Intent, JobRef, JobState, Stream
from batchbridge.states import Record
from batchbridge.values import check_text
from batchbridge.watched import Event, Watched, job_json, run_callbacks

if TYPE_CHECKING:
    from batchbridge.engine import Engine

BOTH: tuple[Stream, ...] = ("stdout", "stderr")

TAIL, TAIL_SIZE = 20, 1 << 16
"""Lines, and characters, of the end of a failed job's output that its error shows at most."""

PATIENCE = 10.0
"""Seconds for which that end is read while nothing comes: the error must not wait for ever."""


class Job:
    """A submitted job. It goes on whether or not anybody holds this."""

    def __init__(self, engine: Engine, watched: Watched) -> None:
        self._engine = engine
        self._watched = watched

    def __repr__(self) -> str:
        return f"<Job {self.ref} {self.record.state}>"

    @property
    def ref(self) -> JobRef:
        """All it takes to find this job again, from anywhere its profile is defined."""
        return self._watched.ref

    @property
    def name(self) -> str:
        """The name it was submitted with, where that is known here."""
        return self._watched.name

    @property
    def job_set(self) -> str:
        """The job set it was submitted in, where that is known here."""
        return self._watched.job_set

    @property
    def record(self) -> Record:
        """What is concluded so far; kept up to date once somebody waits."""
        return self._watched.record

    def done(self) -> bool:
        """Whether the job is known to be terminal."""
        return self.record.terminal

    def refresh(self) -> Record:
        """Ask the engine once, now. Raises where it cannot be asked, or does not know the job."""
        self._watched.ledger.refresh([self.ref.id])
        self._watched.check()
        return self.record

    def wait(self, timeout: float | None = None) -> Record:
        """The terminal record. WaitTimeout after `timeout` seconds; the job goes on."""
        self._watch()
        ledger = self._watched.ledger
        with ledger.changed:
            over = ledger.changed.wait_for(self._over, timeout)
            self._watched.check()
        if not over:
            raise WaitTimeout(f"{self.ref} is {self.record.state} after {timeout:g} s")
        return self.record

    def result(self, timeout: float | None = None) -> Record:
        """The terminal record of a job that SUCCEEDED, else JobFailed with the end of its logs."""
        record = self.wait(timeout)
        if record.exit_status != 0:
            raise JobFailed(describe(self.ref, record), record=record, log_tail=self._tail())
        return record

    def cancel(self, *, reason: str = "") -> None:
        """Ask for its end; a job that is over is left as it is. Observe what becomes of it."""
        cancel([self], reason=reason)

    def events(self) -> Iterator[Event]:
        """Its changes, from the first to the terminal one; waits for those to come."""
        self._watch()
        told = 0
        while True:
            news = self._events_after(told)
            yield from news
            told += len(news)
            self._watched.check()
            if self.done() and told == len(self._watched.events):
                return

    def history(self, after: int = 0) -> list[Event]:
        """Its changes so far, but for the first `after`; kept up to date once somebody waits."""
        return self._watched.events[after:]

    def _events_after(self, told: int) -> list[Event]:
        """The events after the first `told`, once there are some or none can come."""
        changed, events = self._watched.ledger.changed, self._watched.events
        with changed:
            changed.wait_for(lambda: len(events) > told or self._over())
            return events[told:]

    def logs(self, *, streams: Iterable[Stream] = BOTH, follow: bool = True) -> Iterator[LogChunk]:
        """Its output, attempt by attempt, to its end; without `follow`, what is there now."""
        if follow:
            self._watch()
        elif self.record.state in (None, JobState.SUBMITTED):
            self.refresh()
        return output(self._watched, streams, follow=follow)

    def explain(self) -> Explanation | None:
        """Why it is where it is, if the engine can say."""
        return self._engine.driver.explain(self.ref)

    def hints(self) -> Mapping[str, str]:
        """Where else to look for it: label -> link or command."""
        return self._engine.driver.hints(self.ref)

    def details(self) -> Mapping[str, str]:
        """What the engine calls the pieces of its latest attempt: label -> name or command."""
        return self._engine.driver.details(self.ref, max(self.record.attempt, 1))

    @property
    def notes(self) -> tuple[str, ...]:
        """What its engine's driver said of it when it was submitted here."""
        return self._watched.notes

    def add_done_callback(self, fn: Callable[[Job], None]) -> None:
        """Call ``fn(job)`` once it is terminal or known to be missing; at once if it is.

        It runs in a thread that watches: be short, and do not wait for a job in it.
        """
        self._watch()
        with self._watched.ledger.changed:
            self._watched.callbacks.append(lambda: fn(self))
            now = self._watched.settled
        if now:
            run_callbacks(self._watched)

    def to_json(self) -> dict[str, Any]:
        """The job as a line of ``status --json``."""
        return job_json(self.ref, self.name, self.job_set, self.record)

    def _watch(self) -> None:
        if not self._watched.settled:
            self._engine.hub.pump(self.ref.scope)

    def _over(self) -> bool:
        return self._watched.settled or self._watched.error() is not None

    def _tail(self) -> str:
        """The last lines of its output, or why they cannot be had."""
        text, decoders = "", {stream: Decoder() for stream in BOTH}
        until = time.monotonic() + PATIENCE
        try:
            for chunk in self.logs(follow=False):
                text = (text + decoders[chunk.stream].text(chunk.data))[-TAIL_SIZE:]
                if not chunk.data and time.monotonic() > until:
                    break
        except BatchBridgeError as error:
            return f"(its logs cannot be read: {error})"
        return "".join(deque(StringIO(text), maxlen=TAIL))


def describe(ref: JobRef, record: Record) -> str:
    """One line for people: how the job ended, and why."""
    how = f"exit code {record.exit_code}" if record.exit_code is not None else ""
    how = f"signal {record.signal}" if record.signal is not None else how
    cause = str(record.cause or "") if str(record.cause) != record.state else ""
    facts = ", ".join(filter(None, (cause, how, record.message)))
    return f"{ref} {record.state}" + (f": {facts}" if facts else "")


def as_completed(
    jobs: Iterable[Job | BatchBridgeError], timeout: float | None = None
) -> Iterator[Job]:
    """The jobs as they become terminal (or known to be missing). WaitTimeout after `timeout`.

    An error among them, as :meth:`Client.submit_many` gives in the place of a job, is raised first.
    """
    pending = dict.fromkeys(accepted(jobs))
    ended: queue.SimpleQueue[Job] = queue.SimpleQueue()
    deadline = None if timeout is None else time.monotonic() + timeout
    for job in pending:
        job.add_done_callback(ended.put)
    while pending:
        left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
        try:
            job = ended.get(timeout=max(left, 0.0))
        except queue.Empty:
            _check_pending(pending, overdue=left <= 0)
        else:
            del pending[job]
            yield job


def accepted(outcomes: Iterable[Job | BatchBridgeError]) -> Iterator[Job]:
    """The jobs; raises the first error that stands among them."""
    for outcome in outcomes:
        if isinstance(outcome, BatchBridgeError):
            raise outcome
        yield outcome


def _check_pending(pending: Mapping[Job, None], *, overdue: bool) -> None:
    if overdue:
        raise WaitTimeout(f"{len(pending)} jobs are not done")
    for job in pending:
        job._watched.check()


def news(jobs: Sequence[Job], *, every: float = 0.2) -> Iterator[list[Event]]:
    """What happens to all these jobs until the last is over: the new events, each `every` seconds.

    A list may be empty. `jobs` may grow meanwhile. A job that its engine does not know counts as
    over. Raises where an engine cannot be asked.
    """
    told: dict[Job, int] = {}
    begun = 0
    while told or begun < len(jobs):
        for job in jobs[begun:]:
            told[job] = 0
            job._watch()
        begun = len(jobs)
        over = {job for job in told if job._watched.settled}
        fresh = {job: job.history(after) for job, after in told.items()}
        told = {job: after + len(fresh[job]) for job, after in told.items() if job not in over}
        yield sorted(itertools.chain(*fresh.values()), key=lambda event: event.observed_at)
        for job in told:
            if job._watched.ledger.trouble is not None:
                raise job._watched.ledger.trouble
        time.sleep(every if told else 0)


def refresh(jobs: Iterable[Job]) -> None:
    """Ask each engine once about all these jobs."""
    for _, group in _by_ledger(jobs):
        group[0]._watched.ledger.refresh([job.ref.id for job in group])


def cancel(jobs: Iterable[Job], *, reason: str = "") -> None:
    """Ask for the end of all these jobs, with one call for each scope."""
    why = why_of("cancelled", reason)
    for engine, group in _by_ledger(jobs):
        going = [job for job in group if not job.done()]
        intent = Intent(Cause.CANCELLED, time.time(), message=why)
        for job in going:
            job._watched.ledger.intend(job.ref.id, intent)
        if going:
            _cancel(engine, going, intent)


def bind(outcomes: Sequence[Job | BatchBridgeError]) -> None:
    """Make jobs one gang: a member's refusal, or end without success, is the end of all."""
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]

    def end_rest(ended: Job) -> None:
        message = f"gang member {ended.ref.id} did not succeed"
        for job in jobs if ended.record.exit_status != 0 else ():
            intent = Intent(Cause.CANCELLED, time.time(), message=message)
            job._watched.ledger.end(job._watched, intent)

    if len(jobs) < len(outcomes):
        cancel(jobs, reason="a member of the gang was refused")
    for job in jobs:
        job.add_done_callback(end_rest)


def why_of(what: str, reason: str) -> str:
    """The reason that is told the engine: who did `what`, where none is given.

    One that reads as a Cause has that before it: drivers take a bare one for the client's own word.
    """
    check_text("reason", reason)
    who = f"{what} by {submit.user_name()}"
    return f"{who}: {reason}" if reason in Cause.__members__ else reason or who


def _cancel(engine: Engine, going: Sequence[Job], intent: Intent) -> None:
    """Ask; what was surely not heard is no intent that could explain an end."""
    try:
        engine.driver.cancel([job.ref for job in going], reason=intent.message)
    except BatchBridgeError as error:
        if not submit.in_doubt(error, alone=len(going) == 1):
            for job in going:
                job._watched.ledger.withdraw(job.ref.id, intent)
        raise


def able(jobs: Iterable[Job], capability: str) -> list[tuple[Engine, list[Job]]]:
    """The jobs by engine and scope; Unsupported, before any is asked, where one cannot do this."""
    groups = list(_by_ledger(jobs))
    for engine, _ in groups:
        check_able(engine.driver, capability)
    return groups


def check_able(driver: BatchDriver[Any], capability: str) -> None:
    """Unsupported where the driver does not declare this verb."""
    if not getattr(driver.capabilities, capability):
        raise Unsupported(
            f"{driver.name} has no {capability}",
            path=capability,
            remedy="batchbridge drivers --markdown shows what each can do",
        )


def _by_ledger(jobs: Iterable[Job]) -> Iterator[tuple[Engine, list[Job]]]:
    groups: dict[int, list[Job]] = {}
    for job in jobs:
        groups.setdefault(id(job._watched.ledger), []).append(job)
    for group in groups.values():
        yield group[0]._engine, group
