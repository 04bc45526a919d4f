"""What Metaflow's metadata knows of a flow's runs and tasks, and the logs that are kept of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batchbridge import Job
from batchbridge.errors import SpecError

from . import runs
from .joblogs import JobLogs
from .runs import Task

RECENT = 14 * 86400.0
"""Seconds after its start that a run may still have jobs."""

OWN = 20.0
"""Seconds that an ended job's own process is given to keep its output and say so."""


@dataclass(frozen=True)
class History:
    """A flow's metadata provider and datastore, as Metaflow's command line has them."""

    flow: str
    metadata: Any
    datastore: Any

    def unfinished(self, user: str | None) -> Iterator[str]:
        """The ids of recent runs, of that user or of anybody, that have not come to their end."""
        since = time.time() - RECENT
        for run in self.metadata.get_object("flow", "run", None, None, self.flow) or ():
            begun, run_id = run.get("ts_epoch", 0) / 1000, str(run["run_number"])
            if begun >= since and user in (None, run.get("user_name")) and not self._over(run_id):
                yield run_id

    def _over(self, run_id: str) -> bool:
        where = (self.flow, run_id, "end")
        return bool(self.metadata.get_object("step", "task", None, None, *where))

    def keep(self, job: Job, now: float) -> None:
        """Save the output of a job that has ended by `now`, unless its own process does.

        That is given `OWN` seconds from the end. SpecError where the job's task is not known.
        """
        task = runs.task_of(job.name)
        if task is None:
            remedy = "name its run, with --run-id"
            raise SpecError("its task is not known, to keep its output with", remedy=remedy)
        run_id, ended = job.name.split(".")[1], min(now, job.record.finished_at or now)
        if not self._kept(run_id, task, ended + OWN):
            self._save(job, run_id, task)

    def _save(self, job: Job, run_id: str, task: Task) -> None:
        datastore = self.datastore.get_task_datastore(
            mode="w",
            run_id=run_id,
            step_name=task.step,
            task_id=task.task_id,
            attempt=task.attempt,
        )
        with JobLogs(datastore, shown=False) as logs:
            for chunk in job.logs(follow=False):
                logs.write(chunk)

    def _kept(self, run_id: str, task: Task, until: float) -> bool:
        """Whether the process says that it has; it is waited for `until` then, if it may live."""
        gone = any(run.run_id == run_id for run in runs.abandoned(self.flow))
        while not self._told(run_id, task):
            if gone or time.time() >= until:
                return False
            time.sleep(0.2)
        return True

    def _told(self, run_id: str, task: Task) -> bool:
        where = (self.flow, run_id, task.step, task.task_id)
        facts = self.metadata.get_object("task", "metadata", None, None, *where) or ()
        mine = f"attempt_id:{task.attempt}"
        return any(f["field_name"] == "batchbridge-state" and mine in f["tags"] for f in facts)
