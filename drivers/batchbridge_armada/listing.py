"""The jobs of a job set, from all that is stored of its stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchbridge.model import Listed, Scope, Seen
from batchbridge_armada import ids
from batchbridge_armada.jobspec import OURS
from batchbridge_armada.translate import Translator

if TYPE_CHECKING:
    from armada_client.armada.event_pb2 import EventStreamMessage
    from armada_client.armada.submit_pb2 import Job


@dataclass(slots=True)
class _Known:
    """What was told of one job so far."""

    seen: Seen
    job: Job | None = None


def jobs(
    scope: Scope, messages: Iterable[EventStreamMessage], user: str | None = None
) -> list[Listed]:
    """Every job of which the messages tell, and where it was last; `user`: that one's only.

    Of a job that was submitted before what is stored begins, the name and the user are not known.
    """
    known: dict[str, _Known] = {}
    translator = Translator()
    for message in messages:
        seen = translator.seen(message)
        if seen is None:
            continue
        one = known.setdefault(seen.id, _Known(seen))
        if message.message.WhichOneof("events") == "submitted":
            one.job = message.message.submitted.job
        if not one.seen.final:
            one.seen = seen
    listed = (_listed(scope, one) for one in known.values())
    return [one for one in listed if user is None or one.user == user]


def _listed(scope: Scope, known: _Known) -> Listed:
    job = known.job
    notes = job.annotations if job is not None else {}
    return Listed(
        scope=scope,
        name=notes.get(OURS + "name", ""),
        job_set=scope[-1],
        user=notes.get(OURS + "user", job.owner if job is not None else ""),
        seen=known.seen,
        submitted_at=ids.submitted_at(known.seen.id),
        labels=dict(job.labels) if job is not None else {},
    )
