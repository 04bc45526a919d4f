"""What does not work with these decorators, each refused in one sentence before the first task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaflow._vendor import click

DEPLOYMENTS = frozenset({"airflow", "argo-workflows", "step-functions"})
COMPUTE = frozenset({"batch", "kubernetes", "local_batch", "batchbridge", "nomad", "armada"})
ENVIRONMENTS = frozenset({"conda", "pypi", "conda_base", "pypi_base", "uv"})


@dataclass(frozen=True)
class Setting:
    """What a step that carries our decorator `name` is combined with."""

    name: str
    step: str
    others: Collection[str]  #: the names of its other decorators
    parallel: bool
    environment: str
    shared_memory: Any
    root: str | None  #: of the datastore, where it is a local one
    command: Sequence[str]  #: the words after ``flow.py``


def objection(setting: Setting) -> str | None:
    """Why this cannot be run, or None."""
    at = f"@{setting.name} on the step {setting.step}"
    deployment = next(iter(DEPLOYMENTS.intersection(setting.command[:1])), None)
    if deployment and "create" in setting.command:
        return f"{at} cannot be deployed to {deployment}: start the flow with 'run' instead."
    if setting.command[:1] not in (["run"], ["resume"]):
        return None
    if setting.parallel:
        return f"{at} does not run @parallel steps: use foreach, or another compute decorator."
    packages = sorted(ENVIRONMENTS.intersection({*setting.others, setting.environment}))
    if packages or setting.environment != "local":
        what = packages[0] if packages else setting.environment
        return f"{at} does not build {what} environments: use image= or executable= instead."
    if rivals := sorted(COMPUTE.intersection(setting.others)):
        return f"{at} excludes @{rivals[0]} on the same step: name one place to run it."
    if setting.root is not None and not Path(setting.root).is_absolute():
        return f"{at} needs a local datastore with an absolute path: {setting.root} is none."
    if setting.shared_memory:
        return f"{at} cannot give @resources(shared_memory=…): ask for it in options=, or not."
    return None


def command_words() -> list[str]:
    """The words after ``flow.py`` and its top-level options; none outside the command line."""
    context = click.get_current_context(silent=True)
    while context is not None:
        words = getattr(context, "saved_args", None)
        if words:
            return list(words)
        context = context.parent
    return []
