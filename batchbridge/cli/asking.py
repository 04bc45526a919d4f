"""Verbs that ask an engine to change a job: cancel, preempt, reprioritise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click

from batchbridge.cli.console import note
from batchbridge.cli.flags import checked_text
from batchbridge.cli.jobs import show
from batchbridge.cli.selection import Found, JobsCommand, Wanted, chosen, find, known
from batchbridge.cli.session import Session
from batchbridge.cli.watching import wait_for
from batchbridge.jobs import Job, able

_REASON: Final = click.option(
    "--reason", default="", callback=checked_text, help="Why; the engine's records may show it."
)


@click.command("cancel", cls=JobsCommand)
@click.option("--yes", is_flag=True, help="Do not ask before cancelling more than one.")
@click.option(
    "--purge",
    is_flag=True,
    help="Wait for their end, and remove them from the engine then, their logs with them.",
)
@_REASON
@click.pass_context
def cancel_command(
    ctx: click.Context, session: Session, wanted: Wanted, yes: bool, purge: bool, reason: str
) -> None:
    """Ask for the end of jobs.

    What becomes of it is observed: batchbridge wait shows it. Jobs that are over are left as they
    are. --job-set alone ends the whole set where the engine can, jobs that nobody here knows too.
    """
    whole = _whole_set(session, wanted)
    found = known(find(session, wanted) if whole else chosen(session, wanted))
    live = _live(found)
    if purge:
        able(found.jobs, "purge")
    if len(live) > 1 and not yes and sys.stdin.isatty():
        show(found, live, as_json=False)
        click.confirm(f"Cancel these {len(live)} jobs?", abort=True, err=True)
    session.client.cancel(live, reason=reason)
    over = len(found.jobs) - len(live)
    note(f"asked to cancel {len(live)}" + (f"; {over} were over already" if over else ""))
    if whole:
        session.client.cancel_set(whole, reason=reason)
        note(f"asked to cancel whatever else is in the job set {whole}")
    if purge:
        _purge(session, found.jobs)
    ctx.exit(found.exit_code)


def _whole_set(session: Session, wanted: Wanted) -> str | None:
    """The job set, where it is all that is said and the engine ends it by its name."""
    alone = wanted == Wanted(job_set=wanted.job_set)
    can = session.client.driver.capabilities.cancel_set
    return wanted.job_set if alone and can else None


def _purge(session: Session, jobs: Sequence[Job]) -> None:
    wait_for(jobs, lambda event: None)
    there = [job for job in jobs if not job.record.missing]
    session.client.purge(there)
    note(f"removed {len(there)}, their logs with them")


@click.command("preempt", cls=JobsCommand)
@_REASON
@click.pass_context
def preempt_command(ctx: click.Context, session: Session, wanted: Wanted, reason: str) -> None:
    """Ask that running jobs give up their places.

    The engine may run them again elsewhere where their --reruns allows it; else they end as
    PREEMPTED. Jobs that are over are left as they are.
    """
    found = known(chosen(session, wanted))
    able(found.jobs, "preempt")
    live = _live(found)
    session.client.preempt(live, reason=reason)
    note(f"asked to preempt {len(live)}")
    ctx.exit(found.exit_code)


@click.command("reprioritise", cls=JobsCommand)
@click.option(
    "--priority", type=float, required=True, help="The number; what it means is the engine's."
)
@click.pass_context
def reprioritise_command(
    ctx: click.Context, session: Session, wanted: Wanted, priority: float
) -> None:
    """Give jobs another priority.

    Jobs that are over are left as they are.
    """
    found = known(chosen(session, wanted))
    able(found.jobs, "reprioritise")
    live = _live(found)
    session.client.reprioritise(live, priority)
    note(f"gave {len(live)} the priority {priority:g}")
    ctx.exit(found.exit_code)


def _live(found: Found) -> list[Job]:
    return [job for job in found.jobs if not job.done()]
