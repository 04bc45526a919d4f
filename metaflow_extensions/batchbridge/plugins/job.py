"""From an attempt to the job that is submitted for it: the same job wherever it is worked out."""

from __future__ import annotations

from batchbridge import JobSpec
from batchbridge.driver import Capabilities

from . import boot_plan, task_env
from .attempts import Attempt, interpreter
from .runs import Run, Task


def run_of(attempt: Attempt) -> Run:
    """The run that it belongs to."""
    return Run(attempt.flow, attempt.order.run_id)


def task_of(attempt: Attempt) -> Task:
    """The task that it is an attempt at, and its number."""
    return Task(attempt.step, attempt.order.task_id, attempt.order.attempt)


def job_spec(attempt: Attempt, has: Capabilities) -> JobSpec:
    """The job of this attempt, for an engine that has these capabilities."""
    form = dict(attempt.decorator.form)
    form["secrets"] = task_env.secret_sources(
        form.get("secrets", {}),
        plain=attempt.decorator.variables,
        datastore=attempt.datastore.TYPE,
        metadata=attempt.metadata,
        safe=has.secrets,
    )
    if has.labels:
        form["labels"] = _labels(attempt)
    form["env"] = _variables(attempt)
    form["name"] = run_of(attempt).job_name(task_of(attempt))
    form["job_set"] = run_of(attempt).job_set
    form["command"] = _command(attempt, container=has.image)
    return JobSpec.parse(form)


def _command(attempt: Attempt, *, container: bool) -> list[str]:
    datastore, environment = attempt.datastore, attempt.decorator.environment
    package = attempt.order.package
    plan = boot_plan.plan(
        package,
        root=datastore.datastore_root if attempt.local else None,
        fetch=boot_plan.fetch_command(environment, package.url, datastore.TYPE),
        install=boot_plan.install_command(environment, datastore.TYPE, container=container),
    )
    return boot_plan.boot_command(interpreter(attempt, container=container), plan, attempt.words)


def _variables(attempt: Attempt) -> dict[str, str]:
    """Metaflow's variables, and @environment's."""
    package, datastore = attempt.order.package, attempt.datastore
    return {
        **task_env.variables(
            datastore=datastore.TYPE,
            root=datastore.datastore_root,
            metadata=attempt.metadata,
            user=attempt.order.user,
            script=attempt.words[0],
        ),
        "METAFLOW_RUN_ID": attempt.order.run_id,
        "METAFLOW_CODE_METADATA": package.metadata,
        "METAFLOW_CODE_SHA": package.sha,
        "METAFLOW_CODE_URL": package.url,
        "METAFLOW_CODE_DS": datastore.TYPE,
        **attempt.decorator.variables,
    }


def _labels(attempt: Attempt) -> dict[str, str]:
    task = task_of(attempt)
    return {
        "metaflow.flow": attempt.flow,
        "metaflow.run": attempt.order.run_id,
        "metaflow.step": task.step,
        "metaflow.task": task.task_id,
        "metaflow.attempt": str(task.attempt),
        "metaflow.user": attempt.order.user,
    }
