"""What Nomad's lists say of jobs -> what is known of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from batchbridge.model import Listed, Scope
from batchbridge_nomad import translate
from batchbridge_nomad.jobspec import RESERVED, labels_of
from batchbridge_nomad.translate import Known
from batchbridge_nomad.wire import Alloc, Job, seconds


def known(job: Job, allocs: Sequence[Alloc]) -> Known:
    """A job with all its allocations, which were asked for after it.

    Of a job that was stopped, Nomad's time of submission is that of the stop.
    """
    meta = job.meta or {}
    limit = meta.get(RESERVED + "timeout")
    return Known(
        job.id,
        tuple(sorted(allocs, key=lambda alloc: (alloc.create_index, alloc.id))),
        submitted_at=None if job.stop else seconds(job.submit_time),
        stopped=job.stop,
        waiting=job.status == "pending" and not job.stop,
        secrets=RESERVED + "secrets" in meta,
        reruns=RESERVED + "reruns" in meta,
        timeout=float(limit) if limit else None,
    )


def listed(scope: Scope, job: Job, allocs: Sequence[Alloc]) -> Listed:
    """A job as a listing tells it."""
    meta, found = job.meta or {}, known(job, allocs)
    return Listed(
        scope,
        job.name,
        meta.get(RESERVED + "job_set", ""),
        meta.get(RESERVED + "user", ""),
        translate.history(found)[-1],
        found.submitted_at,
        labels_of(meta),
    )


def where(wanted: Mapping[str, str | None]) -> str:
    """The filter of Nomad's that keeps the jobs of which that was said."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return " and ".join(f"Meta.{RESERVED}{k} == {literal(v)}" for k, v in given.items())


def literal(value: str) -> str:
    """A string as Nomad's filters write it: Go's, in which no quote may stand, though escaped."""
    parts = (json.dumps(part, ensure_ascii=False)[1:-1] for part in value.split('"'))
    return '"' + r"\u0022".join(parts) + '"'


def digest(job: Job) -> str:
    """What was said of the work when it was submitted."""
    return (job.meta or {}).get(RESERVED + "digest", "")
