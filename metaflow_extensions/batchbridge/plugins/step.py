"""One attempt at one task, from here: submit its job, show what it writes, say how it ended."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaflow import util
from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY
from metaflow.metadata_provider import MetaDatum
from metaflow.metadata_provider.util import sync_local_metadata_from_datastore
from metaflow.metaflow_config import DATASTORE_LOCAL_DIR

from batchbridge import BatchBridgeError, Client, Job, JobSpec, JobState, Record
from batchbridge.client import describe
from batchbridge.errors import LogsUnavailable

from . import boot_plan, jobs, runs, task_env
from .attributes import BatchBridgeException
from .boot_plan import Package
from .joblogs import JobLogs
from .runs import Run, Task
from .stops import Stopped, Stops

PATIENCE = 600.0
"""Seconds that an attempt waits for the confirmed end of the one before."""

FAREWELL = 30.0
"""Seconds that a process that was stopped waits for the end of its job."""


@dataclass(frozen=True)
class Order:
    """What the launcher tells the step's process: the JSON of ``--spec``. No secret is in it."""

    run_id: str
    task_id: str
    attempt: int
    launcher: int
    package: Package

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> Order:
        """The order that the JSON holds."""
        return cls(**{**form, "package": Package(**form["package"])})


@dataclass(frozen=True)
class Step:
    """A step of a flow in this process: Metaflow's objects, and our decorator on it."""

    state: Any  #: Metaflow's: flow, graph, environment, datastore, metadata
    decorator: Any
    name: str
    order: Order
    arguments: Sequence[str]  #: the step's own command line, after its name
    top_options: Mapping[str, Any]

    @property
    def run(self) -> Run:
        return Run(self.state.flow.name, self.order.run_id)

    @property
    def task(self) -> Task:
        return Task(self.name, self.order.task_id, self.order.attempt)

    @property
    def local(self) -> bool:
        """Whether the datastore is a directory, which the job's machine then shares."""
        return bool(self.state.flow_datastore.TYPE == "local")

    def other(self, name: str) -> Mapping[str, Any]:
        """The attributes of the step's decorator of that name; empty if it has none."""
        found = [d for d in self.state.graph[self.name].decorators if d.name == name]
        return found[0].attributes if found else {}


def run(step: Step) -> int:
    """Run one attempt to its end; the exit code that tells Metaflow's runtime how it went."""
    stops = Stops(step.order.launcher)
    with stops.watched(), Client(step.decorator.profile, journal=False) as client:
        try:
            return _attempt(step, client, stops)
        except Stopped as stopped:
            _say(f"stopped by {stopped}")
            return METAFLOW_EXIT_DISALLOW_RETRY
        except BatchBridgeError as error:
            _say(f"{error}\n{error.remedy}".rstrip())
            return 1 if error.retryable else METAFLOW_EXIT_DISALLOW_RETRY
        finally:
            _fetch_metadata(step)


def _attempt(step: Step, client: Client, stops: Stops) -> int:
    if step.task.attempt:
        _after_the_last(step, client)
    with stops.held():
        job = client.submit(job_spec(step, client))
        if not client.driver.capabilities.list:
            runs.remember_job(step.run, str(job.ref))
    with _ended(client, job):
        _say(f"[{job.ref}] Job is submitted.")
        _register(step, {"batchbridge-job": str(job.ref), "batchbridge-backend": job.ref.backend})
        _follow(step, job)
        record = job.wait()
    _register(step, _facts(record))
    return _verdict(job, record)


def _after_the_last(step: Step, client: Client) -> None:
    """Before a retry: the end of the last attempt's job confirmed, and @retry's pause."""
    find = lambda: jobs.earlier(client, step.run, step.task)  # noqa: E731
    if not jobs.end(client, find, reason="its attempt is over", patience=PATIENCE):
        raise BatchBridgeException("the last attempt's job does not end; nothing was started")
    minutes = float(step.other("retry").get("minutes_between_retries") or 0)
    if minutes:
        _say(f"Sleeping {minutes:g} minutes before the next attempt.")
        time.sleep(minutes * 60)


@contextlib.contextmanager
def _ended(client: Client, job: Job) -> Iterator[None]:
    """Whatever ends the block, the job does not outlive it."""
    try:
        yield
    except BaseException as error:
        reason = str(error) if isinstance(error, Stopped) else type(error).__name__
        going = lambda: [] if job.done() else [job]  # noqa: E731
        jobs.end(client, going, reason=f"the step was stopped: {reason}", patience=FAREWELL)
        raise


def _follow(step: Step, job: Job) -> None:
    """Show and keep the output until the job has ended."""
    datastore = step.state.flow_datastore.get_task_datastore(
        mode="w",
        run_id=step.order.run_id,
        step_name=step.name,
        task_id=step.order.task_id,
        attempt=step.order.attempt,
    )
    with JobLogs(datastore) as logs:
        try:
            for chunk in job.logs():
                logs.write(chunk)
        except LogsUnavailable as error:
            _say(f"[{job.ref}] its output cannot be shown: {error}")


