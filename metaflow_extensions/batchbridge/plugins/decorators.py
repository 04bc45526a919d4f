"""``@local_batch``, ``@batchbridge``, ``@nomad`` and ``@armada``: one decorator, four names.

Importing this imports neither batchbridge nor a driver, because Metaflow imports it everywhere: in
the launcher, in each step's process here, and in the job, where batchbridge need not be installed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from dataclasses import replace
from typing import Any, ClassVar

from metaflow import metaflow_config
from metaflow.decorators import StepDecorator
from metaflow.plugins.timeout_decorator import get_run_time_limit_for_task

from . import job_metadata
from .attributes import (
    BatchBridgeException,
    asked,
    job_form,
    write_structure,
)
from .engines import ARMADA, BATCHBRIDGE, LOCAL, NOMAD
from .refusals import Setting, command_words, objection
from .tables import Engine
from .targets import Target

CONFIGURED = vars(metaflow_config)
"""Metaflow's configuration; ../config adds this extension's."""


def documented(what: str, engine: Engine) -> str:
    """The documentation of a decorator, its attributes from the engine's table."""
    lines = [f"{what}\n", "Parameters", "----------"]
    for one in engine.attributes:
        if one.name:
            lines += [f"{one.name} : {one.kind}, optional", f"    {one.help}"]
    return "\n".join(lines)


