"""Runs of the trivial flow, and when what happened in them, seen from outside.

The runtime says when a task was launched and had finished, the job's record when it was submitted,
started and ended, the flow's own file when it was loaded and its step reached, and the file that
keeps the task's output when that was saved.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from batchbridge import Client, Job
from benchmarks.peers import ourselves
from benchmarks.place import SCRIPTS, Place

LINE = re.compile(r"(?P<at>[-\d]+ [:.\d]+) \[(?P<task>\d+/\w+/\d+) \(pid \d+\)\] (?P<text>.*)")

Moments = dict[str, float]
"""What happened to one task, and when, in seconds since the epoch."""


class Run(NamedTuple):
    """A run of the flow: how long it took, and its tasks in order."""

    seconds: float
    tasks: Sequence[Moments]


def plain(here: Place) -> Run:
    """A run whose tasks Metaflow runs itself."""
    taken, tasks = _run(here)
    return Run(taken, list(tasks.values()))


def with_jobs(here: Place) -> Run:
    """A run whose tasks are jobs of the local driver."""
    taken, tasks = _run(here, "--with", "local_batch")
    run_id = next(iter(tasks)).partition("/")[0]
    for job in _jobs(here, f"mf.TrivialFlow.{run_id}"):
        _, _, step, number, _ = job.name.split(".")
        path = f"{run_id}/{step}/{number}"
        tasks[path] |= _recorded(job)
        tasks[path]["saved"] = _saved(here.root / ".metaflow/TrivialFlow" / path)
    return Run(taken, list(tasks.values()))


def _run(here: Place, *options: str) -> tuple[float, dict[str, Moments]]:
    flow = SCRIPTS / "trivial_flow.py"
    began = time.perf_counter()
    output = here.output(ourselves().python, flow, "--no-pylint", "run", *options)
    return time.perf_counter() - began, _tasks(output)


def _tasks(output: str) -> dict[str, Moments]:
    """What the runtime says of each task, by its path."""
    tasks: dict[str, Moments] = {}
    for line in filter(None, map(LINE.fullmatch, output.splitlines())):
        at = datetime.strptime(line["at"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        tasks.setdefault(line["task"], {}).update(_said(line["text"], at.timestamp()))
    return tasks


def _said(text: str, at: float) -> Moments:
    match text.split():
        case ["stamps", loaded, reached]:
            return {"loaded": float(loaded), "reached": float(reached)}
        case ["Task", "is", "starting."]:
            return {"launched": at}
        case ["Task", "finished", "successfully."]:
            return {"finished": at}
        case [_, "Job", "is", "submitted."]:
            return {"followed": at}
    return {}


def _jobs(here: Place, job_set: str) -> Iterator[Job]:
    with Client("local", settings={"root": str(here.spool)}, journal=False) as client:
        yield from client.list(job_set)


def _recorded(job: Job) -> Moments:
    record = job.refresh()
    times = (record.submitted_at, record.started_at, record.finished_at)
    named = zip(("submitted", "started", "ended"), times, strict=True)
    return {name: at for name, at in named if at is not None}


def _saved(task: Path) -> float:
    """When the last of the task's output was kept."""
    return max(log.stat().st_mtime for log in task.glob("0.task_*.log"))
