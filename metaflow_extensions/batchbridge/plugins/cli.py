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
        click.option("--run-id", help="The unfinished jobs of that run."),
        click.option("--user", help="Those of that user, across all runs."),
        click.option("--my-runs", is_flag=True, help="Those of mine, across all runs."),
        click.option("--backend", help="The profile to look at; default: those the flow names."),
    ):
        command = option(command)
    return command


@click.command(name="list", help="List the unfinished jobs of this flow.")
@_selection
@click.pass_context
def list_jobs(ctx: Any, **selection: Any) -> None:
    """One line per job, and those that outlived their launcher."""
    from .admin import listed

    for line in listed(_asked(ctx, **selection)):
        ctx.obj.echo_always(line)


@click.command(help="End the unfinished jobs of this flow.")
@_selection
@click.pass_context
def kill(ctx: Any, **selection: Any) -> None:
    """Each job's end is confirmed; the exit code is 1 if one's is not."""
    from .admin import killed

    for line in killed(_asked(ctx, **selection)):
        ctx.obj.echo_always(line)


def _asked(
    ctx: Any, *, run_id: str | None, user: str | None, my_runs: bool, backend: str | None
) -> Any:
    from .admin import Asked

    if my_runs and (user or run_id):
        raise CommandException("--my-runs excludes --user and --run-id.")
    flow, user = ctx.obj.flow.name, util.get_username() if my_runs else user
    if not user and not run_id:
        run_id = util.get_latest_run_id(ctx.obj.echo, flow)
        if run_id is None:
            raise CommandException("A previous run id was not found. Specify --run-id.")
    return Asked(flow, _profiles(ctx, backend), run_id, user)


def _profiles(ctx: Any, backend: str | None) -> tuple[str | None, ...]:
    """Where to look: the named profile, those of the flow's steps, or the name's own engine."""
    if backend:
        return (backend,)
    name = ctx.parent.info_name
    on_steps = {d.profile for node in ctx.obj.graph for d in node.decorators if d.name == name}
    own = next(d.backend for d in STEP_DECORATORS if d.name == name)
    return tuple(on_steps or {own})


local_batch_cli = group("local_batch")
batchbridge_cli = group("batchbridge")
nomad_cli = group("nomad")
armada_cli = group("armada")
