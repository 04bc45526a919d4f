"""The Python API: submit jobs, wait for them, read what they write, on any engine."""

from __future__ import annotations

import itertools
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from batchbridge import submit
from batchbridge.driver import BatchDriver
from batchbridge.errors import (
    BatchBridgeError,
    DriverBug,
    JobFailed,
    OutcomeUnknown,
    SpecError,
    Unsupported,
    WaitTimeout,
)
from batchbridge.hub import Hub
from batchbridge.journal import Journal
from batchbridge.ledger import Event, Policy, Watched, job_json, run_callbacks
from batchbridge.logs import Decoder, LogChunk, follow
from batchbridge.model import (
    Cause,
    Explanation,
    Gang,
    Intent,
    JobRef,
    JobSpec,
    JobState,
    Listed,
    Receipt,
    Scope,
    Seen,
    Stream,
    Submission,
)
from batchbridge.settings import Config, Resolved
from batchbridge.states import Record

log = logging.getLogger("batchbridge")

BOTH: tuple[Stream, ...] = ("stdout", "stderr")
TAIL = 20


class Engine:
    """One profile in use: its driver, and the hub that watches through it."""

    def __init__(self, resolved: Resolved, driver: BatchDriver[Any] | None = None) -> None:
        self.resolved = resolved
        self.driver: BatchDriver[Any] = driver or resolved.driver_cls(resolved.settings)
        self.hub = Hub(self.driver)

    @property
    def address(self) -> str:
        """How references begin here: ``backend://profile``."""
        return self.ref((), "").engine

    def ref(self, scope: Scope, job_id: str) -> JobRef:
        """The reference of that job here."""
        return JobRef(self.resolved.backend, self.resolved.ref_profile, scope, job_id)

    def job(self, ref: JobRef, *, name: str = "", job_set: str = "") -> Job:
        """The handle of that job; no I/O."""
        return Job(self, self.hub.ledger(ref.scope).follow(ref, name=name, job_set=job_set))

    def close(self) -> None:
        """Stop watching and let go of connections."""
        self.hub.close()
        self.driver.close()


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
        self._raise_error()
        return self.record

    def wait(self, timeout: float | None = None) -> Record:
        """The terminal record. WaitTimeout after `timeout` seconds; the job goes on."""
        self._watch()
        ledger = self._watched.ledger
        with ledger.changed:
            ledger.changed.wait_for(self._over, timeout)
        self._raise_error()
        if not self.done():
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
            self._raise_error()
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
        return _follow(self._watched, streams, follow=follow)

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

    def _raise_error(self) -> None:
        problem = self._watched.error()
        if problem is not None:
            raise problem

    def _tail(self) -> str:
        """The last lines of its output, or why they cannot be had."""
        lines: deque[str] = deque(maxlen=TAIL)
        decoders = {stream: Decoder() for stream in BOTH}
        try:
            for chunk in self.logs(follow=False):
                lines.extend(decoders[chunk.stream].text(chunk.data).splitlines(keepends=True))
        except BatchBridgeError as error:
            return f"(its logs cannot be read: {error})"
        return "".join(lines)


_follow = follow


def describe(ref: JobRef, record: Record) -> str:
    """One line for people: how the job ended, and why."""
    how = f"exit code {record.exit_code}" if record.exit_code is not None else ""
    how = f"signal {record.signal}" if record.signal is not None else how
    facts = ", ".join(filter(None, (str(record.cause or ""), how, record.message)))
    return f"{ref} {record.state}" + (f": {facts}" if facts else "")


def as_completed(jobs: Iterable[Job], timeout: float | None = None) -> Iterator[Job]:
    """The jobs as they become terminal (or known to be missing). WaitTimeout after `timeout`."""
    pending = dict.fromkeys(jobs)
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


def _check_pending(pending: Mapping[Job, None], *, overdue: bool) -> None:
    if overdue:
        raise WaitTimeout(f"{len(pending)} jobs are not done")
    for job in pending:
        job._raise_error()


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
    why = reason or f"cancelled by {submit.user_name()}"
    for engine, group in _by_ledger(jobs):
        going = [job for job in group if not job.done()]
        for job in going:
            intent = Intent(Cause.CANCELLED, time.time(), message=why)
            job._watched.ledger.intend(job.ref.id, intent)
        if going:
            engine.driver.cancel([job.ref for job in going], reason=why)


