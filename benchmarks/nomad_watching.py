"""A thousand Nomad jobs until all their ends are known: what that costs, by who looks.

The jobs of each round are registered first, and run as fast as the agent can; then one program
looks, in a process of its own, through a proxy that counts what it asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.counting import counting
from benchmarks.harness import Goal, NotRun, Report, Row, Size, Taken, in_turn, rows_of
from benchmarks.nomad_agent import RUNS, Agent, agent, payloads
from benchmarks.peers import environment, install, ourselves
from benchmarks.place import SCRIPTS, place

JOBS = 1000

POLLING = "each job polled every second"
AIRFLOW = "Airflow's Nomad provider"
PROVIDER = "apache-airflow-providers-nomad==0.0.7"
NEEDS = ("python-nomad>=2.1", "packaging", "psutil>=6", "pydantic>=2.12", "tenacity>=9.1.2")
"""What the provider's manager imports, without Airflow, and what the script measures with."""


class Cost(NamedTuple):
    """What one program needed in one round."""

    wall: float
    cpu: float
    requests: float
    unseen: float  #: ends


def run(size: Size) -> Report:
    """Each cost of each program, ours first."""
    jobs, nomad = size.of(JOBS), agent()
    candidates = {
        str(ourselves()): partial(_cost, nomad, jobs, "nomad_watch.py", _us),
        POLLING: partial(_cost, nomad, jobs, "nomad_poll.py", _us),
        AIRFLOW: partial(_cost, nomad, jobs, "nomad_airflow.py", _provider),
    }
    taken = in_turn(candidates, size.rounds)
    rows = [
        *_rows(taken, "wall", "s"),
        *_rows(taken, "cpu", "s", Goal("≤", 1 / 8)),
        *_rows(taken, "requests", "", Goal("≤", 1 / 100)),
        *_ends(taken),
    ]
    return Report(f"{jobs:,} Nomad jobs, until all ends are known", rows)


def _cost(nomad: Agent, jobs: int, script: str, python: Callable[[], str]) -> Cost:
    interpreter = python()
    with place() as here, nomad.new_keys() as keys, counting(nomad.host) as proxy:
        ids = nomad.register(payloads(keys, jobs, RUNS))
        said = here.output(interpreter, SCRIPTS / script, proxy.address, text="\n".join(ids))
        told = json.loads(said)
    unseen = len(set(ids) - set(told["ended"]))
    return Cost(told["wall"], told["cpu"], proxy.requests, unseen)


def _us() -> str:
    return ourselves().python


def _provider() -> str:
    """A Python with the provider and without Airflow; NotRun where it cannot be installed."""
    python = environment("airflow-nomad", NEEDS)
    install(python, ["--no-deps", PROVIDER])
    return python


def _rows(taken: Taken[Cost], what: str, unit: str, goal: Goal | None = None) -> list[Row]:
    """One cost of all, beside ours; the goal is for the polling."""
    samples = {
        f"{what}: {name}": costs if isinstance(costs, NotRun) else _each(costs, what)
        for name, costs in taken.items()
    }
    goals = {f"{what}: {POLLING}": goal} if goal else {}
    return rows_of(samples, unit=unit, goals=goals)


def _ends(taken: Taken[Cost]) -> list[Row]:
    """Ends that were not seen; the goal is for ours."""
    goals = {str(ourselves()): Goal("≤", 0, "")}
    return [
        Row(what=f"ends not seen: {name}", samples=_each(costs, "unseen"), goal=goals.get(name))
        for name, costs in taken.items()
        if not isinstance(costs, NotRun)
    ]


def _each(costs: list[Cost], what: str) -> list[float]:
    return [getattr(cost, what) for cost in costs]
