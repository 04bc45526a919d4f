"""What ``flow.py run`` does beside Metaflow: check the steps, guard the jobs, end what is left."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache, partial
from typing import Any
from uuid import uuid4

from metaflow.plugins import get_plugin_cli_path
from metaflow.util import get_username

from batchbridge import BatchBridgeError, Client

from . import jobs, orphans, runs, switches, task_env
from .attempts import Attempt, Order, launcher_words
from .attributes import BatchBridgeException
from .boot_plan import Package
from .clients import connect
from .guard import Guard
from .job import job_spec, some_job_spec
from .runs import Run, Task
from .targets import Target
from .telling import explained

PATIENCE = 60.0
"""Seconds that the end of a run waits for the end of its jobs."""

Say = Callable[[str], None]


class Launch:
    """One run in its launcher. Its clients watch nothing until a job must be ended."""

    def __init__(self, flow: str, run_id: str) -> None:
        self.flow = flow
        self._run = Run(flow, run_id)
        self._clients: dict[Target, Client] = {}
        self._id = str(uuid4())
        self._guard: Guard | None = None
        self._package: Package | None = None
        self._finished = False

    def check(self, decorator: Any) -> None:
        """Refuse, before any task, a step whose driver or whose wishes cannot be had."""
        at = f"@{decorator.name} on the step {decorator.step}"
        if decorator.name not in get_plugin_cli_path():
            raise BatchBridgeException(f"{at}: METAFLOW_ENABLED_CLI leaves {decorator.name} out.")
        try:
            some_job_spec(decorator, self._client(decorator.target).engine.resolved)
        except BatchBridgeError as error:
            raise refusal(at, error) from None

    def save(self, package: Any, datastore: Any) -> None:
        """Save the code package, once per run."""
        if self._package is None:
            url, sha = datastore.save_data([package.blob], len_hint=1)[0]
            self._package = Package(package.package_metadata, sha, url)

    def begin(self, say: Say) -> None:
        """Before the first task: name what earlier runs left behind, and post the guard."""
        if self._guard is not None:
            return
        self._run = runs.launched_here(self.flow, self._run.run_id, tuple(self._clients))
        for line in (*switches.lines(), *self._withheld(), *orphans.lines(self.flow)):
            say(line)
        try:
            runs.remember(self._run)
        except OSError as error:
            say(f"batchbridge: no later run will find what this one may leave behind: {error}")
        self._guard = Guard(self._run)

    def _withheld(self) -> Iterator[str]:
        """What of the files and the environment is for another address than the one in use."""
        for client in self._clients.values():
            if names := ", ".join(client.engine.resolved.withheld):
                yield f"batchbridge: {names} not used: configured for another address"

    def commands(self, decorator: Any, cli_args: Any, task_id: str, number: int) -> list[str]:
        """``NAME step`` with what the attempt's process is told; the job may have a head start."""
        assert self._package is not None, "a task was created before"
        order = Order(
            run_id=self._run.run_id,
            task_id=task_id,
            attempt=number,
            key=self._key(decorator, Task(decorator.step, task_id, number)),
            launcher=os.getpid(),
            user=get_username(),
            package=self._package,
        )
        if decorator.head_start and number == 0:
            metadata = cli_args.top_level_options["metadata"]
            words = launcher_words(cli_args.get_args())
            self._submit(Attempt(decorator, order, self.flow, metadata, words))
        return [decorator.name, "step", "--spec", json.dumps(asdict(order))]

    def _key(self, decorator: Any, task: Task) -> str:
        root = decorator.datastore.datastore_root
        return runs.key(self._run, task, launch=self._id, user=get_username(), root=root)

    def _submit(self, attempt: Attempt) -> None:
        """Give the attempt's job a head start. What goes wrong, its process will meet and tell."""
        client = self._client(attempt.decorator.target)
        if client.driver.capabilities.idempotency != "exact":
            return
        task_env.offer_headers()
        spec = job_spec(attempt, client.engine.resolved)
        with contextlib.suppress(BatchBridgeError):
            client.submit(spec, key=attempt.order.key)

    def confirm_ended(self, decorator: Any, task_id: str, attempt: int) -> None:
        """End the jobs of earlier attempts; the process that watched them may have been killed."""
        client, step = self._client(decorator.target), decorator.step
        task, job_set = Task(step, task_id, attempt), decorator.target.job_set
        find = partial(jobs.earlier, client, self._run, task, job_set)
        spec, reason = some_job_spec(decorator, client.engine.resolved), "its attempt is over"
        if not jobs.end_before_another(client, find, spec, reason=reason, patience=PATIENCE):
            raise BatchBridgeException(f"the last attempt's job of {step} does not end")

    def finish(self, exception: BaseException | None, say: Say) -> None:
        """At the end of the run: end its jobs, which a success has none of. Never raises."""
        if self._finished or self._guard is None:
            return
        self._finished = True
        left = () if exception is None else tuple(self._clients)
        if all([self._end_all(target, say) for target in left]):
            runs.forget(self._run)
            self._guard.release()

    def _end_all(self, target: Target, say: Say) -> bool:
        """Whether no job of the run is left there; if not, the guard goes on with it."""
        client = self._client(target)
        find = partial(jobs.live, client, self._run, target.job_set)
        try:
            return jobs.end(client, find, reason="the run is over", patience=PATIENCE)
        except BatchBridgeError as error:
            say(f"batchbridge: the jobs of this run could not be ended: {error}")
            return False

    def _client(self, target: Target) -> Client:
        if target not in self._clients:
            self._clients[target] = connect(target)
        return self._clients[target]


launch = cache(Launch)
"""The launch of a run in this process: the same object for the same flow and run."""


def refusal(at: str, error: BatchBridgeError) -> BatchBridgeException:
    """The error as Metaflow shows it: what happened, where, and the remedy."""
    return BatchBridgeException(f"{at}: {explained(error)}")