def _able(jobs: Iterable[Job], capability: str) -> list[tuple[Engine, list[Job]]]:
    """The jobs by engine and scope; Unsupported, before any is asked, where one cannot do this."""
    groups = list(_by_ledger(jobs))
    for engine, _ in groups:
        _check_able(engine.driver, capability)
    return groups


def _check_able(driver: BatchDriver[Any], capability: str) -> None:
    if not getattr(driver.capabilities, capability):
        raise Unsupported(
            f"{driver.name} has no {capability}",
            path=capability,
            remedy="batchbridge drivers shows what each can do",
        )


def _by_ledger(jobs: Iterable[Job]) -> Iterator[tuple[Engine, list[Job]]]:
    groups: dict[int, list[Job]] = {}
    for job in jobs:
        groups.setdefault(id(job._watched.ledger), []).append(job)
    for group in groups.values():
        yield group[0]._engine, group


class Client:
    """Submits to one profile, and reaches the jobs of every other that is defined.

    `driver` takes the profile's place where one is at hand, e.g. a
    :class:`~batchbridge.testing.ScriptedDriver`. A context manager whose end detaches: it stops
    watching and cancels nothing. Safe from several threads.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        journal: bool = True,
        config: Config | None = None,
        driver: BatchDriver[Any] | None = None,
    ) -> None:
        self._config = config or Config.load()
        self._journal = Journal() if journal else None
        self._engines: dict[tuple[str, str], Engine] = {}
        self._home = (profile, dict(settings or {}))
        self._own = self._engine(_at_hand(driver), driver) if driver is not None else None

    @classmethod
    def at(cls, address: str) -> Self:
        """A client that submits where references begin with `address`: ``backend://profile``."""
        client = cls()
        client._own = client._engine(client._config.for_ref(JobRef.parse(f"{address}/-")))
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching; jobs go on."""
        for engine in self._engines.values():
            engine.close()

    @property
    def engine(self) -> Engine:
        """The engine that this client submits to."""
        if self._own is None:
            self._own = self._engine(self._config.resolve(*self._home))
        return self._own

    @property
    def driver(self) -> BatchDriver[Any]:
        """The driver of the engine that this client submits to."""
        return self.engine.driver

    def submit(
        self,
        command: JobSpec | Sequence[str] | str,
        /,
        *,
        key: str | None = None,
        detach: bool = False,
        **fields: Any,
    ) -> Job:
        """Submit one job: a spec, or a command with the fields of one. Raises if it is refused.

        The same `key` again is the same job, as far as the engine's ``idempotency`` goes. `detach`:
        nobody will wait, so what only a waiting client can enforce is refused.
        """
        spec = command if isinstance(command, JobSpec) else {"command": command, **fields}
        (job,) = self.submit_many([spec], keys=None if key is None else [key], detach=detach)
        if isinstance(job, BatchBridgeError):
            raise job
        return job

    def submit_many(
        self,
        specs: Sequence[JobSpec | Mapping[str, Any]],
        *,
        keys: Sequence[str] | None = None,
        gang: bool = False,
        detach: bool = False,
        on_each: Callable[[int, Job | BatchBridgeError], None] | None = None,
    ) -> list[Job | BatchBridgeError]:
        """Submit many at once; for each, in order, its job or why there is none.

        A refused one does not stop the others, but with `gang`: then the rest is cancelled.
        `on_each` is told of each as its answer comes.
        """
        engine = self.engine
        outcomes: dict[int, Job | BatchBridgeError] = {}

        def settle(index: int, outcome: Job | BatchBridgeError) -> None:
            outcomes[index] = outcome
            if on_each:
                on_each(index, outcome)

        ready: dict[str, tuple[int, Submission]] = {}
        for index, submission in _submissions(engine.resolved, specs, keys, gang, detach):
            if isinstance(submission, Submission):
                ready[submission.key] = (index, submission)
            else:
                settle(index, submission)
        if gang and outcomes:
            for index, _ in ready.values():
                settle(index, SpecError("another member of the gang was refused", path="gang"))
            ready.clear()
        waiting = [submission for _, submission in ready.values()]
        for scope, group in submit.by_scope(engine.driver, waiting):
            for submission, outcome in self._hand_over(engine, scope, group):
                settle(ready[submission.key][0], outcome)
        ordered = [outcomes[index] for index in sorted(outcomes)]
        if gang:
            _bind(ordered)
        return ordered

    def attach(self, ref: JobRef | str, *, name: str = "", job_set: str = "") -> Job:
        """The job of that reference, wherever its profile is defined. No I/O until it is asked."""
        parsed = JobRef.parse(ref) if isinstance(ref, str) else ref
        return self._engine_of(parsed).job(parsed, name=name, job_set=job_set)

    def list(self, job_set: str | None = None) -> list[Job]:
        """The jobs of that set, whoever's (None: all of this user's), that the engine knows.

        Unsupported where the engine lists none, or only those of a set that is named.
        """
        engine, user = self.engine, None if job_set else submit.user_name()
        if engine.driver.capabilities.list not in (("all", "job_set") if job_set else ("all",)):
            what = "no jobs" if job_set else "no jobs but those of a job set"
            raise Unsupported(f"{engine.driver.name} lists {what}", path="job_set")
        return [_listed(engine, listed) for listed in engine.driver.list(job_set, user)]

    def cancel(self, jobs: Iterable[Job], *, reason: str = "") -> None:
        """Ask for the end of all these jobs."""
        cancel(jobs, reason=reason)

    def purge(self, jobs: Iterable[Job]) -> None:
        """Remove these jobs, their logs with them, from their engines. SpecError if one goes on."""
        for engine, group in _able(jobs, "purge"):
            going = next((job for job in group if not job.done()), None)
            if going:
                raise SpecError(f"{going.ref} is not over", path="ref", remedy="wait for its end")
            engine.driver.purge([job.ref for job in group])

    def preempt(self, jobs: Iterable[Job], *, reason: str = "") -> None:
        """Ask that these running jobs give up their places. What becomes of it is observed."""
        why = reason or f"preempted by {submit.user_name()}"
        for engine, group in _able(jobs, "preempt"):
            engine.driver.preempt([job.ref for job in group], reason=why)

    def reprioritise(self, jobs: Iterable[Job], priority: float) -> None:
        """Give these jobs another priority; what the number means is the engine's."""
        for engine, group in _able(jobs, "reprioritise"):
            engine.driver.reprioritise([job.ref for job in group], priority)

    def cancel_set(self, job_set: str, *, reason: str = "") -> None:
        """Ask for the end of every job of that set in the scope that its jobs have by default."""
        engine = self.engine
        _check_able(engine.driver, "cancel_set")
        why = reason or f"cancelled by {submit.user_name()}"
        spec = submit.checked(engine.resolved, {"command": ["true"], "job_set": job_set})
        scope = engine.driver.scope_of(Submission("", spec, job_set, submit.user_name()))
        engine.driver.cancel_set(scope, job_set=job_set, reason=why)

    def render(self, spec: JobSpec | Mapping[str, Any], *, key: str = "") -> Mapping[str, Any]:
        """Exactly what a submit would send to the engine; nothing is sent, no secret is read."""
        engine = self.engine
        form = spec.to_json() if isinstance(spec, JobSpec) else spec
        checked = submit.checked(engine.resolved, form)
        job_set = checked.job_set or submit.default_job_set(submit.user_name(), key)
        key = key or submit.new_key()
        return engine.driver.render(
            submit.prepare(engine.resolved, checked, key=key, job_set=job_set, reveal=False)
        )

    def _engine_of(self, ref: JobRef) -> Engine:
        """The engine of that reference; this client's own, with its settings, where it is that."""
        own = self.engine if self._home[1] else None
        if own and (own.resolved.backend, own.resolved.ref_profile) == (ref.backend, ref.profile):
            return own
        known = self._engines.get((ref.backend, ref.profile))
        return known or self._engine(self._config.for_ref(ref))

    def _engine(self, resolved: Resolved, driver: BatchDriver[Any] | None = None) -> Engine:
        name = (resolved.backend, resolved.ref_profile)
        if name not in self._engines:
            self._engines[name] = Engine(resolved, driver)
        return self._engines[name]

    def _hand_over(
        self, engine: Engine, scope: Scope, submissions: Sequence[Submission]
    ) -> Iterator[tuple[Submission, Job | BatchBridgeError]]:
        if self._journal:
            self._journal.asked(engine.address, scope, submissions)
        answers: list[tuple[str, str | None, str | None]] = []
        try:
            for submission, receipt in submit.hand_over(engine.driver, submissions):
                outcome = _outcome(engine, scope, submission, receipt)
                answers.append(_answer(submission, outcome))
                yield submission, outcome
        finally:
            if self._journal:
                self._journal.answered(engine.address, scope, answers)