class BridgeDecorator(StepDecorator):
    """Run a step as a batch job. The names below differ in which engine they mean."""

    engine: ClassVar[Engine]
    """What the name takes, and how that is understood."""

    backend: ClassVar[str | None]
    """The engine where no profile is named; None: the configured default."""

    head_start: ClassVar[bool] = False
    """Whether the launcher submits first tries, which the attempt's process then submits again.

    Where a key is one job and a submit takes milliseconds, the job starts while that process does.
    """

    def _init(self) -> None:
        try:
            for name in self.engine.structured:
                self.attributes[name] = write_structure(name, self.attributes[name])
        except ValueError as error:
            raise BatchBridgeException(f"@{self.name}: {error}") from None

    @property
    def target(self) -> Target:
        """Where the step's job is submitted to, as far as the step itself says so."""
        own = self.engine.asked(self.attributes)
        profile = own.get("own.profile")
        return replace(
            self.usual_target(),
            profile=profile or self.backend,
            named=profile is not None,
            told=tuple(sorted(self.engine.reach(own).items())),
            job_set=self.told.get("own.job_set"),
        )

    @classmethod
    def usual_target(cls) -> Target:
        """Where the jobs of a step go that says nothing of it."""
        configured = cls.engine.configured(CONFIGURED)
        return Target(cls.engine.name, cls.backend, job_set=configured.get("own.job_set"))

    # -- in the launcher, in each step's process here, and in the job --------------------------

    def step_init(
        self,
        flow: Any,
        graph: Any,
        step_name: str,
        decorators: list[Any],
        environment: Any,
        flow_datastore: Any,
        logger: Any,
    ) -> None:
        """Refuse what cannot be; work out what the job asks for."""
        found = {other.name: other.attributes for other in decorators if other is not self}
        parallel = any(getattr(other, "IS_PARALLEL", False) for other in decorators)
        self.step, self.logger = step_name, logger
        self.datastore, self.environment = flow_datastore, environment
        self._refuse(found, parallel=parallel)
        variables = found.get("environment", {}).get("vars") or {}
        self.variables = {name: str(value) for name, value in variables.items()}
        pause = found.get("retry", {}).get("minutes_between_retries")
        self.minutes_between_retries = float(pause or 0)
        self.told = asked(
            self.engine,
            self.attributes,
            found.get("resources", {}),
            CONFIGURED,
            at=f"@{self.name} on the step {step_name}",
        )
        self.form = job_form(self.told, run_limit=get_run_time_limit_for_task(decorators))

    def _refuse(self, others: dict[str, dict[str, Any]], *, parallel: bool) -> None:
        local = self.datastore.TYPE == "local"
        setting = Setting(
            name=self.name,
            step=self.step,
            others=others,
            parallel=parallel,
            environment=self.environment.TYPE,
            shared_memory=others.get("resources", {}).get("shared_memory"),
            root=self.datastore.datastore_root if local else None,
            command=command_words(),
        )
        if problem := objection(setting):
            raise BatchBridgeException(problem)

    # -- in the launcher -----------------------------------------------------------------------

    def runtime_init(self, flow: Any, graph: Any, package: Any, run_id: str) -> None:
        """Before the first task: the driver is there, and has what the step asks for."""
        try:
            from .launcher import launch
        except ImportError as error:
            raise BatchBridgeException(
                f"@{self.name}: the library batchbridge cannot be imported: {error}\n"
                "Install it here; a folder or file of that name beside the flow hides it."
            ) from None
        self.package = package
        self.launch = launch(flow.name, run_id)
        self.launch.check(self)

    def runtime_task_created(
        self,
        task_datastore: Any,
        task_id: str,
        split_index: Any,
        input_paths: Any,
        is_cloned: bool,
        ubf_context: Any,
    ) -> None:
        """Before a task of this step: the run is guarded, and its code package saved."""
        if not is_cloned:
            self.launch.begin(self._say)
            self.launch.save(self.package, self.datastore)

    def runtime_step_cli(
        self, cli_args: Any, retry_count: int, max_user_code_retries: int, ubf_context: Any
    ) -> None:
        """Turn ``step`` into ``NAME step``; the fallback of @catch stays here."""
        task_id = str(cli_args.command_options["task-id"])
        if retry_count > max_user_code_retries:
            self.launch.confirm_ended(self, task_id, retry_count)
            return
        cli_args.commands = self.launch.commands(self, cli_args, task_id, retry_count)

    def runtime_finished(self, exception: BaseException | None) -> None:
        """At the end of the run: no job of it goes on."""
        # Of a second Ctrl-C, while it ends the tasks, Metaflow tells None, as of a success.
        if hasattr(self, "launch"):
            self.launch.finish(exception or sys.exception(), self._say)

    def _say(self, text: str) -> None:
        self.logger(text, system_msg=True)

    # -- in the job ----------------------------------------------------------------------------

    def task_pre_step(
        self,
        step_name: str,
        task_datastore: Any,
        metadata: Any,
        run_id: str,
        task_id: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
        ubf_context: Any,
        inputs: Any,
    ) -> None:
        """See to it that the working directory goes with the process, and metadata is whole."""
        self.metadata, self.task_datastore = metadata, task_datastore
        if job_metadata.is_apart(metadata, task_datastore):
            job_metadata.complete(metadata, run_id, step_name, task_id)
        scratch = os.environ.pop("BATCHBRIDGE_SCRATCH", None)
        if scratch:
            atexit.register(_remove, scratch, os.getpid())

    def task_finished(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        is_task_ok: bool,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        """Send home what the step wrote into a metadata directory of its own."""
        if job_metadata.is_apart(self.metadata, self.task_datastore):
            job_metadata.send_home(self.task_datastore)


def _remove(scratch: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child that exits leaves it to its parent
        shutil.rmtree(scratch, ignore_errors=True)


# Metaflow calls `init` only where a class has its own, so each name carries it.


class LocalBatchDecorator(BridgeDecorator):
    __doc__ = documented(
        "Run a step as a job on this machine, in the queue that all submitters share.", LOCAL
    )
    name, engine, backend = "local_batch", LOCAL, "local"
    head_start = True
    defaults = LOCAL.defaults
    init = BridgeDecorator._init


class NomadDecorator(BridgeDecorator):
    __doc__ = documented("Run a step as a job of a Nomad cluster.", NOMAD)
    name, engine, backend = "nomad", NOMAD, "nomad"
    defaults = NOMAD.defaults
    init = BridgeDecorator._init


class ArmadaDecorator(BridgeDecorator):
    __doc__ = documented("Run a step as a job of Armada.", ARMADA)
    name, engine, backend = "armada", ARMADA, "armada"
    defaults = ARMADA.defaults
    init = BridgeDecorator._init


class BatchBridgeDecorator(BridgeDecorator):
    __doc__ = documented(
        "Run a step as a job of the engine, or the profile, that ``backend`` names.", BATCHBRIDGE
    )
    name, engine = "batchbridge", BATCHBRIDGE
    backend = CONFIGURED["BATCHBRIDGE_BACKEND"]
    defaults = BATCHBRIDGE.defaults
    init = BridgeDecorator._init
