"""From an attempt to the job that is submitted for it: the same job wherever it is worked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchbridge import JobSpec, submit
from batchbridge.settings import Resolved

from . import boot_plan, runs, task_env
from .attempts import Attempt, interpreter
from .images import contained, with_image
from .runs import Run, Task


def run_of(attempt: Attempt) -> Run:
    """The run that it belongs to."""
    return Run(attempt.flow, attempt.order.run_id)


def task_of(attempt: Attempt) -> Task:
    """The task that it is an attempt at, and its number."""
    return Task(attempt.step, attempt.order.task_id, attempt.order.attempt)


def wanted(decorator: Any, resolved: Resolved) -> tuple[dict[str, Any], bool]:
    """The form of the jobs of a step, but for what makes each a job; whether they are contained."""
    engine = decorator.engine
    inside = contained(engine.contained, decorator.form, resolved)
    if not (inside and engine.contained):
        return dict(decorator.form), inside
    return with_image(decorator.form, resolved, decorator.told.get("own.image")), inside


def some_job_spec(decorator: Any, resolved: Resolved) -> JobSpec:
    """What the jobs of a step have in common. Raises SpecError, Unsupported."""
    form, _ = wanted(decorator, resolved)
    return submit.checked(resolved, {**form, "command": ["true"]})


def job_spec(attempt: Attempt, resolved: Resolved) -> JobSpec:
    """The job of this attempt on that engine. Raises SpecError, Unsupported."""
    has = resolved.driver_cls.capabilities
    form, container = wanted(attempt.decorator, resolved)
    form["secrets"] = task_env.secret_sources(
        form.get("secrets", {}),
        named={*attempt.decorator.variables, *form.get("options", {}).get("secret_env", ())},
        datastore=attempt.datastore.TYPE,
        metadata=attempt.metadata,
        safe=has.secrets or getattr(resolved.settings, "allow_plain_credentials", False),
    )
    if has.labels:
        form["labels"] = {**form.get("labels", {}), **_labels(attempt)}
    form["env"] = _variables(attempt)
    form["name"] = run_of(attempt).job_name(task_of(attempt))
    form["job_set"] = attempt.decorator.target.job_set or run_of(attempt).job_set
    form["command"] = _command(attempt, container=container)
    return submit.checked(resolved, form)


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


def _labels(attempt: Attempt) -> Mapping[str, str]:
    task = task_of(attempt)
    facts = {
        "metaflow.flow": attempt.flow,
        "metaflow.run": attempt.order.run_id,
        "metaflow.step": task.step,
        "metaflow.task": task.task_id,
        "metaflow.attempt": str(task.attempt),
        "metaflow.user": attempt.order.user,
    }
    return {name: runs.label(value) for name, value in facts.items()}


def summary(spec: JobSpec, resolved: Resolved) -> str:
    """What the job asks for, for people: ``cpu 2000 MHz, memory 512 MB``."""
    amounts = {
        "cpu": _processors(spec, resolved),
        "memory": _megabytes(spec.memory),
        "disk": _megabytes(spec.disk),
        "gpu": spec.gpu,
        "image": spec.image,
        "driver": spec.options.get("driver"),
        "template": spec.options.get("template"),
    }
    return ", ".join(f"{name} {value}" for name, value in amounts.items() if value)


def _processors(spec: JobSpec, resolved: Resolved) -> str | None:
    mhz, cores = spec.options.get("cpu_mhz"), spec.options.get("cores")
    per_core = getattr(resolved.settings, "mhz_per_core", None)
    if mhz or cores or spec.cpu is None:
        return f"{mhz} MHz" if mhz else f"{cores} whole cores" if cores else None
    if per_core:
        return f"{spec.cpu * per_core:.0f} MHz"
    return f"{spec.cpu:g} core{'' if spec.cpu == 1 else 's'}"


def _megabytes(size: int | None) -> str | None:
    return None if size is None else f"{size / 2**20:g} MB"