def _at_hand(driver: BatchDriver[Any]) -> Resolved:
    """What a profile of the driver's name would be, were it defined with these settings."""
    return Resolved(
        profile=driver.name,
        backend=driver.name,
        driver_cls=type(driver),
        settings=driver.settings,
        origins={},
        options={},
        job={},
        store=None,
        ref_profile=driver.name,
    )


def _submissions(
    resolved: Resolved,
    specs: Sequence[JobSpec | Mapping[str, Any]],
    keys: Sequence[str] | None,
    gang: bool,
    detach: bool,
) -> Iterator[tuple[int, Submission | BatchBridgeError]]:
    """Each job's submission, or why it is refused before any I/O."""
    _check_keys(specs, keys)
    gang_id = submit.new_key()
    for index, spec in enumerate(specs):
        member = Gang(gang_id, len(specs), index) if gang else None
        key = keys[index] if keys is not None else None
        try:
            yield index, _submission(resolved, spec, key, member, detach)
        except BatchBridgeError as error:
            yield index, error


def _check_keys(specs: Sequence[Any], keys: Sequence[str] | None) -> None:
    if keys is not None and (len(set(keys)) != len(specs) or len(keys) != len(specs)):
        raise SpecError("keys must be as many as the jobs, each another", path="key")


def _submission(
    resolved: Resolved,
    asked: JobSpec | Mapping[str, Any],
    key: str | None,
    gang: Gang | None,
    detach: bool,
) -> Submission:
    form = asked.to_json() if isinstance(asked, JobSpec) else asked
    spec = submit.checked(resolved, form)
    has = resolved.driver_cls.capabilities
    if detach:
        for field, remedy in submit.unattended(spec, has):
            problem = f"{resolved.backend} has no {field} of its own"
            raise Unsupported(problem, path=field, remedy=remedy)
        if not (spec.reruns or has.no_reruns):
            log.warning("%s may run a job twice when nobody waits for it", resolved.backend)
    job_set = spec.job_set or submit.default_job_set(submit.user_name(), key)
    return submit.prepare(resolved, spec, key=key or submit.new_key(), job_set=job_set, gang=gang)


