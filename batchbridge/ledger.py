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

from batchbridge.backoff import PATIENCE, Backoff
from batchbridge.driver import BatchDriver
from batchbridge.duties import Duties
from batchbridge.errors import BatchBridgeError, of_driver
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
"""Of jobs that pass a limit at once, how many the engine is asked about: most share a reason."""


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
        self._poll_every = POLL[0]
        self._last = dict.fromkeys(("full", "unsettled", "fresh"), NEVER)
        self._refused = 0
        self._backoff = Backoff()
        self._duties = Duties(driver)
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
                self._forget(ref)
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
            return bool(self._live or self._duties.ends or self._duties.releases)

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
            asks = [now + 1.0] if self._policed or self._duties.ends else []
            if self._duties.releases:
                asks.append(now)
            look = max(min(looks, default=now + FULL), self._backoff.not_before)
            ask = max(min(asks, default=now + FULL), self._duties.backoff.not_before)
            return max(0.0, min(look, ask) - now)

    def do_due(self) -> None:
        """Take the snapshot that is due, and end what must end. Failures wait for the next time.

        What cannot be ended does not keep us from looking.
        """
        if time.monotonic() >= self._backoff.not_before:
            try:
                self._snapshot(self._due())
            except Exception as error:
                self.failed(error)
        if time.monotonic() >= self._duties.backoff.not_before:
            try:
                self._enforce_timeouts()
                self._duties.ask()
            except Exception as error:
                self._duties.failed(error)

    def failed(self, error: Exception) -> None:
        """The engine could not be asked. No job changes; waiters learn of a lasting refusal."""
        problem = of_driver(self.driver.name, error)
        log.debug("%s %s: %s", self.driver.name, self.scope, problem, exc_info=error)
        with self.changed:
            self._backoff.failed(problem)
            self._last = dict.fromkeys(self._last, NEVER)
            self._refused = 0 if problem.retryable else self._refused + 1
            if self._refused >= PATIENCE:
                self.trouble = problem
                self.changed.notify_all()
        if self._backoff.failures == PATIENCE and problem.retryable:
            log.warning("%s cannot be asked; trying on: %s", self.driver.name, problem)

    def stream_failed(self, error: Exception) -> None:
        """A watch broke: a snapshot tells what it missed, and whether the engine can be asked."""
        problem = of_driver(self.driver.name, error)
        log.debug("%s %s: the stream: %s", self.driver.name, self.scope, problem, exc_info=error)
        self.reset()

    def succeeded(self) -> None:
        """The engine answered."""
        with self.changed:
            self.trouble = None
            self.answered_at = time.monotonic()
            self._refused = 0
            self._backoff.succeeded()

    def flush(self) -> None:
        """Ask now for what is still to be asked: nobody will watch any more."""
        self._duties.flush()

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
            self._duties.release(watched.ref)
            if isinstance(observation, Tick):
                self._ask_end(watched.ref, str(record.cause or record.state))
            return
        ended_badly = record.settling and record.state is not JobState.SUCCEEDED
        again = 0 < before.attempt < record.attempt
        if watched.policy.once and (ended_badly or again):
            self._end(watched, _ending(record))

    def _end(self, watched: Watched, intent: Intent) -> None:
        """Where an intent stands it is kept and asked for once more: it may be unheard."""
        watched.record, _ = fold(watched.record, intent)
        self._ask_end(watched.ref, str(intent.cause))

    def _ask_end(self, ref: JobRef, reason: str) -> None:
        self._duties.end(ref, reason)
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

    def _forget(self, ref: JobRef) -> None:
        """That job is over, and its id another's by now."""
        self._duties.forget(ref)
        for ids in (self._unsettled, self._policed, self._fresh):
            ids.discard(ref.id)

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
