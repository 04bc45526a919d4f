"""Asking Nomad for all that it knows of jobs: few each by itself, many from two lists."""

from __future__ import annotations

import os.path
import re
from collections.abc import Collection, Mapping, Sequence

from batchbridge_nomad import jobs
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.jobspec import PREFIX
from batchbridge_nomad.translate import Known
from batchbridge_nomad.wire import Alloc

ONE_BY_ONE = 8
"""Up to so many jobs are asked for each by itself; more are taken from lists."""


def known(api: Api, place: Place, ids: Collection[str]) -> dict[str, Known]:
    """What Nomad knows of these jobs; those that it denies are not in it.

    Jobs are asked for before their allocations: one that was stopped then has all the allocations
    that it will ever have. Who is in no list is asked for by itself.
    """
    found = {} if len(ids) <= ONE_BY_ONE else _from_lists(api, place, ids)
    for job_id in ids:
        job = None if job_id in found else api.job(place, job_id)
        if job is not None:
            found[job_id] = jobs.known(job, api.allocations_of(place, job_id))
    return found


def allocations(api: Api, place: Place, ids: Collection[str]) -> Mapping[str, Sequence[Alloc]]:
    """The allocations of these jobs, and of others, by job."""
    by_job: dict[str, list[Alloc]] = {}
    for alloc in api.allocations(place, prefix=beginning(ids)) if ids else ():
        by_job.setdefault(alloc.job_id, []).append(alloc)
    return by_job


def beginning(ids: Collection[str]) -> str:
    """What all these ids begin with, as far as a filter can say it; of none, what ours begin with.

    The keys of one day have much in common.
    """
    common = os.path.commonprefix(list(ids) or [PREFIX])  # noqa: RUF071 - by characters is meant
    return re.match(r"[A-Za-z0-9_-]*", common)[0]  # type: ignore[index]  # it matches everything


def _from_lists(api: Api, place: Place, ids: Collection[str]) -> dict[str, Known]:
    wanted = frozenset(ids)
    listed = [job for job in api.jobs(place, prefix=beginning(ids)) if job.id in wanted]
    allocs = allocations(api, place, ids)
    return {job.id: jobs.known(job, allocs.get(job.id, [])) for job in listed}
