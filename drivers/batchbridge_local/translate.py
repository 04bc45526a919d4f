"""Records and changes of the spool -> observations. Pure.

A local job has one attempt. Its endings are final: nothing runs it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchbridge.model import Cause, JobState, Listed, Seen
from batchbridge_local.records import Claim, End
from batchbridge_local.spool import View


def history(id: str, view: View) -> tuple[Seen, ...]:
    """All that the records say of a job, in order."""
    return (*queued(id, view.job.submitted_at), *_ran(id, view), *_ended(id, view.end))


def queued(id: str, at: float) -> tuple[Seen, Seen]:
    """An admitted job waits for a place at once."""
    return (
        Seen(id, JobState.SUBMITTED, attempt=1, at=at),
        Seen(id, JobState.QUEUED, attempt=1, at=at),
    )


def change(said: Mapping[str, Any]) -> tuple[Seen, ...]:
    """What one line of the log of changes tells; nothing for a word that is no state."""
    id, state, at = said["id"], said["state"], said["at"]
    if state == JobState.QUEUED:
        return queued(id, at)
    if state == JobState.RUNNING:
        return (Seen(id, JobState.RUNNING, attempt=1, at=at, node=said.get("node", "")),)
    if state in JobState.__members__:
        facts = {name: said[name] for name in End._fields if name in said}
        return _ended(id, End(**facts))
    return ()


def latest(id: str, view: View) -> Seen:
    """The last thing that the records say."""
    return history(id, view)[-1]


def listed(id: str, view: View) -> Listed:
    """One job as a listing tells it."""
    job = view.job
    return Listed(
        scope=(),
        name=job.name,
        job_set=job.job_set,
        user=job.user,
        seen=latest(id, view),
        submitted_at=job.submitted_at,
        labels=job.labels,
    )


def _ran(id: str, view: View) -> tuple[Seen, ...]:
    claim, end = view.claim, view.end
    if claim is None or claim.end is not None or (end and end.cause == Cause.START_ERROR):
        return ()
    return (_running(id, claim),)


def _running(id: str, claim: Claim) -> Seen:
    return Seen(id, JobState.RUNNING, attempt=1, at=claim.at, node=claim.node)


def _ended(id: str, end: End | None) -> tuple[Seen, ...]:
    if end is None:
        return ()
    return (
        Seen(
            id,
            JobState(end.state),
            attempt=1,
            final=True,
            at=end.at,
            cause=_cause(end),
            exit_code=end.exit_code,
            signal=end.signal,
            message=end.message,
        ),
    )


def _cause(end: End) -> Cause | None:
    """The cause; a cancel that names another one (a timeout enforced by a client) carries that."""
    if end.cause == Cause.CANCELLED and end.message in Cause.__members__:
        return Cause(end.message)
    if end.cause is not None:
        return Cause(end.cause)
    if end.signal:
        return Cause.SIGNAL
    return Cause.EXIT_CODE if end.exit_code else None
