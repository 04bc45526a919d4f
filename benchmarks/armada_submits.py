"""Submitting to Armada, beside the same messages sent by nothing but its stubs."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.armada_stack import job_set, stack
from benchmarks.cores import rates
from benchmarks.harness import Goal, Report, Size
from benchmarks.peers import ourselves
from benchmarks.place import SCRIPTS, place
from localdev.armada_state import Stack

JOBS = 5_000
"""Jobs of each round that are handed over together; ..."""

FEW = 25
"""... where each takes a call of its own, this part of them."""

BULK, EACH = "the bulk call alone, the same messages", "a call for each job, the same messages"


def run(size: Size) -> Report:
    """Jobs handed over in a second."""
    jobs, armada = size.of(JOBS), stack()
    few = max(1, jobs // FEW)
    candidates: dict[str, Callable[[], float]] = {
        str(ourselves()): lambda: jobs / _ours(armada, jobs),
        BULK: lambda: jobs / _stubs(armada, "bulk", jobs),
        EACH: lambda: few / _stubs(armada, "each", few),
    }
    goals = {BULK: Goal("≥", 0.9)}
    engine = [process.pid for process in armada.processes.values()]
    rows = rates(candidates, size.rounds, engine, unit="/s", goals=goals)
    return Report(f"{jobs:,} jobs submitted to Armada together, none placed", rows)


def _ours(armada: Stack, jobs: int) -> float:
    with place() as here, job_set(armada, waits=True) as where:
        script = SCRIPTS / "armada_submit.py"
        return float(here.output(ourselves().python, script, "many", str(jobs), *where.words))


def _stubs(armada: Stack, way: str, jobs: int) -> float:
    with place() as here, job_set(armada, waits=True) as where:
        lines = b"\n".join(where.payloads(jobs + 1)).decode()
        words = ("many", str(jobs), *where.words, way)
        script = SCRIPTS / "armada_stubs.py"
        return float(here.output(ourselves().python, script, *words, text=lines))
