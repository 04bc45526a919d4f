"""The state machine: one table, and one pure function that applies it.

Two laws:

1. *Drivers translate, the core concludes.* A driver reports observations; only :func:`fold` decides
   what state a job is in. No grace is counted and no transition decided anywhere else.
2. *An error is not an observation.* A call that failed raises. Nothing that reaches :func:`fold`
   can be made from it, so no job changes state because it could not be asked about.

What :func:`fold` guarantees, for any history whatever (duplicated, reordered, cut, joined late):

- ``(attempt, order of state)`` never decreases, and every change follows :data:`TRANSITIONS`;
- a terminal record keeps its state and its attempt for ever; only empty fields are filled;
- a record is terminal only by a ``final`` ending, by :data:`SETTLE` seconds of answered snapshots
  after a provisional one, or by :data:`ABSENCES` denials over :data:`ABSENT_FOR` seconds;
- ``LOST`` comes from denials alone, and from no job that nobody has answered for;
- folding an observation twice in a row is folding it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from batchbridge.model import Absent, Cause, Intent, JobState, Observation, Seen, Tick

SETTLE = 30.0
"""Seconds of answered snapshots after which a provisional ending stands."""

ABSENCES = 3
"""Denials, each later than the one before, that conclude a job, ..."""

ABSENT_FOR = 60.0
"""... if at least this many seconds lie between the first and the last."""

ORDER: dict[JobState, int] = {
    JobState.SUBMITTED: 0,
    JobState.QUEUED: 1,
    JobState.LEASED: 2,
    JobState.PENDING: 3,
    JobState.RUNNING: 4,
    JobState.SUCCEEDED: 5,
    JobState.FAILED: 5,
    JobState.CANCELLED: 5,
    JobState.LOST: 5,
}


class Transition(NamedTuple):
    """One arrow of the state diagram."""

    before: JobState
    after: JobState
    kind: Literal["forward", "next attempt", "overruled"]


def _transitions() -> Iterator[Transition]:
    live = [state for state in ORDER if not state.ending]
    ended = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]
    yield Transition(JobState.SUBMITTED, JobState.QUEUED, "forward")
    for before in live[1:]:
        for after in ORDER:
            skips_running = after is JobState.SUCCEEDED and before is not JobState.RUNNING
            if ORDER[after] > ORDER[before] and not skips_running:
                yield Transition(before, after, "forward")
    for before in (*live[1:], *ended):
        yield Transition(before, JobState.QUEUED, "next attempt")
    for before in ended:
        for after in ended:
            if before is not after:
                yield Transition(before, after, "overruled")


TRANSITIONS: frozenset[Transition] = frozenset(_transitions())
"""Every legal change. LEASED and PENDING are optional; "overruled" leaves a provisional ending."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is concluded of one job so far. A new one has no state: nobody has answered for it."""

    id: str
    state: JobState | None = None
    attempt: int = 0
    cause: Cause | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    node: str = ""
    submitted_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    terminal: bool = False
    missing: bool = False  #: the engine denies a job that nobody ever answered for
    # What fold remembers between observations:
    intent: Intent | None = None
    seq: tuple[int, ...] | None = None
    ended_seq: tuple[int, ...] | None = None
    settling_since: float | None = None
    absences: tuple[int, float, float] | None = None  # how many, the first's time, the last's

    @property
    def settling(self) -> bool:
        """An ending stands that a later observation may still overrule."""
        return self.state is not None and self.state.ending and not self.terminal

    @property
    def unsettled(self) -> bool:
        """More snapshots are wanted soon: an ending settles, or the job was denied."""
        return not self.terminal and (self.settling or self.absences is not None)

    def ended(self, attempt: int) -> bool:
        """Whether that attempt is over, as far as is concluded."""
        over = self.state is not None and self.state.ending
        return attempt < self.attempt or (attempt == self.attempt and over)

    @property
    def exit_status(self) -> int:
        """The exit code a shell sees: 0 if and only if the job has SUCCEEDED for good.

        124 for a run or queue timeout, the job's own non-zero code, 128 + n for signal n, else 1.
        """
        if self.terminal and self.state is JobState.SUCCEEDED:
            return 0
        if self.cause in (Cause.TIMEOUT, Cause.UNSCHEDULABLE):
            return 124
        return self.exit_code or (128 + self.signal if self.signal else 1)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a record. ``inferred``: nobody said so, what followed implies it."""

    record: Record
    at: float | None
    inferred: bool = False


Folded = tuple[Record, tuple[Change, ...]]


def fold(record: Record, observation: Observation) -> Folded:
    """Apply one observation: the record that follows, and its changes in order. Pure and total."""
    match observation:
        case Seen():
            return _seen(record, observation)
        case Absent():
            return _absent(record, observation)
        case Tick():
            return _tick(record, observation)
        case Intent():
            stands = record.intent is not None or record.terminal
            return (record if stands else replace(record, intent=observation)), ()


# -- what the engine said --------------------------------------------------------------------


def _seen(record: Record, seen: Seen) -> Folded:
    if record.terminal:
        return _fill_terminal(record, seen), ()
    if _stale(record, seen):
        return record, ()
    unordered = record.seq is not None and seen.seq is None
    opens = _opens(record, seen)
    record = _noted(record, seen)
    if not seen.state.ending:
        return (record, ()) if unordered else _live(record, seen, opens)
    return _ending(record, seen, opens)


def _stale(record: Record, seen: Seen) -> bool:
    if seen.attempt is not None and seen.attempt < record.attempt:
        return True
    if seen.seq is None or record.seq is None or seen.final:
        return False
    return seen.seq <= record.seq


def _opens(record: Record, seen: Seen) -> int:
    """The attempt that `seen` speaks of."""
    if seen.attempt is not None:
        return seen.attempt
    requeued = (
        record.settling
        and seen.state in (JobState.QUEUED, JobState.LEASED)
        and None not in (seen.seq, record.ended_seq)
    )
    return record.attempt + 1 if requeued else max(record.attempt, 1)


def _noted(record: Record, seen: Seen) -> Record:
    """The record once `seen` is accepted as evidence, whatever it changes."""
    alive = record.settling and not seen.state.ending
    seq = max(filter(None, (record.seq, seen.seq)), default=None)
    same = seq == record.seq and record.absences is None and not record.missing
    if same and not (alive and record.settling_since is not None):
        return record
    since = None if alive else record.settling_since
    return replace(record, seq=seq, absences=None, missing=False, settling_since=since)


def _live(record: Record, seen: Seen, attempt: int) -> Folded:
    if attempt == record.attempt and record.state is not None:
        if ORDER[seen.state] < ORDER[record.state] or record.settling:
            return _filled(record, seen), ()
        if seen.state is record.state:
            return _refreshed(record, seen), ()
    changes = _path(record, seen, attempt)
    record = changes[-1].record if changes else record
    record = _filled(replace(_at(record, seen.state, attempt)), seen)
    record = replace(record, message=seen.message, node=seen.node or record.node)
    return record, (*changes, Change(record, seen.at))


def _ending(record: Record, seen: Seen, attempt: int) -> Folded:
    changes = _path(record, seen, attempt)
    before = changes[-1].record if changes else record
    ended = _ended(_attempt(before, attempt), _meant(seen, before.intent))
    if seen.seq is not None:
        ended = replace(ended, ended_seq=seen.seq)
    if (ended.state, ended.attempt, ended.terminal) != (
        before.state,
        before.attempt,
        before.terminal,
    ):
        changes = (*changes, Change(ended, seen.at))
    if not seen.again:
        return ended, changes
    reopened = _at(ended, JobState.QUEUED, attempt + 1)
    return reopened, (*changes, Change(reopened, seen.at))


def _path(record: Record, seen: Seen, attempt: int) -> tuple[Change, ...]:
    """The skipped states, filled in: SUBMITTED, QUEUED, and RUNNING where the command must have."""
    changes: list[Change] = []
    for state in (JobState.SUBMITTED, JobState.QUEUED, JobState.RUNNING):
        target = 1 if state is JobState.SUBMITTED else attempt
        if _skips(record, state, target, seen):
            record = _at(record, state, target)
            changes.append(Change(record, seen.at, inferred=True))
    return tuple(changes)


def _skips(record: Record, state: JobState, attempt: int, seen: Seen) -> bool:
    if record.state is None:
        return seen.state is not JobState.SUBMITTED
    if state is JobState.SUBMITTED or ORDER[state] >= ORDER[seen.state]:
        return False
    if attempt == record.attempt and ORDER[state] <= ORDER[record.state]:
        return False
    ran = seen.state is JobState.SUCCEEDED or seen.exit_code is not None
    return state is JobState.QUEUED or ran


def _attempt(record: Record, attempt: int) -> Record:
    """The record at the start of that attempt: what the last one left behind is cleared."""
    if attempt == record.attempt:
        return record
    cleared = replace(record, attempt=attempt, message="", node="", started_at=None)
    cleared = replace(cleared, cause=None, exit_code=None, signal=None, finished_at=None)
    return replace(cleared, state=None, ended_seq=None, settling_since=None)


def _at(record: Record, state: JobState, attempt: int) -> Record:
    return replace(_attempt(record, attempt), state=state)


def _filled(record: Record, seen: Seen) -> Record:
    """Times and places that were unknown; no fact that is known is changed."""
    submitted = record.submitted_at
    started = record.started_at
    if seen.state is JobState.SUBMITTED and submitted is None:
        submitted = seen.at
    if seen.state is JobState.RUNNING and started is None:
        started = seen.at
    node = record.node or seen.node
    if (submitted, started, node) == (record.submitted_at, record.started_at, record.node):
        return record
    return replace(record, submitted_at=submitted, started_at=started, node=node)


def _refreshed(record: Record, seen: Seen) -> Record:
    """The same state again: its message and node may be newer."""
    message, node = seen.message or record.message, seen.node or record.node
    record = _filled(record, seen)
    if (message, node) == (record.message, record.node):
        return record
    return replace(record, message=message, node=node)


class _Facts(NamedTuple):
    """How an attempt ended; what is None, UNKNOWN or empty is not known."""

    state: JobState
    cause: Cause | None
    exit_code: int | None
    signal: int | None
    message: str
    node: str
    at: float | None
    final: bool


def _meant(seen: Seen, intent: Intent | None) -> _Facts:
    """The ending as it is meant: a cancel that enforces another cause is a failure by it."""
    facts = _Facts(*(getattr(seen, name) for name in _Facts._fields))
    if seen.state is not JobState.CANCELLED:
        return facts
    cause = intent.cause if intent else seen.cause or Cause.CANCELLED
    state = JobState.CANCELLED if cause is Cause.CANCELLED else JobState.FAILED
    facts = facts._replace(state=state, cause=cause)
    if intent is None or (intent.exit_code is None and intent.signal is None):
        return facts._replace(message=seen.message or (intent.message if intent else ""))
    return facts._replace(
        exit_code=intent.exit_code,
        signal=intent.signal,
        message=intent.message or seen.message,
    )


def _ended(record: Record, facts: _Facts) -> Record:
    """The record with this ending: the first, one that fills a standing one, or overrules it."""
    stands = record.settling
    if stands and not facts.final:
        return _fill(record, facts)
    if stands and facts.state is record.state:
        facts = _over(facts, record)
    return replace(
        record,
        state=facts.state,
        cause=_cause(facts),
        exit_code=facts.exit_code,
        signal=facts.signal,
        message=facts.message or (record.message if stands else ""),
        node=facts.node or record.node,
        finished_at=record.finished_at if facts.at is None else facts.at,
        terminal=facts.final,
    )


def _cause(facts: _Facts) -> Cause | None:
    if facts.state is JobState.SUCCEEDED:
        return None
    if facts.state is JobState.CANCELLED:
        return Cause.CANCELLED
    if facts.cause not in (None, Cause.UNKNOWN):
        return facts.cause
    if facts.exit_code:
        return Cause.EXIT_CODE
    return Cause.SIGNAL if facts.signal else Cause.UNKNOWN


def _over(facts: _Facts, record: Record) -> _Facts:
    """A final ending, completed by the provisional one of the same state."""
    known = facts.exit_code is not None or facts.signal is not None
    return facts._replace(
        cause=record.cause if facts.cause in (None, Cause.UNKNOWN) else facts.cause,
        exit_code=facts.exit_code if known else record.exit_code,
        signal=facts.signal if known else record.signal,
    )


def _fill(record: Record, facts: _Facts) -> Record:
    """What the record lacks, from an ending of the same state; other states add nothing."""
    if facts.state is not record.state:
        return record
    known = record.exit_code is not None or record.signal is not None
    exit_code = record.exit_code if known else facts.exit_code
    signal = record.signal if known else facts.signal
    vague = record.cause in (None, Cause.UNKNOWN)
    return replace(
        record,
        cause=_cause(facts._replace(exit_code=exit_code, signal=signal)) if vague else record.cause,
        exit_code=exit_code,
        signal=signal,
        message=record.message or facts.message,
        node=record.node or facts.node,
        finished_at=record.finished_at if record.finished_at is not None else facts.at,
    )


def _fill_terminal(record: Record, seen: Seen) -> Record:
    same_attempt = seen.attempt is not None and seen.attempt == record.attempt
    facts = _meant(seen, record.intent)
    same_end = seen.attempt is None and seen.final and facts.state is record.state
    if not (same_attempt or same_end):
        return record
    if not seen.state.ending:
        return _filled(record, seen)
    filled = _fill(record, facts)
    return record if filled == record else filled


# -- what the asker concludes ----------------------------------------------------------------


def _absent(record: Record, absent: Absent) -> Folded:
    if record.terminal:
        return record, ()
    if record.state is None:
        return replace(record, missing=True), ()
    count, first, last = record.absences or (0, absent.at, float("-inf"))
    if absent.at <= last:
        return record, ()
    record = replace(record, absences=(count + 1, first, absent.at))
    if count + 1 < ABSENCES or absent.at - first < ABSENT_FOR:
        return record, ()
    return _vanished(record, absent.at)


def _vanished(record: Record, at: float) -> Folded:
    """Denied often enough: the standing ending, else what was asked for, else LOST."""
    if record.settling:
        record = replace(record, terminal=True)
        return record, (Change(record, at),)
    if record.intent is not None:
        asked = Seen(record.id, JobState.CANCELLED, final=True, at=at)
        return _ending(record, asked, record.attempt)
    filled = _path(record, Seen(record.id, JobState.CANCELLED, at=at), record.attempt)
    record = filled[-1].record if filled else record
    record = replace(
        record,
        state=JobState.LOST,
        cause=Cause.UNKNOWN,
        message="the engine no longer knows this job, and never said how it ended",
        terminal=True,
    )
    return record, (*filled, Change(record, at))


def _tick(record: Record, tick: Tick) -> Folded:
    if not record.settling:
        return record, ()
    if record.settling_since is None:
        return replace(record, settling_since=tick.now), ()
    if tick.now - record.settling_since < SETTLE:
        return record, ()
    record = replace(record, terminal=True)
    return record, (Change(record, tick.now),)
