"""What Armada says of jobs when it is asked: states by query, endings completed from the stream.

Two programs of Armada's keep two views of one history, each at its own pace: the states that
queries tell, and the stream of a job set. Neither is authoritative alone; so a job is denied only
where both do not know it though they should.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from batchbridge.model import Absent, Scope, Seen
from batchbridge_armada import ids
from batchbridge_armada.translate import ENDED, Translator, history, moment, standing

if TYPE_CHECKING:
    from armada_client.armada.event_pb2 import EventStreamMessage
    from armada_client.armada.job_pb2 import JobDetails

    from batchbridge_armada.api import Api

UNKNOWN = "UNKNOWN"
"""What a query says of a job that it does not know, or not yet."""

APART = 120.0
"""Seconds that the two views' times of one change may differ by."""

SOON = 60.0
"""Seconds within which an ending that a query tells is in the stream too."""

INGESTED = 300.0
"""Seconds after a submit before which nothing is made of its not being known."""

FORGOTTEN = 24 * 3600.0
"""Seconds after a submit after which a job set without any stream is one that is forgotten."""


def observations(api: Api, scope: Scope, known: Collection[str]) -> Iterator[Seen | Absent]:
    """All that is known of these jobs."""
    states = api.states(known)
    ended = {job_id: state for job_id, state in states.items() if state in ENDED}
    for job_id, state in states.items():
        yield from standing(job_id, state)
    if ended:
        yield from endings(api, scope, ended)
    unknown = [job_id for job_id in known if states.get(job_id, UNKNOWN) == UNKNOWN]
    if unknown:
        yield from denials(api, scope, unknown)


def endings(api: Api, scope: Scope, ended: Mapping[str, str]) -> Iterator[Seen]:
    """How these jobs ended. A failure's code is in the stream alone, and is waited for there."""
    details = api.details(ended)
    reasons = api.errors([id for id, state in ended.items() if state != "SUCCEEDED"])
    failed = [details[id] for id, state in ended.items() if state == "FAILED" and id in details]
    told = _told(api, scope, failed)
    for job_id, job in details.items():
        asked = list(history(job, ended[job_id], reasons.get(job_id, "")))
        streamed = told.get(job_id, [])
        if any(seen.final for seen in streamed):
            yield from (*asked[:-1], *streamed)
        elif ended[job_id] != "FAILED" or _settled(asked[-1]):
            yield from asked


def _settled(ending: Seen) -> bool:
    return ending.at is None or time.time() - ending.at > SOON


def _told(api: Api, scope: Scope, jobs: Collection[JobDetails]) -> dict[str, list[Seen]]:
    """What the stream tells of the ends of these jobs; reading stops when all are told."""
    if not jobs:
        return {}
    since = min(moment(job.last_transition_ts) or moment(job.submitted_ts) or 0.0 for job in jobs)
    missing, told = {job.job_id for job in jobs}, dict[str, list[Seen]]()
    wanted, translator = frozenset(missing), Translator()
    for message in _replay(api, scope, since - APART):
        seen = translator.seen(message)
        if seen is None or seen.id not in wanted or not seen.state.ending:
            continue
        told.setdefault(seen.id, []).append(seen)
        missing -= {seen.id} if seen.final else set()
        if not missing:
            break
    return told


def denials(api: Api, scope: Scope, unknown: Collection[str]) -> Iterator[Absent]:
    """Which of the jobs that queries do not know do not exist."""
    now = time.time()
    due: dict[str, float] = {}
    for job_id in unknown:
        at = ids.submitted_at(job_id)
        if at is None:
            yield Absent(job_id, now)
        elif now - at > INGESTED:
            due[job_id] = at
    if not due:
        return
    streamed, reached = _streamed(api, scope, due)
    for job_id, at in due.items():
        passed = reached > at + APART or now - at > FORGOTTEN
        if passed and job_id not in streamed:
            yield Absent(job_id, now)


def _streamed(api: Api, scope: Scope, due: Mapping[str, float]) -> tuple[frozenset[str], float]:
    """The jobs of which the stream tells, and the time that it has reached."""
    translator, found, reached = Translator(), set[str](), 0.0
    for message in _replay(api, scope, min(due.values()) - APART):
        reached = ids.moment(message.id)
        seen = translator.seen(message)
        if seen is not None:
            found.add(seen.id)
    return frozenset(found), reached


def _replay(api: Api, scope: Scope, since: float) -> Iterator[EventStreamMessage]:
    """What is stored of a job set's stream from that time on."""
    queue, job_set = scope
    stream = api.events(queue, job_set, ids.position(since), watch=False)
    try:
        yield from stream.read()
    finally:
        stream.break_off()
