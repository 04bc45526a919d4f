"""What it costs to watch ten thousand jobs at once: four states, a full snapshot, the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from benchmarks.harness import Goal, Report, Row, Size
from benchmarks.peers import ourselves
from benchmarks.place import SCRIPTS, place

JOBS = 10_000


def run(size: Size) -> Report:
    """Threads, CPU time and memory of a process that does nothing else."""
    jobs = size.of(JOBS)
    costs = [_cost(jobs) for _ in range(size.rounds)]
    rows = [
        _row("threads", costs, "threads", "", 3),
        _row("CPU time, all in all", costs, "cpu", "s", 5),
        _row("CPU time, until all were submitted", costs, "submitting", "s"),
        _row("memory, with the engine's own", costs, "memory", "MB", 150),
    ]
    return Report(f"{jobs:,} jobs watched at once", rows)


def _cost(jobs: int) -> Mapping[str, float]:
    with place() as here:
        python = ourselves().python
        cost: dict[str, float] = json.loads(here.output(python, SCRIPTS / "watch.py", str(jobs)))
        return cost


def _row(
    what: str,
    costs: Sequence[Mapping[str, float]],
    name: str,
    unit: str,
    bound: float | None = None,
) -> Row:
    goal = None if bound is None else Goal("≤", bound, unit)
    return Row(what=what, samples=[cost[name] for cost in costs], unit=unit, goal=goal)
