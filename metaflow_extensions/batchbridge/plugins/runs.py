"""A run of a flow: how its jobs are named, and what is kept about it while its launcher lives.

One small file per run, in the user's state directory, says who launched it and where its jobs went;
the next launcher finds by it what an earlier one left behind.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil

from batchbridge.journal import default_path

from .targets import Target


@dataclass(frozen=True)
class Task:
    """One attempt at one task."""

    step: str
    task_id: str
    attempt: int


@dataclass(frozen=True)
class Run:
    """A run, and the process that launched it: its id and start time on that host."""

    flow: str
    run_id: str
    targets: tuple[Target, ...] = ()
    host: str = ""
    pid: int = 0
    started: float = 0.0

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> Run:
        """The run that was written as JSON. Raises TypeError, KeyError, where it is none."""
        return cls(**{**form, "targets": tuple(map(Target.of, form["targets"]))})

    @property
    def job_set(self) -> str:
        """The job set of all its jobs, but of those whose steps name another."""
        return f"mf.{self.flow}.{self.run_id}"

    def job_name(self, task: Task) -> str:
        """The name of that attempt's job: ``FLOW.RUN.STEP.TASK.ATTEMPT``."""
        return f"{self.flow}.{self.run_id}.{task.step}.{task.task_id}.{task.attempt}"

    def has(self, job_name: str) -> bool:
        """Whether that is the name of a job of this run."""
        return job_name.startswith(f"{self.flow}.{self.run_id}.")

    def launcher_gone(self) -> bool:
        """Whether it was launched on this host by a process that is no more."""
        if self.host != socket.gethostname():
            return False
        try:
            return psutil.Process(self.pid).create_time() != self.started
        except psutil.NoSuchProcess:
            return True


def launched_here(flow: str, run_id: str, targets: tuple[Target, ...]) -> Run:
    """The run that this process launches."""
    started = psutil.Process().create_time()
    return Run(flow, run_id, targets, socket.gethostname(), os.getpid(), started)


def key(run: Run, task: Task, *, launch: str, user: str, root: str) -> str:
    """What makes the submit of that attempt idempotent: no other attempt anywhere has it.

    `launch` is of one launcher alone: another that resumes the same run, or one over another
    datastore that counts its runs from 1 too, means other jobs.
    """
    words = json.dumps([root, user, launch, asdict(task), run.flow, run.run_id], sort_keys=True)
    name = run.job_name(task).replace(".", "-")  # Nomad's Variables take no dot in a job's id
    return f"mf-{name}-{sha256(words.encode()).hexdigest()[:16]}"


def label(value: str) -> str:
    """The value as every engine takes one: up to 63 letters, digits, '-', '_' and '.'."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", value)[:63].strip("-_.")


def task_of(job_name: str) -> Task | None:
    """The attempt whose job has that name; None where it is no job of a run."""
    parts = job_name.split(".")
    if len(parts) != 5 or not parts[4].isdecimal():
        return None
    return Task(parts[2], parts[3], int(parts[4]))


def directory() -> Path:
    """Where the files about runs are."""
    return default_path().parent / "metaflow"


def remember(run: Run) -> None:
    """Write down that this run may have jobs."""
    directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    half = _file(run, ".half")
    half.write_text(json.dumps(asdict(run)))
    half.rename(_file(run, ".json"))


def remember_job(run: Run, task: Task, ref: str) -> None:
    """Write down an attempt's job, for engines that cannot list theirs."""
    with _file(run, ".jobs").open("a") as lines:
        lines.write(f"{run.job_name(task)} {ref}\n")


def remembered_jobs(run: Run) -> dict[str, str]:
    """Reference -> name of each job that `remember_job` wrote down."""
    path = _file(run, ".jobs")
    lines = path.read_text().splitlines() if path.exists() else []
    return {ref: name for name, _, ref in (line.partition(" ") for line in lines)}


def forget(run: Run) -> None:
    """Its jobs have all ended."""
    for suffix in (".json", ".jobs"):
        _file(run, suffix).unlink(missing_ok=True)


def remembered(flow: str) -> Iterator[Run]:
    """The runs of that flow that were launched here and may have jobs."""
    for path in sorted(directory().glob(f"{flow}.*.json")):
        if run := _read(path):
            yield run


def abandoned(flow: str) -> Iterator[Run]:
    """Those of them whose launcher on this host is gone."""
    return (run for run in remembered(flow) if run.launcher_gone())


def _read(path: Path) -> Run | None:
    try:
        return Run.of(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _file(run: Run, suffix: str) -> Path:
    return directory() / f"{run.flow}.{run.run_id}{suffix}"