def _verdict(job: Job, record: Record) -> int:
    if record.state is JobState.SUCCEEDED:
        return 0
    fault = " (segmentation fault)" if record.signal == 11 or record.exit_code == 139 else ""
    _say(f"[{describe(job.ref, record)}{fault}]")
    return METAFLOW_EXIT_DISALLOW_RETRY if record.state is JobState.CANCELLED else 1


# -- the job ---------------------------------------------------------------------------------


def job_spec(step: Step, client: Client) -> JobSpec:
    """The job of this attempt."""
    state, decorator, has = step.state, step.decorator, client.driver.capabilities
    form = dict(decorator.form)
    form["env"] = _variables(step)
    form["secrets"] = task_env.secret_sources(
        form.get("secrets", {}),
        datastore=state.flow_datastore.TYPE,
        metadata=state.metadata.TYPE,
        safe=has.secrets,
    )
    task_env.offer_headers()
    if has.labels:
        form["labels"] = _labels(step)
    return JobSpec.parse(
        {
            **form,
            "name": step.run.job_name(step.task),
            "job_set": step.run.job_set,
            "command": _command(step, container=has.image),
        }
    )


def _command(step: Step, *, container: bool) -> list[str]:
    state, package = step.state, step.order.package
    kind, root = state.flow_datastore.TYPE, state.flow_datastore.datastore_root
    # On a host like this one, the step runs in the Python that launched it.
    default = "python" if container else sys.executable
    executable = state.environment.executable(
        step.name, step.decorator.attributes["executable"] or default
    )
    plan = boot_plan.plan(
        package,
        root=root if step.local else None,
        fetch=boot_plan.fetch_command(state.environment, package.url, kind),
        install=boot_plan.install_command(state.environment, kind, container=container),
    )
    return boot_plan.boot_command(executable, plan, _step_words(step))


def _step_words(step: Step) -> list[str]:
    """``flow.py TOP-OPTIONS step NAME ARGUMENTS``, as words."""
    # Metaflow quotes for a shell; no shell will read these.
    options = shlex.split(" ".join(util.dict_to_cli_options(step.top_options)))
    return [_script(), *options, "step", step.name, *step.arguments]


def _script() -> str:
    return Path(sys.argv[0]).name


def _variables(step: Step) -> dict[str, str]:
    """Metaflow's variables, and @environment's."""
    datastore = step.state.flow_datastore
    asked = step.other("environment").get("vars") or {}
    return {
        **task_env.variables(
            datastore=datastore.TYPE,
            root=datastore.datastore_root,
            metadata=step.state.metadata.TYPE,
            user=util.get_username(),
            script=_script(),
        ),
        "METAFLOW_RUN_ID": step.order.run_id,
        "METAFLOW_CODE_METADATA": step.order.package.metadata,
        "METAFLOW_CODE_SHA": step.order.package.sha,
        "METAFLOW_CODE_URL": step.order.package.url,
        "METAFLOW_CODE_DS": datastore.TYPE,
        **{name: str(value) for name, value in asked.items()},
    }


def _labels(step: Step) -> dict[str, str]:
    return {
        "metaflow.flow": step.run.flow,
        "metaflow.run": step.order.run_id,
        "metaflow.step": step.name,
        "metaflow.task": step.order.task_id,
        "metaflow.attempt": str(step.order.attempt),
        "metaflow.user": util.get_username(),
    }


# -- what is told ----------------------------------------------------------------------------


def _facts(record: Record) -> dict[str, str]:
    facts = {
        "batchbridge-state": record.state,
        "batchbridge-cause": record.cause,
        "batchbridge-node": record.node,
        "batchbridge-exit-code": record.exit_code,
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _register(step: Step, facts: Mapping[str, str]) -> None:
    """Write facts into the task's metadata, tagged with the attempt."""
    tags = [f"attempt_id:{step.order.attempt}"]
    data = [MetaDatum(field=n, value=v, type=n, tags=tags) for n, v in facts.items()]
    metadata = step.state.metadata
    metadata.register_metadata(step.order.run_id, step.name, step.order.task_id, data)


def _fetch_metadata(step: Step) -> None:
    """Bring home what the step wrote into a metadata directory of its own."""
    if step.local or step.state.metadata.TYPE != "local":
        return
    # A job that never came to run has left none; that is not what the user must hear about.
    with contextlib.suppress(Exception):
        sync_local_metadata_from_datastore(
            DATASTORE_LOCAL_DIR,
            step.state.flow_datastore.get_task_datastore(
                step.order.run_id, step.name, step.order.task_id
            ),
        )


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)
