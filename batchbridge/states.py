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
from dataclasses import replace as altered
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

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
    """One arrow of the state diagram. SUBMITTED comes before every attempt, whatever its number."""

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


class Record(Struct, frozen=True):
    """What is concluded of one job so far. A new one has no state: nobody has answered for it.

    A msgspec struct, because a changed copy costs a twentieth of a data class's.
    """

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
    revived: bool = False  # life was shown since the ending that settles was last told
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


class Change(Struct, frozen=True):
    """One step of a record. ``inferred``: nobody said so, what followed implies it.

    One that leaves state and attempt as they were says that the ending is now terminal.
    """

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
        return _completed(record, seen), ()
    if _stale(record, seen):
        return record, ()
    unordered = record.seq is not None and seen.seq is None
    attempt = _spoken_of(record, seen)
    record = _noted(record, seen)
    if seen.state.ending:
        return _ending(record, seen, attempt)
    return (record, ()) if unordered else _live(record, seen, attempt)


def _stale(record: Record, seen: Seen) -> bool:
    if seen.attempt is not None and seen.attempt < record.attempt:
        return True
    if seen.seq is None or record.seq is None or seen.final:
        return False
    return seen.seq <= record.seq


def _spoken_of(record: Record, seen: Seen) -> int:
    """The attempt that `seen` speaks of."""
    if seen.attempt is not None and seen.state is not JobState.SUBMITTED:
        return seen.attempt
    requeued = (
        record.settling
        and seen.state in (JobState.QUEUED, JobState.LEASED)
        and None not in (seen.seq, record.ended_seq)
    )
    return record.attempt + 1 if requeued else max(record.attempt, 1)


def _noted(record: Record, seen: Seen) -> Record:
    """The record once `seen` is accepted as evidence, whatever it changes."""
    seq = record.seq if seen.seq is None else seen.seq
    revived = record.settling and not seen.state.ending
    return replace(record, seq=seq, absences=None, revived=revived)


def _live(record: Record, seen: Seen, attempt: int) -> Folded:
    if attempt == record.attempt and record.state is not None:
        if ORDER[seen.state] < ORDER[record.state]:
            return _placed(record, seen), ()
        if seen.state is record.state:
            record = _placed(record, seen)
            return replace(record, message=seen.message or record.message), ()
    inferred = _path(record, seen, attempt)
    record = inferred[-1].record if inferred else record
    record = _placed(_at(record, seen.state, attempt), seen)
    record = replace(record, message=seen.message, node=seen.node or record.node)
    return record, (*inferred, Change(record, seen.at))


def _ending(record: Record, seen: Seen, attempt: int) -> Folded:
    changes = _path(record, seen, attempt)
    before = _opened(changes[-1].record if changes else record, attempt)
    ended = _ended(before, _meant(seen, before.intent))
    if seen.seq is not None:
        ended = replace(ended, ended_seq=seen.seq)
    if (ended.state, ended.terminal) != (before.state, before.terminal):
        changes = (*changes, Change(ended, seen.at))
    if not seen.again:
        return ended, changes
    reopened = _at(ended, JobState.QUEUED, attempt + 1)
    return reopened, (*changes, Change(reopened, seen.at))


def _path(record: Record, seen: Seen, attempt: int) -> tuple[Change, ...]:
    """The skipped states, filled in: SUBMITTED, QUEUED, and RUNNING where the command must have."""
    ran = seen.state is JobState.SUCCEEDED or seen.exit_code is not None
    steps = (JobState.SUBMITTED, JobState.QUEUED, JobState.RUNNING)
    reached = -1 if record.state is None else 0
    if record.state is not None and attempt == record.attempt:
        reached = ORDER[record.state]
    changes: list[Change] = []
    for state in steps if ran else steps[:2]:
        if reached < ORDER[state] < ORDER[seen.state]:
            record = _at(record, state, 1 if state is JobState.SUBMITTED else attempt)
            changes.append(Change(record, seen.at, inferred=True))
    return tuple(changes)


def _opened(record: Record, attempt: int) -> Record:
    """The record at the start of that attempt: what the last one left behind is gone."""
    if attempt == record.attempt:
        return record
    return Record(
        record.id,
        attempt=attempt,
        submitted_at=record.submitted_at,
        intent=record.intent,
        seq=record.seq,
    )


