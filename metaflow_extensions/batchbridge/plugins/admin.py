"""``list`` and ``kill``: the jobs of a flow, of one run, of one user, or those that are named."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from batchbridge import BatchBridgeError, Client, Job
from batchbridge.errors import Unsupported
from batchbridge.model import JobRef

from . import jobs, orphans, runs
from .attributes import BatchBridgeException
from .clients import connect
from .history import History
from .launcher import refusal
from .runs import Run
from .targets import Target

PATIENCE = 60.0
"""Seconds that ``kill`` waits for the confirmed end of the jobs."""

NONE_FOUND = "No unfinished jobs were found."


@dataclass(frozen=True)
class Asked:
    """Which jobs of a flow, on these targets. What is None, or empty, excludes none."""

    history: History
    targets: tuple[Target, ...]
    run_id: str | None = None
    user: str | None = None
    prefix: str = ""  #: of the job's name, or of its id
    job_ids: tuple[str, ...] = ()  #: ids, names or references
    job_set: str | None = None

    @property
    def flow(self) -> str:
        return self.history.flow

    def matches(self, job: Job) -> bool:
        """Whether the job is called as was asked for."""
        called = (job.ref.id, str(job.ref), job.name)
        named = not self.job_ids or bool({*called} & {*self.job_ids})
        return named and any(name.startswith(self.prefix) for name in called)


def listed(asked: Asked) -> Iterator[str]:
    """A line for each unfinished job."""
    found = False
    for target in asked.targets:
        with connect(target) as client:
            for job in jobs.going(_found(client, target, asked)):
                found = True
                state = job.record.state or "not known yet"
                yield f"{job.ref} {state} {job.name}".rstrip()
    if not found:
        yield NONE_FOUND
    yield from orphans.lines(asked.flow)


def killed(asked: Asked, *, purge: bool = False) -> Iterator[str]:
    """End them, and say so of each. With `purge` the engine then forgets them.

    It forgets those too that had ended before, and their output, which is saved first.
    """
    found = False
    for target in asked.targets:
        with connect(target) as client:
            for line in _killed(client, target, asked, purge=purge):
                found = True
                yield line
    if not found:
        yield NONE_FOUND


def _killed(client: Client, target: Target, asked: Asked, *, purge: bool) -> Iterator[str]:
    if purge and not client.driver.capabilities.purge:
        missing = Unsupported(f"{client.driver.name} cannot purge", remedy="leave --purge out")
        raise refusal("kill", missing)
    found = {job.ref: job for job in _found(client, target, asked)}
    for job in jobs.going(found.values()):
        yield f"Ending {job.ref}" + (f" ({job.name})" if job.name else "")

    def left() -> list[Job]:
        found.update((job.ref, job) for job in jobs.going(_found(client, target, asked)))
        return jobs.going(found.values())

    if not jobs.end(client, left, reason="killed by the user", patience=PATIENCE):
        raise BatchBridgeException("the jobs were asked to end, and do not")
    if purge:
        yield from _purged(client, found.values(), asked.history)


def _purged(client: Client, ended: Iterable[Job], history: History) -> Iterator[str]:
    """Save what these jobs have written, then have the engine forget them all at once."""
    now, kept = time.time(), []
    for job in ended:
        try:
            history.keep(job, now)
            kept.append(job)
        except BatchBridgeError as error:
            yield f"{job.ref} is not purged: {error}; {error.remedy}".rstrip("; ")
    try:
        client.purge(kept)
    except BatchBridgeError as error:
        raise refusal("purge", error) from None
    for job in kept:
        yield f"{job.ref} is purged; its output is kept with the task"


# -- where they are --------------------------------------------------------------------------


def _found(client: Client, target: Target, asked: Asked) -> list[Job]:
    """The jobs that were asked for, those that have ended too."""
    try:
        return [job for job in _candidates(client, target, asked) if asked.matches(job)]
    except BatchBridgeError as error:
        raise refusal(f"jobs of {asked.flow}", error) from None


def _candidates(client: Client, target: Target, asked: Asked) -> list[Job]:
    if asked.run_id is not None:
        return _of_run(client, Run(asked.flow, asked.run_id), target, asked)
    if asked.job_set is not None:
        return jobs.of_runs(client, asked.flow, asked.user, job_set=asked.job_set)
    if asked.user is None and asked.job_ids and all("://" in one for one in asked.job_ids):
        return _attached(client, asked.job_ids)
    if client.driver.capabilities.list == "all":
        return jobs.of_runs(client, asked.flow, asked.user)
    known = _known_runs(asked)
    if client.driver.capabilities.list == "absent":
        return [job for run in known for job in jobs.of_run(client, run)]
    sets = dict.fromkeys(target.job_set or run.job_set for run in known)
    return [
        job
        for job_set in sets
        for job in jobs.of_runs(client, asked.flow, asked.user, job_set=job_set)
    ]


def _of_run(client: Client, run: Run, target: Target, asked: Asked) -> list[Job]:
    job_set = asked.job_set or target.job_set
    if asked.user is None:
        return jobs.of_run(client, run, job_set)
    theirs = jobs.of_runs(client, run.flow, asked.user, job_set=job_set or run.job_set)
    return [job for job in theirs if run.has(job.name)]


def _known_runs(asked: Asked) -> list[Run]:
    """The runs that may have jobs, as this machine and Metaflow's metadata remember them."""
    here = [run.run_id for run in runs.remembered(asked.flow)]
    known = dict.fromkeys([*here, *asked.history.unfinished(asked.user)])
    return [Run(asked.flow, run_id) for run_id in known]


def _attached(client: Client, refs: tuple[str, ...]) -> list[Job]:
    """The jobs of those references that are this client's engine's, and that it knows."""
    own = client.engine.address
    return jobs.held(client, {ref: "" for ref in refs if JobRef.parse(ref).engine == own})
