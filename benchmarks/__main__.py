"""``python -m benchmarks``: run them, print the table."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
from rich.console import Console

from benchmarks import (
    armada_ends,
    armada_submits,
    armada_watching,
    folding,
    imports,
    local_jobs,
    metaflow_steps,
    nomad_ends,
    nomad_submits,
    nomad_watching,
    startup,
    watching,
)
from benchmarks.harness import Failed, NotRun, Report, Row, Size
from benchmarks.table import table

ALL: dict[str, Callable[[Size], Report]] = {
    "fold": folding.run,
    "watch": watching.run,
    "jobs": local_jobs.throughput,
    "latency": local_jobs.latency,
    "help": startup.run,
    "import": imports.run,
    "metaflow": metaflow_steps.run,
    "nomad-submit": nomad_submits.throughput,
    "nomad-latency": nomad_submits.latency,
    "nomad-end": nomad_ends.run,
    "nomad-watch": nomad_watching.run,
    "armada-submit": armada_submits.run,
    "armada-end": armada_ends.run,
    "armada-watch": armada_watching.run,
}

WIDTH = 110
"""Columns where the output is no terminal."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(ALL)))
@click.option("--rounds", default=5, show_default=True, help="How often each candidate runs.")
@click.option("--fraction", default=1.0, show_default=True, help="Of the full amount of work.")
def main(names: tuple[str, ...], rounds: int, fraction: float) -> None:
    """Run the benchmarks NAMES (default: all) and print one table.

    The exit code is 1 where a goal is missed. What cannot run here is named, and is neither met
    nor missed.
    """
    reports = []
    for name in names or ALL:
        click.echo(f"{name} ...", err=True)
        reports.append(_report(name, Size(rounds, fraction)))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table(reports))
    missed = any(row.verdict == "missed" for report in reports for row in report.rows)
    sys.exit(1 if missed else 0)


def _report(name: str, size: Size) -> Report:
    try:
        return ALL[name](size)
    except Failed:
        raise
    except NotRun as problem:
        return Report(name, [Row(what="batchbridge", not_run=str(problem))])


main(prog_name="python -m benchmarks")
