"""The verb submit: one job, or the many of a file or an array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import click

from batchbridge.cli.bulk import Many
from batchbridge.cli.console import note
from batchbridge.cli.flags import FIELDS, checked_text, form_of, job_flags, options_help
from batchbridge.cli.following import submitting
from batchbridge.cli.manyjobs import Array, Form, read
from batchbridge.cli.session import EngineCommand, Session, driver_of
from batchbridge.cli.watching import Mode, mode_flags
from batchbridge.errors import BatchBridgeError, UsageError
from batchbridge.submit import named

STORE: Final = "setting_store"


class SubmitCommand(EngineCommand):
    """Its flags are the fields of a job; its help lists the options of the chosen driver too."""

    submits = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params[:0] = job_flags()

    def section_of(self, ctx: click.Context, param: click.Parameter) -> str:
        return "The job" if param.name in FIELDS else super().section_of(ctx, param)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        driver = driver_of(ctx)
        lines = list(options_help(driver.Options)) if driver else []
        if driver and lines:
            with formatter.section(f"Options of {driver.name}"):
                formatter.write_dl(lines)


@click.command("submit", cls=SubmitCommand, context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] [COMMAND]...")
@click.option(
    "--key",
    metavar="TEXT",
    callback=checked_text,
    help="The same key again is the same job, not another.",
)
@click.option("--file", "path", metavar="PATH", help="Submit the jobs of a .yaml or .jsonl file.")
@click.option("--array", metavar="FIRST-LAST[%BOUND]", help="Submit one job for each index.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent to the engine, as JSON.")
@click.option("--store", STORE, metavar="PLACE", help="Where uploads go that do not fit.")
@mode_flags
@click.pass_context
def submit_command(
    ctx: click.Context,
    /,
    session: Session,
    words: tuple[str, ...],
    key: str | None,
    path: str | None,
    array: str | None,
    dry_run: bool,
    mode: Mode,
    **fields: Any,
) -> None:
    """Submit a job, or many, and print the references.

    \b
      batchbridge submit --cpu 2 --memory 4G --env LEVEL=3 -- python train.py
      batchbridge submit --follow --command 'make data | tee log'
      batchbridge submit --array 0-499%20 -- sh -c 'python part.py $BATCHBRIDGE_INDEX'
      batchbridge submit --file jobs.yaml --key monday

    The reference is all that stdout gets, and the job goes on by itself. With --follow its states
    and its stderr are shown on stderr, its stdout on stdout. With --follow or --wait the exit code
    is the job's own; of several jobs 0 if all succeeded, else 1. The first Ctrl-C detaches, and a
    second one within three seconds cancels.

    A file is a YAML list or JSON lines, each job a mapping of the fields below; flags go before
    what it says. The commands of an array find their index in BATCHBRIDGE_INDEX. Of many jobs, one
    that is refused is named on stderr by its line and stops no other; the exit code is then 125.
    Their keys are --key and the index, so that the same command with the same --key goes on where
    it stopped and makes nothing twice. This client holds the BOUND while it submits.
    """
    form = _form(words, form_of(fields))
    _tell_withheld(session)
    if path is None and array is None:
        run = _dry_run if dry_run else _one
        ctx.exit(run(session, form, key, mode))
    if path is not None and array is not None:
        raise UsageError("--file and --array exclude each other")
    chosen = Array.parse(array) if array is not None else None
    items = chosen.items(_named(session, form)) if chosen else read(path or "", form)
    many = Many(session, items, key, mode, bound=chosen.bound if chosen else None)
    ctx.exit(many.dry_run() if dry_run else many.run())


def _form(words: Sequence[str], form: dict[str, Any]) -> dict[str, Any]:
    if words and "command" in form:
        raise UsageError("--command and COMMAND exclude each other")
    return {**form, "command": list(words)} if words else form


def _named(session: Session, form: Form) -> Form:
    """The form with the name that the jobs of an array share before their indexes."""
    return named({"name": session.client.engine.resolved.job.get("name"), **form})


def _tell_withheld(session: Session) -> None:
    resolved = session.client.engine.resolved
    if resolved.withheld:
        names = ", ".join(resolved.withheld)
        note(f"configured for another address, and so not used here: {names}")


def _one(session: Session, form: Form, key: str | None, mode: Mode) -> int:
    keys = None if key is None else [key]
    with submitting():
        (job,) = session.client.submit_many([form], keys=keys, detach=mode.detach)
    if isinstance(job, BatchBridgeError):
        raise job
    mode.tell(job)
    mode.tell_about(job)
    return mode.stay([job])


def _dry_run(session: Session, form: Form, key: str | None, mode: Mode) -> int:
    payload = session.client.render(form, key=key or "")
    click.echo(json.dumps(payload, indent=None if mode.as_json else 2))
    return 0
