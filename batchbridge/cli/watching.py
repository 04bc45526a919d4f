"""Verbs that stay until jobs end: watch and wait."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import click

from batchbridge.cli.console import emit, json_flag, note
from batchbridge.cli.following import (
    Changes,
    detaching,
    exit_status,
    follow,
    stay,
    summary,
    tell_missing,
    tell_where,
)
from batchbridge.cli.live import progress, table
from batchbridge.cli.selection import Found, JobsCommand, Wanted, chosen
from batchbridge.cli.session import Session
from batchbridge.configfiles import printable
from batchbridge.errors import UsageError, WaitTimeout
from batchbridge.jobs import Job, describe
from batchbridge.values import read_time
from batchbridge.watched import Event, job_json

verbose_flag: Final = click.option(
    "-v", "--verbose", is_flag=True, help="Show states that are inferred too."
)


@click.command("watch", cls=JobsCommand)
@click.option("--logs", is_flag=True, help="Show the output of the one job too.")
@verbose_flag
@json_flag
@click.pass_context
def watch_command(
    ctx: click.Context,
    session: Session,
    wanted: Wanted,
    logs: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Show every change of jobs until they end.

    On a terminal it is a table, elsewhere a line for each change. The exit code is the job's own;
    of several jobs 0 if all succeeded, else 1. Ctrl-C stops the watching, not the jobs; with --logs
    a second one, soon after, cancels the job.
    """
    found = chosen(session, wanted)
    changes = Changes(as_json=as_json, verbose=verbose, err=logs)
    if logs:
        follow_one(_only(found.jobs), changes)
    elif as_json or not sys.stdout.isatty():
        stay(found.jobs, changes.show)
    else:
        with table(found.jobs) as draw:
            stay(found.jobs, lambda fresh: draw())
    ctx.exit(_ended(found))


@click.command("wait", cls=JobsCommand)
@click.option("--timeout", metavar="TIME", help="Stop waiting after that long (90s, 10m, 2h).")
@json_flag
@click.pass_context
def wait_command(
    ctx: click.Context, session: Session, wanted: Wanted, timeout: str | None, as_json: bool
) -> None:
    """Wait for jobs to end; then count them by state and cause.

    The count is on stderr. Those that do not succeed are named as they end; --json prints each as
    it ends. The exit code is the job's own; of several jobs 0 if all succeeded, else 1; 125 if
    --timeout has passed.
    """
    seconds = None if timeout is None else read_time("timeout", timeout)
    found = chosen(session, wanted)
    wait_for(found.jobs, _emit_end if as_json else _name_failed, timeout=seconds)
    click.echo(summary(found.jobs), err=True)
    ctx.exit(_ended(found))


def wait_for(
    jobs: Sequence[Job],
    told: Callable[[Event], None],
    *,
    timeout: float | None = None,
    total: int | None = None,
    turn: Callable[[], None] = lambda: None,
) -> None:
    """Stay until all have ended, with a bar on a terminal; `told` of the end of each.

    `turn` may add to the jobs, up to `total`.
    """
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    with progress("ended", total or len(jobs)) as advance:

        def each_turn(fresh: list[Event]) -> None:
            for event in fresh:
                if event.record.terminal:
                    advance()
                    told(event)
            turn()
            if time.monotonic() >= deadline:
                going = sum(not job.done() for job in jobs)
                raise WaitTimeout(f"{going} of {len(jobs)} jobs had not ended after {timeout:g} s")

        stay(jobs, each_turn)


def follow_one(job: Job, changes: Changes) -> None:
    """Follow a job to its end; the first Ctrl-C detaches, a second one cancels."""
    with detaching(lambda: [job]):
        follow(job, changes)


def _emit_end(event: Event) -> None:
    emit(job_json(event.ref, event.name, event.job_set, event.record))


def _name_failed(event: Event) -> None:
    if event.record.exit_status:
        click.echo(describe(event.ref, event.record), err=True)


def _only(jobs: Sequence[Job]) -> Job:
    if len(jobs) != 1:
        raise UsageError(
            f"--logs is for one job, not for {len(jobs)}", remedy="batchbridge logs shows many"
        )
    return jobs[0]


def _ended(found: Found) -> int:
    """The exit code for jobs that have ended; those that their engines deny are named."""
    tell_missing(found.jobs)
    return found.exit_code or exit_status(found.jobs)


@dataclass(frozen=True, slots=True)
class Mode:
    """What happens once jobs are submitted."""

    follow: bool
    wait: bool
    as_json: bool
    verbose: bool

    @property
    def detach(self) -> bool:
        """Nobody waits."""
        return not (self.follow or self.wait)

    def tell(self, job: Job) -> None:
        """Name a job that was submitted; where its end will be told on stdout, not there."""
        if self.follow:
            note(f"submitted {job.ref}")
        elif not self.as_json:
            click.echo(str(job.ref))
        elif self.detach:
            emit(job.to_json())

    def tell_about(self, job: Job) -> None:
        """For people: what its driver noted of it, and where else to look."""
        if not self.as_json:
            hints = (f"{label}: {text}" for label, text in job.hints().items())
            for line in (*job.notes, *hints):
                note(printable(line))

    def stay(
        self,
        jobs: Sequence[Job],
        *,
        total: int | None = None,
        turn: Callable[[], None] = lambda: None,
    ) -> int:
        """Stay with the jobs as it was asked for: the exit code; `turn` may add to them."""
        changes = Changes(as_json=self.as_json, verbose=self.verbose, err=True)
        if self.detach or not jobs:
            return 0
        if self.follow and len(jobs) == (total or 1) == 1:
            follow_one(jobs[0], changes)
            if exit_status(jobs) and not self.as_json:
                tell_where(jobs[0])
            return exit_status(jobs)

        def show(fresh: list[Event]) -> None:
            changes.show(fresh)
            turn()

        with detaching(lambda: jobs):
            if self.follow:
                stay(jobs, show)
            else:
                told = _emit_end if self.as_json else _name_failed
                wait_for(jobs, told, total=total, turn=turn)
        return exit_status(jobs)


def mode_flags(function: Callable[..., None]) -> Callable[..., None]:
    """The flags that say what happens once jobs are submitted; `function` gets them as ``mode``."""

    @click.option(
        "-f", "--follow", is_flag=True, help="Show states until the end; the output of one job too."
    )
    @click.option("--wait", is_flag=True, help="Wait until the end; name what did not succeed.")
    @verbose_flag
    @json_flag
    @wraps(function)
    def call(
        *args: Any, follow: bool, wait: bool, as_json: bool, verbose: bool, **rest: Any
    ) -> None:
        function(*args, mode=Mode(follow, wait, as_json, verbose), **rest)

    return call
