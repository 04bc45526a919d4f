"""A Metaflow step that does nothing: as a job of the local driver, and as Metaflow runs it itself.

A step lasts from the end of the one before it to its own end, both as the runtime sees them; see
`flow_runs` for how its parts are told apart.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from benchmarks import flow_runs
from benchmarks.flow_runs import Run
from benchmarks.harness import Goal, NotRun, Report, Row, Size, Taken, in_turn, rows_of
from benchmarks.place import place

OURS, THEIRS = "local_batch", "Metaflow"

GOALS = {THEIRS: Goal("≤", 3.0)}

STEP, RUN = "a step", "four, with the launcher"

PARTS = {
    OURS: {
        STEP: ("begun", "finished"),
        "launcher submits": ("begun", "submitted"),
        "queue": ("submitted", "started"),
        "boot": ("started", "loaded"),
        "step, up to its body": ("loaded", "reached"),
        "step, after its body": ("reached", "ended"),
        "detection and log saving": ("ended", "saved"),
        "trampoline ends": ("saved", "finished"),
        "trampoline starts, meanwhile": ("launched", "followed"),
    },
    THEIRS: {
        STEP: ("begun", "finished"),
        "launcher starts a process": ("begun", "launched"),
        "interpreter": ("launched", "loaded"),
        "step, up to its body": ("loaded", "reached"),
        "step, after its body; detection": ("reached", "finished"),
    },
}
"""The parts of a step, each with the moments between which it lies."""

Parts = dict[str, float]
"""Milliseconds of each part of a typical step, and of the run."""


def run(size: Size) -> Report:
    """The whole step, then its parts."""
    with place() as here:
        candidates = {
            OURS: lambda: _parts(OURS, flow_runs.with_jobs(here)),
            THEIRS: lambda: _parts(THEIRS, flow_runs.plain(here)),
        }
        in_turn(candidates, 1)  # leaves the code package unpacked
        taken = in_turn(candidates, size.rounds)
    rows = [*_wholes(taken, STEP), *_wholes(taken, RUN)]
    return Report("a trivial Metaflow step, warm", [*rows, *_details(taken)])


def _parts(kind: str, run: Run) -> Parts:
    """Each part's median over the tasks that follow another one."""
    steps = [{**task, "begun": before["finished"]} for before, task in pairwise(run.tasks)]
    return {RUN: 1000 * run.seconds} | {
        part: 1000 * median(step[end] - step[start] for step in steps)
        for part, (start, end) in PARTS[kind].items()
    }


def _wholes(taken: Taken[Parts], what: str) -> list[Row]:
    """`what` of both candidates, compared."""
    goals = {f"{what}: {kind}": goal for kind, goal in GOALS.items() if what == STEP}
    samples = {f"{what}: {kind}": _each(rounds, what) for kind, rounds in taken.items()}
    return rows_of(samples, unit="ms", goals=goals)


def _each(rounds: list[Parts] | NotRun, part: str) -> list[float] | NotRun:
    return rounds if isinstance(rounds, NotRun) else [parts[part] for parts in rounds]


def _details(taken: Taken[Parts]) -> list[Row]:
    """The parts of a step, for each candidate that ran."""
    return [
        Row(what=f"{kind}: {part}", samples=[parts[part] for parts in rounds], unit="ms")
        for kind, rounds in taken.items()
        if not isinstance(rounds, NotRun)
        for part in PARTS[kind]
        if part != STEP
    ]
