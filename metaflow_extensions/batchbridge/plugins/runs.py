"""A run of a flow: how its jobs are named, and what is kept about it while its launcher lives.

One small file per run, in the user's state directory, says who launched it and where its jobs went;
the next launcher finds by it what an earlier one left behind.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from batchbridge.journal import default_path


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
    profiles: tuple[str | None, ...] = ()
    host: str = ""
    pid: int = 0
    started: float = 0.0

    @property
    def job_set(self) -> str:
        """The job set of all its jobs."""
        return f"mf.{self.flow}.{self.run_id}"

    def job_name(self, task: Task) -> str:
        """The name of that attempt's job: ``FLOW.RUN.STEP.TASK.ATTEMPT``."""
        return f"{self.flow}.{self.run_id}.{task.step}.{task.task_id}.{task.attempt}"

    def launcher_gone(self) -> bool:
        """Whether it was launched on this host by a process that is no more."""
        if self.host != socket.gethostname():
            return False
        try:
            return psutil.Process(self.pid).create_time() != self.started
        except psutil.NoSuchProcess:
            return True


def launched_here(flow: str, run_id: str, profiles: tuple[str | None, ...]) -> Run:
    """The run that this process launches."""
    started = psutil.Process().create_time()
    return Run(flow, run_id, profiles, socket.gethostname(), os.getpid(), started)


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


def remembered_jobs(run: Run) -> list[tuple[str, str]]:
    """Name and reference of each job that `remember_job` wrote down."""
    path = _file(run, ".jobs")
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, ref) for name, _, ref in (line.partition(" ") for line in lines)]


def forget(run: Run) -> None:
    """Its jobs have all ended."""
    for suffix in (".json", ".jobs"):
        _file(run, suffix).unlink(missing_ok=True)


def abandoned(flow: str) -> Iterator[Run]:
    """The runs of that flow whose launcher on this host is gone."""
    for path in sorted(directory().glob(f"{flow}.*.json")):
        run = _read(path)
        if run and run.launcher_gone():
            yield run


def _read(path: Path) -> Run | None:
    try:
        form = json.loads(path.read_text())
        return Run(**{**form, "profiles": tuple(form["profiles"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _file(run: Run, suffix: str) -> Path:
    return directory() / f"{run.flow}.{run.run_id}{suffix}"
