"""One attempt at one task: what its job is made of, the same in the launcher and in its process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .boot_plan import Package


@dataclass(frozen=True)
class Order:
    """What the launcher tells the attempt's process: the JSON of ``--spec``. It holds no secret."""

    run_id: str
    task_id: str
    attempt: int
    key: str  #: of the submit: the launcher and the process submit the same job
    launcher: int  #: its process id
    user: str
    package: Package

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> Order:
        """The order that the JSON holds."""
        return cls(**{**form, "package": Package(**form["package"])})


@dataclass(frozen=True)
class Attempt:
    """An order, the step that it is about, and how Metaflow would run that here."""

    decorator: Any  #: ours, on the step, after its `step_init`
    order: Order
    flow: str
    metadata: str  #: the type of the metadata provider
    words: Sequence[str]  #: ``flow.py TOP-OPTIONS step NAME OPTIONS``

    @property
    def step(self) -> str:
        return str(self.decorator.step)

    @property
    def datastore(self) -> Any:
        return self.decorator.datastore

    @property
    def local(self) -> bool:
        """Whether the datastore is a directory, which the job's machine then shares."""
        return bool(self.datastore.TYPE == "local")


def launcher_words(arguments: Sequence[str]) -> list[str]:
    """The step's words, out of the command line that Metaflow would start it with here."""
    _, script, *rest = arguments
    return [Path(script).name, *rest]


def process_words(argv: Sequence[str], step: str, arguments: Sequence[str]) -> list[str]:
    """The step's words, out of its process's ``flow.py TOP NAME step --spec JSON STEP OPTIONS``."""
    script, *rest = argv
    top = rest[: len(rest) - len(arguments) - len(("NAME", "step", "--spec", "JSON", "STEP"))]
    return [Path(script).name, *_without_local(top), "step", step, *arguments]


def _without_local(top: Sequence[str]) -> list[str]:
    """Without the option that names a file of the launcher's; the package holds its content."""
    if "--local-config-file" not in top:
        return list(top)
    at = top.index("--local-config-file")
    return [*top[:at], *top[at + 2 :]]


def interpreter(attempt: Attempt, *, container: bool) -> str:
    """The Python that runs the step; on a host like this one, the one that runs this."""
    default = "python" if container else sys.executable
    chosen = attempt.decorator.told.get("own.executable", default)
    return str(attempt.decorator.environment.executable(attempt.step, chosen))
