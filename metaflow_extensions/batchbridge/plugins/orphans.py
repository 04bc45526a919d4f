"""What runs left behind whose launcher is gone: named by the next run, by list and by doctor.

It is wanted where Metaflow need not be installed, so it imports none of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from batchbridge import BatchBridgeError, Job
from batchbridge.model import Check

from . import jobs, runs
from .clients import connect
from .runs import Run
from .targets import Target


def lines(flow: str) -> Iterator[str]:
    """A line for each job of that flow that outlived its launcher."""
    for run in runs.abandoned(flow):
        for check in _checks(run):
            yield f"batchbridge: {check.detail}; {check.remedy}"


def checks() -> Iterator[Check]:
    """The same of every flow, for ``batchbridge doctor``."""
    sound = True
    for run in runs.abandoned("*"):
        for check in _checks(run):
            sound = False
            yield check
    if sound:
        yield Check("orphans", True, "no job outlived the launcher of its run")


def _checks(run: Run) -> Iterator[Check]:
    """What is wrong with that run; a run with no job left is forgotten."""
    try:
        left = [job for target in run.targets for job in _live_on(target, run)]
    except BatchBridgeError as error:
        problem = f"run {run.run_id} of {run.flow} may have left jobs behind: {error}"
        yield Check("orphans", False, problem, error.remedy)
        return
    for job in left:
        what = f"{job.ref} of run {run.run_id} of {run.flow} outlived its launcher"
        yield Check("orphans", False, what, f"end it with: batchbridge cancel {job.ref}")
    if not left:
        runs.forget(run)


def _live_on(target: Target, run: Run) -> list[Job]:
    with connect(target) as client:
        return jobs.live(client, run, target.job_set)