def _at(record: Record, state: JobState, attempt: int) -> Record:
    return replace(_opened(record, attempt), state=state)


def _placed(record: Record, seen: Seen) -> Record:
    """Times and a place that were unknown; nothing that is known is changed."""
    submitted, started = record.submitted_at, record.started_at
    if seen.state is JobState.SUBMITTED and submitted is None:
        submitted = seen.at
    if seen.state is JobState.RUNNING and started is None:
        started = seen.at
    node = record.node or seen.node
    return replace(record, submitted_at=submitted, started_at=started, node=node)


def _meant(seen: Seen, intent: Intent | None) -> Seen:
    """The ending as it is meant: a cancel that enforces another cause is a failure by it."""
    if seen.state is not JobState.CANCELLED:
        return seen
    cause = intent.cause if intent else seen.cause or Cause.CANCELLED
    state = JobState.CANCELLED if cause is Cause.CANCELLED else JobState.FAILED
    seen = altered(seen, state=state, cause=cause)
    if intent is None:
        return seen
    ours = intent.message or seen.message
    message = (seen.message or ours) if cause is Cause.CANCELLED else ours
    if intent.exit_code is None and intent.signal is None:
        return altered(seen, message=message)
    return altered(seen, exit_code=intent.exit_code, signal=intent.signal, message=message)


def _ended(record: Record, seen: Seen) -> Record:
    """The record with this ending: its first, or one that completes or overrules the standing one.

    Where both endings know a fact the standing one's is kept, unless `seen` makes it final.
    """
    if record.state is not seen.state:
        if record.settling and not seen.final:
            return record
        record = replace(
            record, state=seen.state, cause=None, exit_code=None, signal=None, message=""
        )
    first, second = (seen, record) if seen.final and not record.terminal else (record, seen)
    coded = second if first.exit_code is None and first.signal is None else first
    succeeded = seen.state is JobState.SUCCEEDED
    times = (seen.at, record.finished_at) if first is seen else (record.finished_at, seen.at)
    return replace(
        record,
        cause=None if succeeded else _cause(first.cause, second.cause, coded),
        exit_code=coded.exit_code,
        signal=coded.signal,
        message=first.message or second.message,
        node=first.node or second.node,
        finished_at=times[1] if times[0] is None else times[0],
        terminal=record.terminal or seen.final,
    )


def _cause(first: Cause | None, second: Cause | None, coded: Seen | Record) -> Cause:
    """The cause that is told first, else the one told second, unless the code says it better."""
    derived = Cause.SIGNAL if coded.signal else Cause.UNKNOWN
    if coded.exit_code:
        derived = Cause.EXIT_CODE
    if first not in (None, Cause.UNKNOWN):
        return first
    if second in (None, Cause.UNKNOWN):
        return derived
    by_code = second in (Cause.EXIT_CODE, Cause.SIGNAL) and derived is not Cause.UNKNOWN
    return derived if by_code else second


def _completed(record: Record, seen: Seen) -> Record:
    """A terminal record, and what `seen` knows of the same end that it does not."""
    meant = _meant(seen, record.intent)
    same_attempt = seen.attempt is not None and seen.attempt == record.attempt
    if not (same_attempt or (seen.attempt is None and seen.final)):
        return record
    if not seen.state.ending:
        return _placed(record, seen)
    return _ended(record, meant) if meant.state is record.state else record


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
        return _settled(record, at)
    cancelled = Seen(record.id, JobState.CANCELLED, final=True, at=at)
    if record.intent is not None:
        return _ending(record, cancelled, record.attempt)
    inferred = _path(record, cancelled, record.attempt)
    record = replace(
        inferred[-1].record if inferred else record,
        state=JobState.LOST,
        cause=Cause.UNKNOWN,
        message="the engine no longer knows this job, and never said how it ended",
        terminal=True,
    )
    return record, (*inferred, Change(record, at))


def _settled(record: Record, at: float) -> Folded:
    record = replace(record, terminal=True)
    return record, (Change(record, at),)


def _tick(record: Record, tick: Tick) -> Folded:
    if not record.settling:
        return record, ()
    if record.settling_since is None or record.revived:
        return replace(record, settling_since=tick.now, revived=False), ()
    if tick.now - record.settling_since < SETTLE:
        return record, ()
    return _settled(record, tick.now)