def _outcome(
    engine: Engine, scope: Scope, submission: Submission, receipt: Receipt
) -> Job | BatchBridgeError:
    """The job that the engine owns now, or why it does not."""
    if receipt.error is not None or receipt.id is None:
        return receipt.error or DriverBug(f"{engine.driver.name!r} gave neither id nor error")
    spec, has = submission.spec, engine.driver.capabilities
    ref = engine.ref(scope, receipt.id)
    job = engine.job(ref, name=spec.name, job_set=submission.job_set)
    ledger = job._watched.ledger
    at = None if receipt.created is False else time.time()
    ledger.observe([Seen(receipt.id, JobState.SUBMITTED, at=at)])
    ledger.police(
        job._watched,
        Policy(
            once=not (spec.reruns or has.no_reruns),
            timeout=None if has.timeout else spec.timeout,
            queue_timeout=None if has.queue_timeout else spec.queue_timeout,
            start_timeout=None if has.start_timeout else spec.start_timeout,
        ),
    )
    job._watched.notes = receipt.notes
    return job


def _answer(
    submission: Submission, outcome: Job | BatchBridgeError
) -> tuple[str, str | None, str | None]:
    """The journal's line; an unknown outcome stays open."""
    if isinstance(outcome, Job):
        return submission.key, str(outcome.ref), None
    error = None if isinstance(outcome, OutcomeUnknown) else str(outcome)
    return submission.key, None, error


def _bind(outcomes: Sequence[Job | BatchBridgeError]) -> None:
    """One member's end without success, or refusal, is the end of all."""
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


def _listed(engine: Engine, listed: Listed) -> Job:
    ref = engine.ref(listed.scope, listed.seen.id)
    job = engine.job(ref, name=listed.name, job_set=listed.job_set)
    if listed.submitted_at is not None:
        submitted = Seen(listed.seen.id, JobState.SUBMITTED, at=listed.submitted_at)
        job._watched.ledger.observe([submitted])
    job._watched.ledger.observe([listed.seen])
    return job
