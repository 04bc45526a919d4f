"""What Armada says of a job -> observations. Pure.

The stream of a job set tells what happens, numbered by its messages, and no attempt's number; the
core counts. Queries tell states only, and later: they have no number, so that what the stream has
told goes before. A `failed` that will be retried, and a lease that is returned, end an attempt; a
`preempted` is followed by the `failed` that ends the job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from signal import Signals
from typing import TYPE_CHECKING, Any

from batchbridge.model import Cause, JobState, Seen
from batchbridge_armada import ids
from batchbridge_armada.jobspec import CONTAINER, FAIL_FAST

if TYPE_CHECKING:
    from armada_client.armada.event_pb2 import ContainerStatus, EventStreamMessage, JobFailedEvent
    from armada_client.armada.job_pb2 import JobDetails
    from google.protobuf.timestamp_pb2 import Timestamp

LIVE = {
    "submitted": JobState.SUBMITTED,
    "queued": JobState.QUEUED,
    "leased": JobState.LEASED,
    "pending": JobState.PENDING,
    "running": JobState.RUNNING,
}
"""Kinds of events that say where a job is, and the names of a job's states in small letters."""

ENDED: dict[str, tuple[JobState, Cause | None]] = {
    "SUCCEEDED": (JobState.SUCCEEDED, None),
    "FAILED": (JobState.FAILED, None),
    "CANCELLED": (JobState.CANCELLED, Cause.CANCELLED),
    "PREEMPTED": (JobState.FAILED, Cause.PREEMPTED),
    "REJECTED": (JobState.FAILED, Cause.REJECTED),
}
"""A job's states after which Armada does nothing more."""

CAUSES: dict[int, Cause] = {
    1: Cause.EVICTED,
    2: Cause.OOM,
    3: Cause.TIMEOUT,
    4: Cause.REJECTED,
}
"""Armada's own causes but for 0, Error, which is what it says when it does not know."""

BY_WORDS = (
    (re.compile(r"preempt", re.I), Cause.PREEMPTED),
    (re.compile(r"lease expired", re.I), Cause.NODE_LOST),
    (re.compile(r"ImagePull|ErrImage|InvalidImageName|pull image", re.I), Cause.IMAGE),
    (
        re.compile(r"StartError|ContainerCannotRun|CreateContainer|RunContainerError"),
        Cause.START_ERROR,
    ),
)
"""What a failure without a container's exit code was, by the words of its reason."""

SIGNALS = frozenset(128 + s for s in (4, 6, 7, 8, 9, 11, 15))
"""Exit codes that are read as a signal's: of those that a kernel, a runtime or abort(3) sends.

Kubernetes tells a signal as 128 + n only; other such codes are left as the codes that they are.
"""

_RULE = re.compile(r"^---$", re.M)

RETRYABLE = 18
"""The number of ``JobFailedEvent.retryable``, which older client libraries do not know."""


class Translator:
    """Messages of one job set, in order -> observations.

    It remembers which jobs may run but once, and which pods have ended though their job goes on:
    what those pods still did is told late, when the next run may have begun.
    """

    def __init__(self) -> None:
        self._once: set[str] = set()
        self._over: set[str] = set()

    def seen(self, message: EventStreamMessage) -> Seen | None:
        """What a message says of a job; None where that is nothing, or of an unknown kind."""
        kind, seq = message.message.WhichOneof("events"), ids.sequence(message.id)
        if kind is None or seq is None:
            return None
        event: Any = getattr(message.message, kind)
        if kind in LIVE:
            return self._live(kind, event, seq)
        tell = _ENDINGS.get(kind)
        seen = tell(event, seq, event.job_id in self._once) if tell else None
        if seen is not None and seen.again and event.kubernetes_id:
            self._over.add(event.kubernetes_id)
        return seen

    def _live(self, kind: str, event: Any, seq: tuple[int, ...]) -> Seen | None:
        if kind == "submitted" and event.job.annotations.get(FAIL_FAST) == "true":
            self._once.add(event.job_id)
        late = kind in ("pending", "running") and event.kubernetes_id in self._over
        return None if late else _where(kind, event, seq)


def _where(kind: str, event: Any, seq: tuple[int, ...]) -> Seen:
    cluster = getattr(event, "cluster_id", "")
    return Seen(
        event.job_id,
        LIVE[kind],
        seq=seq,
        at=moment(event.created),
        node=getattr(event, "node_name", ""),
        message=f"on {cluster}" if kind in ("leased", "pending") and cluster else "",
    )


def _returned(event: Any, seq: tuple[int, ...], once: bool) -> Seen:
    return Seen(
        event.job_id,
        JobState.FAILED,
        again=not once,
        seq=seq,
        at=moment(event.created),
        cause=by_words(event.reason) or Cause.START_ERROR,
        message=words(event.reason),
    )


def _expired(event: Any, seq: tuple[int, ...], once: bool) -> Seen:
    return Seen(
        event.job_id,
        JobState.FAILED,
        seq=seq,
        at=moment(event.created),
        cause=Cause.NODE_LOST,
        message="lease expired: its cluster is silent",
    )


