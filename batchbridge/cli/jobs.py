"""Verbs that look once: status, list, explain."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

import click

from batchbridge.cli.console import columns, emit, json_flag, note
from batchbridge.cli.following import how, shown
from batchbridge.cli.resubmitting import tell_unknown
from batchbridge.cli.selection import WINDOW, Found, JobsCommand, Wanted, ask, chosen, find, known
from batchbridge.cli.session import Session
from batchbridge.configfiles import printable
from batchbridge.jobs import Job

HEADING: Final = ("NAME", "STATE", "JOB SET", "AGE", "REFERENCE")


@click.command("status", cls=JobsCommand)
@json_flag
@click.pass_context
def status_command(ctx: click.Context, session: Session, wanted: Wanted, as_json: bool) -> None:
    """Show where jobs are, now.

    The exit code is 0 if all could be asked, whatever their states are.
    """
    found = known(chosen(session, wanted))
    show(found, found.jobs, as_json=as_json)
    ctx.exit(found.exit_code)


@click.command("list", cls=JobsCommand, words=False)
@json_flag
@click.pass_context
def list_command(ctx: click.Context, session: Session, wanted: Wanted, as_json: bool) -> None:
    """List my jobs on every engine, the newest first.

    With --backend they are those on that one. They are the jobs of the last week, or of --since,
    that were submitted from here, and those that the engine in use knows itself. A submit whose
    outcome is unknown is named on stderr, with the command that settles it.
    """
    found = find(session, wanted)
    if not wanted.states:
        ask(found)
    show(found, found.jobs, as_json=as_json)
    tell_unknown(session, since=wanted.start, job_set=wanted.job_set)
    older = session.journal.entries(until=wanted.start) if wanted.nothing else ()
    if older:
        days = WINDOW / 86400
        note(f"{len(older)} jobs are older than {days:g} days; --since 90d shows them too")
    ctx.exit(found.exit_code)


@click.command("explain", cls=JobsCommand)
@json_flag
@click.pass_context
def explain_command(ctx: click.Context, session: Session, wanted: Wanted, as_json: bool) -> None:
    """Say why jobs are where they are, what to do, and where else to look."""
    found = known(chosen(session, wanted))
    for job in found.jobs:
        reason, hints = job.explain(), {**job.hints(), **job.details()}
        summary, remedy = (reason.summary, reason.remedy) if reason else ("", "")
        if as_json:
            emit({**job.to_json(), "summary": summary, "remedy": remedy, "hints": dict(hints)})
            continue
        message = job.record.message if job.record.message not in summary else ""
        facts = (printable(message), summary)
        click.echo(f"{job.ref}: {'; '.join([how(job.record), *filter(None, facts)])}")
        for line in filter(None, (remedy, *(f"{k}: {v}" for k, v in hints.items()))):
            click.echo(f"  → {line}")
    ctx.exit(found.exit_code)


def show(found: Found, jobs: Iterable[Job], *, as_json: bool) -> None:
    """These of the jobs found on stdout: as JSON lines, or as aligned columns under a heading."""
    if as_json:
        for job in jobs:
            emit(job.to_json())
        return
    rows = [_row(job, found.submitted(job)) for job in jobs]
    if rows:
        columns([HEADING, *rows])


def _row(job: Job, submitted: float | None) -> Sequence[str]:
    age = _age(time.time() - submitted) if submitted else ""
    name, job_set = printable(job.name), printable(job.job_set)
    return name or "-", shown(job.record), job_set or "-", age or "-", str(job.ref)


def _age(seconds: float) -> str:
    """In the largest unit of which there is one: "5m"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
