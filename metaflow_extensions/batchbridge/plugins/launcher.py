"""What ``flow.py run`` does beside Metaflow: check the steps, guard the jobs, end what is left."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from typing import Any
from uuid import uuid4

from metaflow.plugins import get_plugin_cli_path
from metaflow.util import get_username

from batchbridge import BatchBridgeError, Client, registry, submit

from . import jobs, orphans, runs, task_env
from .attempts import Attempt, Order, launcher_words
from .attributes import BatchBridgeException
from .boot_plan import Package
from .guard import Guard
from .job import job_spec
from .runs import Run, Task

PATIENCE = 60.0
"""Seconds that the end of a run waits for the end of its jobs."""

Say = Callable[[str], None]


class Launch:
    """One run in its launcher. Its clients watch nothing until a job must be ended."""

    def __init__(self, flow: str, run_id: str) -> None:
        self.flow = flow
        self._run = Run(flow, run_id)
        self._clients: dict[str | None, Client] = {}
        self._guard: Guard | None = None
        self._package: Package | None = None
        self._finished = False

    def check(self, decorator: Any) -> None:
        """Refuse, before any task, a step whose driver or whose wishes cannot be had."""
        at = f"@{decorator.name} on the step {decorator.step}"
        if decorator.name not in get_plugin_cli_path():
            raise BatchBridgeException(f"{at}: METAFLOW_ENABLED_CLI leaves {decorator.name} out.")
        try:
            if decorator.backend and decorator.profile == decorator.backend:
                registry.load(decorator.backend)
            resolved = self._client(decorator.profile).engine.resolved
            submit.checked(resolved, {**decorator.form, "command": ["true"]})
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
        profiles = tuple(self._clients)
        self._run = runs.launched_here(self.flow, self._run.run_id, profiles)
        for line in orphans.lines(self.flow):
            say(line)
        try:
            runs.remember(self._run)
        except OSError as error:
            say(f"batchbridge: no later run will find what this one may leave behind: {error}")
        self._guard = Guard(self._run)

    def commands(self, decorator: Any, cli_args: Any, task_id: str, number: int) -> list[str]:
        """``NAME step`` with what the attempt's process is told; the job may have a head start."""
        assert self._package is not None, "a task was created before"
        order = Order(
            run_id=self._run.run_id,
            task_id=task_id,
            attempt=number,
            key=f"mf-{uuid4()}",
            launcher=os.getpid(),
            user=get_username(),
            package=self._package,
        )
        if decorator.head_start and number == 0:
            metadata = cli_args.top_level_options["metadata"]
            words = launcher_words(cli_args.get_args())
            self._submit(Attempt(decorator, order, self.flow, metadata, words))
        return [decorator.name, "step", "--spec", json.dumps(asdict(order))]

    def _submit(self, attempt: Attempt) -> None:
        """Give the attempt's job a head start. What goes wrong, its process will meet and tell."""
        client = self._client(attempt.decorator.profile)
        if client.driver.capabilities.idempotency != "exact":
            return
        task_env.offer_headers()
        spec = job_spec(attempt, client.driver.capabilities)
        with contextlib.suppress(BatchBridgeError):
            client.submit(spec, key=attempt.order.key)

    def confirm_ended(self, profile: str | None, step: str, task_id: str, attempt: int) -> None:
        """End the jobs of earlier attempts; the process that watched them may have been killed."""
        client = self._client(profile)
        find = partial(jobs.earlier, client, self._run, Task(step, task_id, attempt))
        if not jobs.end(client, find, reason="its attempt is over", patience=PATIENCE):
            raise BatchBridgeException(f"the last attempt's job of {step} does not end")

    def finish(self, exception: BaseException | None, say: Say) -> None:
        """At the end of the run: end its jobs, which a success has none of. Never raises."""
        if self._finished or self._guard is None:
            return
        self._finished = True
        left = () if exception is None else self._clients.values()
        if all([self._end_all(client, say) for client in left]):
            runs.forget(self._run)
            self._guard.release()

    def _end_all(self, client: Client, say: Say) -> bool:
        """Whether no job of the run is left there; if not, the guard goes on with it."""
        find = partial(jobs.live, client, self._run)
        try:
            return jobs.end(client, find, reason="the run is over", patience=PATIENCE)
        except BatchBridgeError as error:
            say(f"batchbridge: the jobs of this run could not be ended: {error}")
            return False

    def _client(self, profile: str | None) -> Client:
        if profile not in self._clients:
            self._clients[profile] = Client(profile, journal=False)
        return self._clients[profile]


launch = cache(Launch)
"""The launch of a run in this process: the same object for the same flow and run."""


def refusal(at: str, error: BatchBridgeError) -> BatchBridgeException:
    """The error as Metaflow shows it: what happened, where, and the remedy."""
    remedy = f"\n{error.remedy[0].upper()}{error.remedy[1:]}." if error.remedy else ""
    return BatchBridgeException(f"{at}: {error}{remedy}")
