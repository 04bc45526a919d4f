"""Submitting again what the journal knows: jobs as new ones, open submits under their own key."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, chdir
from typing import TypeAlias

import click

from batchbridge import registry
from batchbridge.cli.console import complain, note
from batchbridge.cli.flags import checked_text
from batchbridge.cli.following import called, submitting
from batchbridge.cli.selection import JobsCommand, Wanted, chosen, find, known
from batchbridge.cli.session import Session
from batchbridge.cli.watching import Mode, mode_flags
from batchbridge.client import Client
from batchbridge.errors import BatchBridgeError, NoSuchJob, UsageError
from batchbridge.jobs import Job
from batchbridge.journal import Entry
from batchbridge.model import JobState

Again: TypeAlias = tuple[Entry, str]
"""A submission, and the key that it is submitted again under."""

_FAILED = (JobState.FAILED, JobState.LOST)


@click.command("resubmit", cls=JobsCommand)
@click.option(
    "--failed",
    metavar="JOB_SET",
    callback=checked_text,
    help="The jobs of that set that FAILED or are LOST.",
)
@click.option(
    "--key",
    metavar="TEXT",
    callback=checked_text,
    help="An open submit, under its own key: nothing twice.",
)
@mode_flags
@click.pass_context
def resubmit_command(
    ctx: click.Context,
    session: Session,
    wanted: Wanted,
    failed: str | None,
    key: str | None,
    mode: Mode,
) -> None:
    """Submit jobs again, as new jobs, and print the references.

    A job must have been submitted from here: its command is taken from the journal, and it is
    submitted from the same directory, to the same engine, into the same job set.

    With --failed a job that was submitted again already is left out, so that the latest try counts.
    With --key a submit whose outcome is unknown is settled: the same job, not another.
    """
    if sum((key is not None, failed is not None, not wanted.nothing)) != 1:
        raise UsageError("name jobs, or one of --failed and --key")
    if key is not None:
        again = _open(session, key)
    elif failed is not None:
        again = _failed(session, failed)
    else:
        again = _named(session, wanted)
    ctx.exit(_submit(again, mode))


def tell_unknown(session: Session, *, since: float, job_set: str | None) -> None:
    """Name on stderr each submit whose answer never came, with the command that settles it."""
    for entry in session.journal.entries(since=since, job_set=job_set):
        if entry.unknown and session.covers(entry):
            name = f"{entry.name} ({entry.key})"
            note(f"{name} at {entry.engine}: outcome unknown; {_settling(entry)}")


def _settling(entry: Entry) -> str:
    """The command that settles it: submitting again, where that is safe still."""
    try:
        if _remembered(entry):
            return f"settle it with: batchbridge resubmit --key {entry.key}"
    except BatchBridgeError as error:
        return str(error)
    return f"look for it with: batchbridge list --backend {_backend(entry)}"


def _remembered(entry: Entry) -> bool:
    """Whether its key still makes it one job, were it submitted again."""
    has = registry.load(_backend(entry)).capabilities
    window = has.idempotency_window or float("inf")
    return has.idempotency != "none" and time.time() - entry.asked_at <= window


def _backend(entry: Entry) -> str:
    return entry.engine.partition("://")[0]


# -- which -----------------------------------------------------------------------------------


def _open(session: Session, key: str) -> list[Again]:
    entries = session.journal.entries(key=key)
    if not entries:
        raise NoSuchJob(f"nothing was submitted from here with the key {key!r}")
    for entry in entries:
        if not _remembered(entry):
            raise UsageError(
                f"{entry.engine} does not know by the key {key!r} whether it has that job",
                remedy=f"look for it with: batchbridge list --backend {_backend(entry)}",
            )
    return [(entry, entry.key) for entry in entries]


def _named(session: Session, wanted: Wanted) -> list[Again]:
    return _as_new(session, known(chosen(session, wanted)).jobs)


def _failed(session: Session, job_set: str) -> list[Again]:
    """The jobs of the set that failed, each by its latest try."""
    found = known(find(session, Wanted(job_set=job_set)))
    if not found.jobs:
        raise NoSuchJob(f"no job of a set {job_set!r} is known here")
    bad = [job for job in found.jobs if job.done() and job.record.state in _FAILED]
    again = _as_new(session, bad)
    latest = [(entry, key) for entry, key in again if _tries(key)[1] == _tries(entry.key)[1] + 1]
    if not latest:
        note(f"no job of {job_set} has failed, or each was submitted again")
    return latest


def _as_new(session: Session, jobs: Iterable[Job]) -> list[Again]:
    """Each job with the key of its next try; UsageError where the journal does not know one."""
    journal = session.journal.entries()
    last: dict[tuple[str, str], int] = {}
    for entry in journal:
        first, number = _tries(entry.key)
        last[entry.engine, first] = max(number, last.get((entry.engine, first), 0))
    entries = {entry.ref: entry for entry in journal}
    again = []
    for job in jobs:
        if str(job.ref) not in entries:
            raise UsageError(f"{called(job)} was not submitted from here: its command is not known")
        entry = entries[str(job.ref)]
        first, _ = _tries(entry.key)
        again.append((entry, f"{first}-r{last[entry.engine, first] + 1}"))
    return again


def _tries(key: str) -> tuple[str, int]:
    """``("a", 2)`` of ``a-r2``: the first key, and which try this is."""
    match = re.fullmatch(r"(.*)-r(\d+)", key, re.DOTALL)
    return (match[1], int(match[2])) if match else (key, 0)


# -- the submit ------------------------------------------------------------------------------


def _submit(again: Sequence[Again], mode: Mode) -> int:
    """Submit them, each where it came from; stay if asked to: the exit code."""
    refused, jobs = 0, list[Job]()
    with ExitStack() as clients:
        for (engine, cwd), group in itertools.groupby(sorted(again, key=_place), key=_place):
            client = clients.enter_context(Client.at(engine))
            for job in _submitted(client, cwd, list(group), mode):
                if isinstance(job, Job):
                    jobs.append(job)
                else:
                    refused += 1
        code = mode.stay(jobs)
    return BatchBridgeError.exit_code if refused else code


def _place(again: Again) -> tuple[str, str]:
    return again[0].engine, again[0].cwd


def _submitted(
    client: Client, cwd: str, group: Sequence[Again], mode: Mode
) -> list[Job | BatchBridgeError]:
    def told(index: int, outcome: Job | BatchBridgeError) -> None:
        if isinstance(outcome, Job):
            mode.tell(outcome)
        else:
            complain(outcome, group[index][1])

    forms: list[Mapping[str, object]] = [
        {**entry.spec, "job_set": entry.job_set} for entry, _ in group
    ]
    try:
        with chdir(cwd), submitting():
            return client.submit_many(
                forms, keys=[key for _, key in group], detach=mode.detach, on_each=told
            )
    except FileNotFoundError:
        raise UsageError(f"{cwd!r}, where it was submitted, is not there any more") from None
