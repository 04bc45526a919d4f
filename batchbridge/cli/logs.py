"""The verb logs."""

from __future__ import annotations

import click

from batchbridge.cli.console import json_flag, note
from batchbridge.cli.following import Output, Waits, called, how
from batchbridge.cli.selection import JobsCommand, Wanted, chosen, known
from batchbridge.cli.session import Session
from batchbridge.jobs import Job


@click.command("logs", cls=JobsCommand)
@click.option("--failed", is_flag=True, help="Only of jobs that have ended without success.")
@click.option("--no-follow", is_flag=True, help="Show what is there now; wait for nothing more.")
@json_flag
@click.pass_context
def logs_command(
    ctx: click.Context,
    session: Session,
    wanted: Wanted,
    failed: bool,
    no_follow: bool,
    as_json: bool,
) -> None:
    """Show what jobs write, live, to their end.

    Their stdout is on stdout, their stderr on stderr. The bytes are passed on as they are; with
    --json they are text in events, where what is no UTF-8 has become U+FFFD. Several jobs are shown
    one after the other. What rotation took, and the start of another attempt, is said on stderr.
    """
    found = known(chosen(session, wanted))
    ordered = found.jobs if wanted.words else reversed(found.jobs)  # as named, or the oldest first
    jobs = [job for job in ordered if not failed or _has_failed(job)]
    for job in jobs:
        if len(jobs) > 1:
            click.echo(f"==> {called(job)} <==", err=True)
        _show(job, follow=not no_follow, as_json=as_json)
    ctx.exit(found.exit_code)


def _show(job: Job, *, follow: bool, as_json: bool) -> None:
    output, waits, told = Output(job, as_json=as_json), Waits(), False
    for chunk in job.logs(follow=follow):
        output.show(chunk)
        told = told or bool(chunk.data or chunk.truncated)
        waits.turn([job])
    output.end()
    if not (told or job.done()):
        note(f"{called(job)} is {how(job.record)}; no output is known yet")


def _has_failed(job: Job) -> bool:
    return job.done() and job.record.exit_status != 0
