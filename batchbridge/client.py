"""The Python API: submit jobs to an engine, and find them again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self, TypeAlias

from batchbridge import submit
from batchbridge.driver import BatchDriver
from batchbridge.engine import Engine
from batchbridge.errors import (
    BatchBridgeError,
    OutcomeUnknown,
    SpecError,
    Unsupported,
)
from batchbridge.jobs import Job, able, bind, cancel, check_able, why_of
from batchbridge.journal import Answer, Journal
from batchbridge.model import (
    JobRef,
    JobSpec,
    Scope,
    Submission,
)
from batchbridge.settings import Config, Resolved
from batchbridge.streams import merged

Asked: TypeAlias = tuple[int, Submission | BatchBridgeError]
"""A job's place among those asked for, and its submission, or why it is refused."""

Outcome: TypeAlias = tuple[int, Job | BatchBridgeError]
"""The same place, and what came of the submission."""

HEARD = 3.0
"""Seconds within which whoever follows a job has learnt of its end."""

FIRST, SLICE = 100, 1000
"""Jobs of the first slice, and of the longest: how many are handed over together."""


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
        self._lock = threading.RLock()
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
        with self._lock:
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

        asked = submit.submissions(engine.resolved, specs, keys, gang=gang, detach=detach)
        if gang:
            answers = self._hand_over(engine, _all_or_none(list(asked)))
        elif len(specs) <= FIRST:
            answers = self._hand_over(engine, asked)
        else:
            answers = self._by_slices(engine, asked)
        with closing(answers):  # at once, where on_each raises: else submitting would go on
            for index, outcome in answers:
                settle(index, outcome)
        ordered = [outcomes[index] for index in sorted(outcomes)]
        if gang:
            bind(ordered)
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
        return [engine.listed(listed) for listed in engine.driver.list(job_set, user)]

    def cancel(self, jobs: Iterable[Job], *, reason: str = "") -> None:
        """Ask for the end of all these jobs."""
        cancel(jobs, reason=reason)

    def purge(self, jobs: Iterable[Job]) -> None:
        """Remove these jobs, their logs with them, from their engines. SpecError if one goes on.

        One that has just ended is left for some seconds: others who follow it could otherwise only
        conclude that it is lost.
        """
        groups = able(jobs, "purge")
        for _, group in groups:
            going = next((job for job in group if not job.done()), None)
            if going:
                raise SpecError(f"{going.ref} is not over", path="ref", remedy="wait for its end")
        for engine, group in groups:
            time.sleep(_until_heard(group))
            engine.driver.purge([job.ref for job in group])

    def preempt(self, jobs: Iterable[Job], *, reason: str = "") -> None:
        """Ask that these running jobs give up their places. What becomes of it is observed."""
        why = why_of("preempted", reason)
        for engine, group in able(jobs, "preempt"):
            engine.driver.preempt([job.ref for job in group], reason=why)

    def reprioritise(self, jobs: Iterable[Job], priority: float) -> None:
        """Give these jobs another priority; what the number means is the engine's."""
        if not math.isfinite(priority):
            raise SpecError(f"priority {priority} is no number to go by", path="priority")
        for engine, group in able(jobs, "reprioritise"):
            engine.driver.reprioritise([job.ref for job in group], priority)

    def cancel_set(self, job_set: str, *, reason: str = "") -> None:
        """Ask for the end of every job of that set in the scope that its jobs have by default."""
        engine = self.engine
        check_able(engine.driver, "cancel_set")
        why = why_of("cancelled", reason)
        spec = submit.checked(engine.resolved, {"command": ["true"], "job_set": job_set})
        scope = engine.driver.scope_of(Submission("", spec, job_set, submit.user_name()))
        engine.driver.cancel_set(scope, job_set=job_set, reason=why)

    def render(self, spec: JobSpec | Mapping[str, Any], *, key: str = "") -> Mapping[str, Any]:
        """Exactly what a submit would send to the engine; nothing is sent, no secret is read."""
        engine = self.engine
        check_able(engine.driver, "render")
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
        with self._lock:
            if name not in self._engines:
                self._engines[name] = Engine(resolved, driver)
            return self._engines[name]

    def _by_slices(self, engine: Engine, asked: Iterator[Asked]) -> Generator[Outcome, None, None]:
        """Hand jobs over by slices, two at a time: one is prepared while another is on its way.

        The second is begun when a job of the first was accepted. Preparing both at once would only
        make the engine wait longer for its first request.
        """
        first = self._hand_over(engine, list(islice(asked, FIRST)))
        for index, outcome in first:
            yield index, outcome
            if isinstance(outcome, Job):
                break
        others = (self._hand_over(engine, part) for part in _slices(asked))
        yield from merged(iter, chain([first], others), workers=2)

    def _hand_over(self, engine: Engine, asked: Iterable[Asked]) -> Generator[Outcome, None, None]:
        """Hand jobs over, one call a scope; each with its place and what came of it."""
        places: dict[str, int] = {}
        scoped: dict[Scope, list[Submission]] = {}
        for index, submission in asked:
            try:
                if isinstance(submission, BatchBridgeError):
                    raise submission
                scope = engine.driver.scope_of(submission)
            except BatchBridgeError as error:
                yield index, error
            else:
                places[submission.key] = index
                scoped.setdefault(scope, []).append(submission)
        for scope, group in scoped.items():
            for submission, outcome in self._journalled(engine, scope, group):
                yield places[submission.key], outcome

    def _journalled(
        self, engine: Engine, scope: Scope, submissions: Sequence[Submission]
    ) -> Iterator[tuple[Submission, Job | BatchBridgeError]]:
        journal = self._journal
        notes = journal.asked(engine.address, scope, submissions) if journal else {}
        answers: list[Answer] = []
        try:
            for submission, receipt in submit.hand_over(engine.driver, submissions):
                outcome = engine.accepted(scope, submission, receipt)
                answers.append(_answer(submission, outcome))
                yield submission, outcome
        finally:
            if journal:
                journal.answered(notes, answers)


def _until_heard(ended: Sequence[Job]) -> float:
    """Seconds until all who follow these jobs have heard of their ends; clocks may differ."""
    now = time.time()
    last = max((job.record.finished_at or now for job in ended), default=0.0)
    return min(HEARD, max(0.0, last + HEARD - now))


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


def _slices(asked: Iterator[Asked]) -> Iterator[list[Asked]]:
    """The slices after the first, ever longer: preparing one takes as long as sending the last."""
    size = FIRST
    while part := list(islice(asked, size := min(3 * size, SLICE))):
        yield part


def _all_or_none(asked: Sequence[Asked]) -> Sequence[Asked]:
    """The members of a gang; where one is refused, all are."""
    if all(isinstance(member, Submission) for _, member in asked):
        return asked
    other = SpecError("another member of the gang was refused", path="gang")
    return [(n, other if isinstance(one, Submission) else one) for n, one in asked]


def _answer(submission: Submission, outcome: Job | BatchBridgeError) -> Answer:
    """What the journal notes of it; an unknown outcome stays open."""
    if isinstance(outcome, Job):
        return submission.key, str(outcome.ref), None
    return submission.key, None, None if isinstance(outcome, OutcomeUnknown) else str(outcome)
