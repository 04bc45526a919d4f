"""The jobs of one scope that somebody follows: their records, their events, and what is due.

A ledger has no thread. The hub's threads feed it and do what it finds due; waiters sleep on its
condition. It is the only place where :func:`~batchbridge.states.fold` is applied.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from msgspec.structs import replace

from batchbridge.backoff import delays, pause
from batchbridge.driver import BatchDriver
from batchbridge.errors import BatchBridgeError, DriverBug
from batchbridge.model import Cause, Intent, JobRef, JobState, Observation, Scope, Tick
from batchbridge.states import Change, Record, fold
from batchbridge.watched import Policy, Watched, event_of, overdue, run_callbacks

NEVER = float("-inf")

log = logging.getLogger("batchbridge")

FULL = 60.0
"""Seconds between snapshots of every followed job, whatever the stream says."""

UNSETTLED = 10.0
"""Seconds between snapshots of jobs whose ending settles or that the engine denied."""

FRESH = 0.5
"""Seconds between snapshots for jobs just added."""

POLL = (2.0, 60.0)
"""Without a stream: the shortest and the longest time between full snapshots."""

EXPLAINED = 5
"""Jobs that pass a limit at once whose reasons are asked for; they mostly share one."""

PATIENCE = 3
"""Refusals in a row, not mended by asking again, after which waiters are told."""


class Ledger:
    """The followed jobs of one scope. Safe from several threads."""

    def __init__(self, driver: BatchDriver[Any], scope: Scope) -> None:
        self.driver = driver
        self.scope = scope
        self.changed = threading.Condition()
        self.wake = threading.Event()
        self.streaming = False
        self.trouble: BatchBridgeError | None = None
        self._jobs: WeakValueDictionary[str, Watched] = WeakValueDictionary()
        self._live: dict[str, Watched] = {}
        self._fresh: set[str] = set()
        self._unsettled: set[str] = set()
        self._policed: set[str] = set()
        self._asked: dict[str, str] = {}
        self._over: set[str] = set()
        self._poll_every = POLL[0]
        self._last = dict.fromkeys(("full", "unsettled", "fresh"), NEVER)
        self._refused = 0
        self._failures = 0
        self._pauses = delays()
        self._not_before = 0.0
        self._asking = threading.Lock()
        self._ask_failures = 0
        self._ask_pauses = delays()
        self._ask_again_at = 0.0
        self.answered_at = NEVER

    # -- what others ask of it ---------------------------------------------------------------

    def follow(
        self, ref: JobRef, *, name: str = "", job_set: str = "", anew: bool = False
    ) -> Watched:
        """The followed job of that reference; the same object for the same id.

        `anew`: it was just submitted, so one of that id that is over was another. One that the
        engine did not know may be there by now.
        """
        with self.changed:
            watched = self._jobs.get(ref.id)
            if watched and (watched.record.missing or (anew and watched.record.terminal)):
                self._forget(ref.id)
                watched = None
            if watched is None:
                watched = Watched(ref, self, name=name, job_set=job_set)
                self._jobs[ref.id] = watched
            if not watched.settled and ref.id not in self._live:
                self._live[ref.id] = watched
                self._fresh.add(ref.id)
            return watched

    def known(self) -> tuple[str, ...]:
        """The ids that somebody waits for, now."""
        with self.changed:
            return tuple(self._live)

    @property
    def busy(self) -> bool:
        """Somebody waits for a job, or something is still to be asked of the engine."""
        with self.changed:
            return bool(self._live or self._asked or self._over)

    def police(self, watched: Watched, policy: Policy) -> None:
        """Enforce `policy` for this job from now on, while this process lives."""
        with self.changed:
            watched.policy = policy
            if policy.limits:
                self._policed.add(watched.ref.id)

    def observe(self, observations: Iterable[Observation], *, duties: bool = True) -> None:
        """Fold what is observed of the jobs that are followed; others are passed over.

        Without `duties` nothing is asked of the engine on account of it.
        """
        said = (o for o in observations if not isinstance(o, Intent | Tick))
        self._tell([(o.id, o) for o in said], duties=duties)

    def intend(self, job_id: str, intent: Intent) -> None:
        """Note what is asked of the engine, before it is asked."""
        self._tell([(job_id, intent)])

    def withdraw(self, job_id: str, intent: Intent) -> None:
        """That was not asked of the engine after all."""
        with self.changed:
            watched = self._jobs.get(job_id)
            if watched and watched.record.intent is intent and not watched.record.terminal:
                watched.record = replace(watched.record, intent=None)

    def end(self, watched: Watched, intent: Intent) -> None:
        """Have the watching thread ask for this job's end, with that intent."""
        with self.changed:
            if not watched.settled:
                self._end(watched, intent)

    def refresh(self, ids: Iterable[str]) -> None:
        """Take a snapshot of these jobs now. Raises where the engine cannot be asked."""
        self._snapshot(tuple(ids))

    # -- what the hub's threads do -----------------------------------------------------------

    def reset(self) -> None:
        """A watch begins: whatever was missed before it, a full snapshot tells."""
        with self.changed:
            self._last["full"] = NEVER

    def next_due(self) -> float:
        """Seconds until there may be something to do."""
        with self.changed:
            now = time.monotonic()
            looks = [self._last["full"] + self._full_every()] if self._live else []
            if self._unsettled:
                looks.append(self._last["unsettled"] + UNSETTLED)
            if self._fresh:
                looks.append(self._last["fresh"] + FRESH)
            asks = [now + 1.0] if self._policed or self._asked else []
            if self._over:
                asks.append(now)
            look = max(min(looks, default=now + FULL), self._not_before)
            ask = max(min(asks, default=now + FULL), self._ask_again_at)
            return max(0.0, min(look, ask) - now)

    def do_due(self) -> None:
        """Take the snapshot that is due, and end what must end. Failures wait for the next time.

        What cannot be ended does not keep us from looking.
        """
        if time.monotonic() >= self._not_before:
            try:
                self._snapshot(self._due())
            except Exception as error:
                self.failed(error)
        if time.monotonic() >= self._ask_again_at:
            try:
                self._enforce_timeouts()
                self._ask_all()
            except Exception as error:
                self._ask_failed(error)

    def failed(self, error: Exception) -> None:
        """The engine could not be asked. No job changes; waiters learn of a lasting refusal."""
        problem = _problem(self.driver, error)
        log.debug("%s %s: %s", self.driver.name, self.scope, problem, exc_info=error)
        with self.changed:
            self._not_before = time.monotonic() + pause(next(self._pauses), problem)
            self._last = dict.fromkeys(self._last, NEVER)
            self._failures += 1
            self._refused = 0 if problem.retryable else self._refused + 1
            if self._refused >= PATIENCE:
                self.trouble = problem
                self.changed.notify_all()
        if self._failures == PATIENCE and problem.retryable:
            log.warning("%s cannot be asked; trying on: %s", self.driver.name, problem)

    def _ask_failed(self, error: Exception) -> None:
        """Jobs could not be ended, or what they held not let go. It is asked again, ever later."""
        problem = _problem(self.driver, error)
        with self.changed:
            self._ask_again_at = time.monotonic() + pause(next(self._ask_pauses), problem)
            self._ask_failures += 1
        if self._ask_failures == PATIENCE:
            text = "%s does not hear that jobs are to end, or have; trying on: %s"
            log.warning(text, self.driver.name, problem)

    def stream_failed(self, error: Exception) -> None:
        """A watch broke: a snapshot tells what it missed, and whether the engine can be asked."""
        problem = _problem(self.driver, error)
        log.debug("%s %s: the stream: %s", self.driver.name, self.scope, problem, exc_info=error)
        self.reset()

    def succeeded(self) -> None:
        """The engine answered."""
        with self.changed:
            self.trouble = None
            self.answered_at = time.monotonic()
            self._refused = 0
            self._failures = 0
            self._not_before = 0.0
            self._pauses = delays()

    def flush(self) -> None:
        """Ask now for what is still to be asked: nobody will watch any more."""
        try:
            self._ask_all()
        except Exception as error:
            log.warning("%s was not told of jobs' ends: %s", self.driver.name, error)

    # -- inside ------------------------------------------------------------------------------

    def _tell(
        self, observations: Sequence[tuple[str, Observation]], *, duties: bool = True
    ) -> None:
        """Fold each into its job's record, wake the waiters, and call back outside the lock."""
        if not observations:
            return
        done: list[Watched] = []
        with self.changed:
            now = time.time()
            for job_id, observation in observations:
                watched = self._jobs.get(job_id)
                if watched is not None and self._apply(watched, observation, now, duties):
                    done.append(watched)
            self.changed.notify_all()
        for watched in done:
            run_callbacks(watched)

    def _apply(self, watched: Watched, observation: Observation, now: float, duties: bool) -> bool:
        """Fold one; True when nothing more will be learnt of the job and that is new."""
        before = watched.record
        record, changes = fold(before, observation)
        if record is before:
            return False
        watched.record = record
        for change in changes:
            watched.events.append(event_of(watched, change, now))
            if duties:
                self._react(watched, change, before, observation)
        if changes:
            self._poll_every = POLL[0]
        self._sort(watched)
        return watched.settled and not (before.terminal or before.missing)

    def _sort(self, watched: Watched) -> None:
        """Keep the job on the lists that its record belongs to."""
        job_id = watched.ref.id
        if watched.settled:
            self._live.pop(job_id, None)
            self._policed.discard(job_id)
            self._fresh.discard(job_id)
        if watched.record.unsettled:
            self._unsettled.add(job_id)
        else:
            self._unsettled.discard(job_id)

    def _react(
        self, watched: Watched, change: Change, before: Record, observation: Observation
    ) -> None:
        """What a change obliges the client to ask of the engine."""
        record = change.record
        if record.terminal:
            self._over.add(record.id)
            if isinstance(observation, Tick):
                self._ask(record.id, str(record.cause or record.state))
            return
        ended_badly = record.settling and record.state is not JobState.SUCCEEDED
        again = 0 < before.attempt < record.attempt
        if watched.policy.once and (ended_badly or again):
            self._end(watched, _ending(record))

    def _end(self, watched: Watched, intent: Intent) -> None:
        """Where an intent stands it is kept and asked for once more: it may be unheard."""
        watched.record, _ = fold(watched.record, intent)
        self._ask(watched.ref.id, str(intent.cause))

    def _ask(self, job_id: str, reason: str) -> None:
        self._asked[job_id] = reason
        self.wake.set()

    def _enforce_timeouts(self) -> None:
        for number, (watched, cause) in enumerate(self._take_overdue()):
            why = self._reason(watched, cause) if number < EXPLAINED else ""
            self.end(watched, Intent(cause, time.time(), message=why))

    def _take_overdue(self) -> list[tuple[Watched, Cause]]:
        """The jobs that have passed a limit, each once, and which."""
        now, late = time.time(), []
        with self.changed:
            for job_id in tuple(self._policed):
                watched = self._live.get(job_id)
                if watched and watched.events and (cause := overdue(watched, now)):
                    self._policed.discard(job_id)
                    late.append((watched, cause))
        return late

    def _reason(self, watched: Watched, cause: Cause) -> str:
        """What the engine says of a job that did not start in time; it is asked if need be."""
        if cause is Cause.TIMEOUT:
            return ""
        try:
            said = self.driver.explain(watched.ref)
        except Exception as error:  # the limit is enforced whatever else fails
            log.debug("%s cannot be explained: %s", watched.ref, error)
            said = None
        return said.summary if said else watched.record.message

    def _ask_all(self) -> None:
        """One thread at a time, so that whoever closes waits for what is under way."""
        with self._asking:
            self._cancel_asked()
            self._release_over()
        with self.changed:
            self._ask_failures, self._ask_again_at, self._ask_pauses = 0, 0.0, delays()

    def _cancel_asked(self) -> None:
        """One call for each reason; one that fails is made again later, and stops no other."""
        with self.changed:
            asked, self._asked = self._asked, {}
        problems: list[Exception] = []
        for reason in sorted(set(asked.values())):
            ids = [job_id for job_id, why in asked.items() if why == reason]
            try:
                self.driver.cancel([self._ref(job_id) for job_id in ids], reason=reason)
            except Exception as error:
                problems.append(error)
                with self.changed:
                    self._asked = {**dict.fromkeys(ids, reason), **self._asked}
        if problems:
            raise problems[0]

    def _release_over(self) -> None:
        with self.changed:
            over, self._over = self._over, set()
        if not over or type(self.driver).release is BatchDriver.release:
            return
        try:
            self.driver.release([self._ref(job_id) for job_id in sorted(over)])
        except Exception:
            with self.changed:
                self._over |= over
            raise

    def _forget(self, job_id: str) -> None:
        """That job is over, and its id another's by now."""
        self._asked.pop(job_id, None)
        for ids in (self._over, self._unsettled, self._policed, self._fresh):
            ids.discard(job_id)

    def _ref(self, job_id: str) -> JobRef:
        watched = self._jobs.get(job_id)
        return watched.ref if watched else JobRef(self.driver.name, "-", self.scope, job_id)

    def _due(self) -> tuple[str, ...]:
        """The ids that a snapshot is due for, which counts as taken."""
        with self.changed:
            now = time.monotonic()
            if self._live and now >= self._last["full"] + self._full_every():
                self._poll_every = min(self._poll_every * 1.5, POLL[1])
                self._last = dict.fromkeys(self._last, now)
                return tuple(self._live)
            ids: set[str] = set()
            for kind, wanted, every in (
                ("unsettled", self._unsettled, UNSETTLED),
                ("fresh", self._fresh, FRESH),
            ):
                if wanted and now >= self._last[kind] + every:
                    self._last[kind] = now
                    ids |= wanted
            return tuple(ids)

    def _full_every(self) -> float:
        return FULL if self.streaming else self._poll_every

    def _snapshot(self, ids: tuple[str, ...]) -> None:
        if not ids:
            return
        batch = self.driver.snapshot(self.scope, ids)
        self.succeeded()
        self.observe(batch.observations)
        with self.changed:
            self._fresh.difference_update(ids)
            settling = [job_id for job_id in ids if job_id in self._unsettled]
        tick = Tick(time.time())
        self._tell([(job_id, tick) for job_id in settling])


def _ending(record: Record) -> Intent:
    """The intent that makes this ending the job's: no other attempt may follow it."""
    return Intent(
        record.cause or Cause.UNKNOWN,
        time.time(),
        exit_code=record.exit_code,
        signal=record.signal,
        message=record.message,
    )


def _problem(driver: BatchDriver[Any], error: Exception) -> BatchBridgeError:
    """The error, where it is one of ours; another is the driver's slip."""
    if isinstance(error, BatchBridgeError):
        return error
    return DriverBug(
        f"the driver {driver.name!r} raised {type(error).__name__}: {error}",
        remedy="please report it to the driver's authors; batchbridge drivers names them",
    )
