"""``flow.py NAME step|list|kill`` for each of the four names: one implementation."""

from __future__ import annotations

import json
import sys
from typing import Any

from metaflow import util
from metaflow._vendor import click
from metaflow.exception import CommandException
from metaflow.plugins import STEP_DECORATORS

from .attempts import Attempt, Order, process_words
from .targets import Target


def group(name: str) -> Any:
    """A group that holds the one command group `name`, as Metaflow wants a plugin's commands."""

    @click.group()
    def outer() -> None:
        pass

    @outer.group(name=name, help=f"Commands related to @{name}.")
    def inner() -> None:
        pass

    inner.add_command(step)
    inner.add_command(list_jobs)
    inner.add_command(kill)
    return outer


@click.command(
    help="Run one attempt at one task as a job. Metaflow calls this.",
    hidden=True,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--spec", required=True, help="What the launcher says of this attempt, as JSON.")
@click.argument("step-name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def step(ctx: Any, spec: str, step_name: str, arguments: tuple[str, ...]) -> None:
    """See `step.run`."""
    from .step import Step, run

    state, name = ctx.obj, ctx.parent.info_name
    attempt = Attempt(
        decorator=next(d for d in state.graph[step_name].decorators if d.name == name),
        order=Order.of(json.loads(spec)),
        flow=state.flow.name,
        metadata=state.metadata.TYPE,
        words=process_words(sys.argv, step_name, arguments),
    )
    sys.exit(run(Step(attempt, state.metadata)))


def _selection(command: Any) -> Any:
    """The options that say which jobs; by default those of the latest run."""
    for option in (
        click.option("--run-id", help="Those of that run."),
        click.option("--user", help="Those of that user, across all runs."),
        click.option("--my-runs", is_flag=True, help="Those of mine, across all runs."),
        click.option("--prefix", default="", help="Those whose name or id begins so."),
        click.option(
            "--job-id", "job_ids", multiple=True, help="That job: its id, name or reference."
        ),
        click.option("--job-set", help="Those of that job set."),
        click.option("--backend", help="The profile to look at; default: those the flow names."),
    ):
        command = option(command)
    return command


@click.command(name="list", help="List the unfinished jobs of this flow; default: its latest run.")
@_selection
@click.pass_context
def list_jobs(ctx: Any, **selection: Any) -> None:
    """One line per job, and those that outlived their launcher."""
    from .admin import listed

    for line in listed(_asked(ctx, **selection)):
        ctx.obj.echo_always(line)


@click.command(help="End the unfinished jobs of this flow; default: those of its latest run.")
@_selection
@click.option("--purge", is_flag=True, help="Then have the engine forget them, ended ones too.")
@click.pass_context
def kill(ctx: Any, purge: bool, **selection: Any) -> None:
    """Each job's end is confirmed; the exit code is 1 if one's is not."""
    from .admin import killed

    for line in killed(_asked(ctx, **selection), purge=purge):
        ctx.obj.echo_always(line)


def _asked(
    ctx: Any,
    *,
    user: str | None,
    my_runs: bool,
    run_id: str | None,
    backend: str | None,
    **names: Any,
) -> Any:
    from .admin import Asked
    from .history import History

    if my_runs and (user or run_id):
        raise CommandException("--my-runs excludes --user and --run-id.")
    state, user = ctx.obj, util.get_username() if my_runs else user
    if not (user or run_id or any(names.values())):
        run_id = util.get_latest_run_id(state.echo, state.flow.name)
        if run_id is None:
            raise CommandException("A previous run id was not found. Specify --run-id.")
    history = History(state.flow.name, state.metadata, state.flow_datastore)
    return Asked(history, _targets(ctx, backend), run_id, user, **names)


def _targets(ctx: Any, backend: str | None) -> tuple[Target, ...]:
    """Where to look: the named profile, where the flow's steps go, or the name's own engine."""
    name = ctx.parent.info_name
    if backend:
        return (Target(name, backend, named=True),)
    on_steps = {d.target for node in ctx.obj.graph for d in node.decorators if d.name == name}
    own = next(d for d in STEP_DECORATORS if d.name == name)
    return tuple(on_steps or {own.usual_target()})


local_batch_cli = group("local_batch")
batchbridge_cli = group("batchbridge")
nomad_cli = group("nomad")
armada_cli = group("armada")
