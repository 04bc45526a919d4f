"""The command line. It is a surface: what it does, :mod:`batchbridge.client` does.

One group, whose commands are imported when they are used: ``--help`` loads click and the errors.
"""

from __future__ import annotations

import importlib
import os
import sys
from io import TextIOWrapper
from typing import Any, Final

import click

from batchbridge import __version__
from batchbridge.errors import BatchBridgeError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "submit": ("submitting", "Submit a job, or many, and print the references."),
    "status": ("jobs", "Show where jobs are, now."),
    "list": ("jobs", "List my jobs on every engine, the newest first."),
    "watch": ("watching", "Show every change of jobs until they end."),
    "logs": ("logs", "Show what jobs write, live, to their end."),
    "wait": ("watching", "Wait for jobs to end; then count them by state and cause."),
    "cancel": ("asking", "Ask for the end of jobs."),
    "preempt": ("asking", "Ask that running jobs give up their places."),
    "reprioritise": ("asking", "Give jobs another priority."),
    "resubmit": ("resubmitting", "Submit jobs again, as new jobs, and print the references."),
    "explain": ("jobs", "Say why jobs are where they are, what to do, and where else to look."),
    "drivers": ("inspecting", "List the installed drivers, and whether they can be used."),
    "config": ("inspecting", "Show every setting, and where its value comes from."),
    "doctor": ("inspecting", "Look whether every engine can be used from here."),
    "schema": (
        "inspecting",
        "Print the JSON schema of a job, as in files and in Python.",
    ),
    "completion": ("inspecting", "Print the script that completes this command in a shell."),
}
"""Each command's module, and its line in the help: shown without importing the module."""

BROKEN_PIPE: Final = 141
"""128 + SIGPIPE: how a program ends whose reader has gone."""

EPILOG = """\b
Exit codes:
  0    the job SUCCEEDED; all of them did; what was asked was done
  n    the job's own exit code; 128 + n when signal n ended it
  1    the job ended with neither; one of several jobs did not succeed
  2    wrong usage
  124  a run or queue timeout
  125  batchbridge could not do it: no such job, engine unreachable, not allowed
  130  interrupted
"""


class Verbs(click.Group):
    """The group; it also decides what an error looks like and which exit code it has."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"batchbridge.cli.{COMMANDS[cmd_name][0]}")
            command: click.Command = getattr(module, f"{cmd_name}_command")
            return command
        if not ctx.resilient_parsing:
            from batchbridge.values import suggestion

            ctx.fail(f"there is no command {cmd_name!r}{suggestion(cmd_name, COMMANDS)}")
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        except BatchBridgeError as error:
            _tell(error, debug=ctx.params["debug"])
            ctx.exit(error.exit_code)
        except Exception as error:
            _tell(_unexpected(error), debug=ctx.params["debug"])
            ctx.exit(BatchBridgeError.exit_code)


def _unexpected(error: Exception) -> BatchBridgeError:
    remedy = "batchbridge --debug … shows where; please report it"
    unexpected = BatchBridgeError(f"unexpected {type(error).__name__}: {error}", remedy=remedy)
    unexpected.__cause__ = error
    return unexpected


def _tell(error: BatchBridgeError, *, debug: bool) -> None:
    from batchbridge.cli.console import complain

    complain(error)
    if debug:
        import traceback

        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


@click.group(
    cls=Verbs,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": lambda token: token.replace("_", "-"),  # --job_set, as in files
    },
)
@click.version_option(__version__, prog_name="batchbridge")
@click.option("--debug", is_flag=True, envvar="BATCHBRIDGE_DEBUG", help="Show tracebacks.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Run commands on Nomad, Armada, this machine, or any engine with a driver.

    \b
      batchbridge submit --cpu 2 --memory 4G -- python train.py
      batchbridge submit --follow -- make test
      batchbridge logs train
    """
    from batchbridge.cli.console import notes_on_stderr, unwanted_colour

    if unwanted_colour():
        ctx.color = False
    ctx.call_on_close(notes_on_stderr(debug=debug))


def main() -> None:
    """The entry point."""
    _make_streams_usable()
    cli(prog_name="batchbridge")


def _make_streams_usable() -> None:
    """Where one is closed, nothing is read or shown; what cannot be written is shown as ``?``."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