def _preempted(event: Any, seq: tuple[int, ...], once: bool) -> Seen:
    return Seen(
        event.job_id,
        JobState.FAILED,
        seq=seq,
        at=moment(event.created),
        cause=Cause.PREEMPTED,
        message=words(event.reason),
    )


def _cancelled(event: Any, seq: tuple[int, ...], once: bool) -> Seen:
    return Seen(
        event.job_id,
        JobState.CANCELLED,
        final=True,
        seq=seq,
        at=moment(event.created),
        cause=Cause.CANCELLED,
    )


def _succeeded(event: Any, seq: tuple[int, ...], once: bool) -> Seen:
    return Seen(
        event.job_id,
        JobState.SUCCEEDED,
        final=True,
        seq=seq,
        at=moment(event.created),
        exit_code=0,
        node=event.node_name,
    )


def _failed(event: JobFailedEvent, seq: tuple[int, ...], once: bool) -> Seen:
    again, cause = retryable(event), cause_of(event)
    # A command that was never begun has no code; Kubernetes gives it 128.
    code, signal = (None, None) if cause is Cause.START_ERROR else exit_facts(event)
    return Seen(
        event.job_id,
        JobState.FAILED,
        again=again,
        final=not again,
        seq=seq,
        at=moment(event.created),
        cause=cause,
        exit_code=code,
        signal=signal,
        message=words(event.reason),
        node=event.node_name,
    )


_ENDINGS = {
    "lease_returned": _returned,
    "lease_expired": _expired,
    "preempted": _preempted,
    "cancelled": _cancelled,
    "succeeded": _succeeded,
    "failed": _failed,
}


# -- why it failed ---------------------------------------------------------------------------


def retryable(event: JobFailedEvent) -> bool:
    """Whether Armada runs the job again, also where the client library knows no such field."""
    if "retryable" in event.DESCRIPTOR.fields_by_name:
        return event.retryable
    # Here: the rest of this module needs no protobuf.
    from google.protobuf.unknown_fields import UnknownFieldSet

    unknown: Any = UnknownFieldSet(event)
    return any(field.field_number == RETRYABLE and bool(field.data) for field in unknown)


def cause_of(event: JobFailedEvent) -> Cause | None:
    """The cause, where it is more than an exit code."""
    main = _main(event)
    if event.cause in CAUSES:
        return CAUSES[event.cause]
    if main is None:
        refused = event.pod_name and not event.kubernetes_id  # Kubernetes would not make its pod
        return by_words(event.reason) or (Cause.START_ERROR if refused else None)
    if main.reason == "OOMKilled":
        return Cause.OOM
    return CAUSES.get(main.cause) or by_words(main.reason)


def words(reason: str) -> str:
    """A reason in one line; the scheduler draws a rule under that of each pool."""
    return "; ".join(" ".join(one.split()) for one in _RULE.split(reason) if one.strip())


def by_words(reason: str) -> Cause | None:
    """The cause that a reason's words tell."""
    return next((cause for pattern, cause in BY_WORDS if pattern.search(reason)), None)


def exit_facts(event: JobFailedEvent) -> tuple[int | None, int | None]:
    """``(exit code, signal)``, one of them at most, of the container that ran the command."""
    main = _main(event)
    if main is None or main.exitCode == 0:
        return None, None
    if main.exitCode in SIGNALS:
        return None, Signals(main.exitCode - 128).value
    return main.exitCode, None


def _main(event: JobFailedEvent) -> ContainerStatus | None:
    """The status of our container, or of the first that failed."""
    named = [status for status in event.container_statuses if status.name == CONTAINER]
    return next(iter([*named, *event.container_statuses]), None)


# -- what queries say ------------------------------------------------------------------------


def history(job: JobDetails, state: str, reason: str) -> Iterator[Seen]:
    """What the details of an ended job tell, in order."""
    run = max(job.job_runs, key=lambda run: moment(run.leased_ts) or 0.0, default=None)
    yield Seen(job.job_id, JobState.SUBMITTED, at=moment(job.submitted_ts))
    started = moment(run.started_ts) if run else None
    if started is not None:
        yield Seen(job.job_id, JobState.RUNNING, at=started, node=run.node if run else "")
    ended, cause = ENDED[state]
    finished = moment(run.finished_ts) if run else None
    yield Seen(
        job.job_id,
        ended,
        final=True,
        at=finished or moment(job.cancel_ts) or moment(job.last_transition_ts),
        cause=cause or (by_words(reason) if ended is JobState.FAILED else None),
        exit_code=0 if ended is JobState.SUCCEEDED else None,
        message=words(reason) or job.cancel_reason,
        node=run.node if run else "",
    )


def standing(job_id: str, state: str) -> Iterator[Seen]:
    """What the name of a state says of a job that has not ended; the id tells its submit's time."""
    live = LIVE.get(state.lower())
    if live is not None:
        yield Seen(job_id, JobState.SUBMITTED, at=ids.submitted_at(job_id))
        yield Seen(job_id, live)


def moment(at: Timestamp) -> float | None:
    """A time of Armada's in seconds; one that is not set is None."""
    return at.seconds + at.nanos / 1e9 if at.seconds else None
