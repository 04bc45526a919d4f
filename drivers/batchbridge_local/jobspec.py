"""Submission -> the job record that the runner executes. Pure.

The environment of a command is exactly: the variables of :func:`base`, those that the job names,
its secrets. Nothing of the submitter's environment is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from batchbridge.errors import Rejected
from batchbridge.model import Submission
from batchbridge_local.records import ID_LENGTH, Job

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DEFAULT_CPU = 1.0
"""Cores that a job counts for if it does not say."""


class Account(NamedTuple):
    """Who submits, as the password database says."""

    user: str
    home: str
    shell: str


class Bounds(NamedTuple):
    """What all running jobs may take together: cores and bytes."""

    cpu: float
    memory: int


def id_of(key: str) -> str:
    """The id of the job with this key; the same for everyone."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]


def base(account: Account) -> dict[str, str]:
    """The variables that every command gets, the same whoever started the supervisor."""
    return {
        "HOME": account.home,
        "LANG": "C.UTF-8",
        "LOGNAME": account.user,
        "PATH": PATH,
        "SHELL": account.shell,
        "TMPDIR": "/tmp",
        "USER": account.user,
    }


def job_of(
    submission: Submission,
    *,
    account: Account,
    bounds: Bounds,
    program: str,
    directory: Path,
    grace: float,
    at: float,
    boot: str,
) -> Job:
    """The record of this submission.

    `program`: where the command's first word was found when it was submitted. `directory`: where it
    was submitted, or where its files are unpacked; a working directory that the job names is taken
    from there.
    """
    spec = submission.spec
    return Job(
        id=id_of(submission.key),
        key=submission.key,
        digest=submission.digest,
        name=spec.name,
        job_set=submission.job_set,
        user=submission.user,
        labels=dict(spec.labels),
        command=[program, *spec.command[1:]],
        env={**base(account), **spec.env},
        secrets=sorted(submission.secrets),
        workdir=str(directory / (spec.workdir or "")),
        cpu=DEFAULT_CPU if spec.cpu is None else spec.cpu,
        memory=spec.memory or 0,
        cpu_bound=bounds.cpu,
        memory_bound=bounds.memory,
        grace=grace,
        timeout=spec.timeout,
        queue_timeout=spec.queue_timeout,
        submitted_at=at,
        boot=boot,
    )


def refusal(job: Job) -> Rejected | None:
    """Why this job could never start; None where it could."""
    gib = 1 << 30
    for what, asked, bound in (
        ("cores", job.cpu, job.cpu_bound),
        ("GiB of memory", job.memory / gib, job.memory_bound / gib),
    ):
        if asked > bound:
            return Rejected(
                f"the job asks for {round(asked, 2):.10g} {what}, "
                f"and all jobs here together may take {round(bound, 2):.10g}",
                remedy="ask for less, or raise the local driver's max_cpu or max_memory",
            )
    return None


def payload(job: Job) -> Mapping[str, object]:
    """The record as it is shown: what submit would write, with secrets named only."""
    return job._asdict()
