"""Rounds in turn, medians, ratios, goals: what the benchmarks share."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")

DEADLINE = 600.0
"""Seconds that one measured process may take."""


class NotRun(Exception):
    """A candidate cannot be measured here: ``str`` says why."""


class Failed(NotRun):
    """A process did not succeed. That excuses a peer; where it is ours, the benchmark fails."""


class Size(NamedTuple):
    """How much is measured: rounds, and the fraction of the full amount of work in each."""

    rounds: int
    fraction: float

    def of(self, amount: int) -> int:
        """That fraction of `amount`, at least 1."""
        return max(1, round(amount * self.fraction))


class Goal(NamedTuple):
    """What a number must be."""

    relation: Literal["≤", "≥"]
    bound: float
    unit: str = "x"

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g} {self.unit}".rstrip()

    def met(self, value: float) -> bool:
        """Whether `value`, in the goal's unit, is what it must be."""
        return value <= self.bound if self.relation == "≤" else value >= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table: one number of one candidate.

    With `ratios` the goal is for their median: ours divided by this candidate's, round by round.
    """

    what: str
    samples: Sequence[float] = ()  #: one for each round
    unit: str = ""
    ratios: Sequence[float] = ()
    goal: Goal | None = None
    not_run: str = ""  #: why there is no number

    @property
    def verdict(self) -> Literal["", "met", "missed", "not run"]:
        """What became of the goal; "not run" is neither met nor missed."""
        if self.not_run:
            return "not run"
        if self.goal is None:
            return ""
        return "met" if self.goal.met(median(self.ratios or self.samples)) else "missed"


@dataclass(frozen=True, slots=True)
class Report:
    """The numbers of one benchmark."""

    title: str
    rows: Sequence[Row]


Candidates = Mapping[str, Callable[[], T]]
Taken = Mapping[str, "list[T] | NotRun"]


def in_turn(candidates: Candidates[T], rounds: int) -> Taken[T]:
    """What each candidate gives in each round; every round begins with another one.

    A candidate that raises NotRun is left out from then on.
    """
    taken: dict[str, list[T] | NotRun] = {name: [] for name in candidates}
    names = list(candidates)
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            so_far = taken[name]
            if isinstance(so_far, NotRun):
                continue
            try:
                so_far.append(candidates[name]())
            except NotRun as problem:
                taken[name] = problem
    return taken


def rows_of(
    taken: Taken[float], *, unit: str, goals: Mapping[str, Goal] | None = None
) -> list[Row]:
    """A row for each candidate. The first one is ours; `goals` are for its ratio to the others."""
    ours, *_ = taken.values()
    if isinstance(ours, NotRun):
        raise ours
    return [
        _row(name, samples, ours, unit, (goals or {}).get(name)) for name, samples in taken.items()
    ]


def _row(
    name: str, samples: list[float] | NotRun, ours: list[float], unit: str, goal: Goal | None
) -> Row:
    if isinstance(samples, NotRun):
        return Row(what=name, goal=goal, not_run=str(samples))
    ratios = () if samples is ours else [a / b for a, b in zip(ours, samples, strict=True)]
    return Row(what=name, samples=samples, unit=unit, ratios=ratios, goal=goal)


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def output(command: Sequence[str], **options: Any) -> str:
    """What the command writes to stdout; Failed with the end of its errors where it fails."""
    done: subprocess.CompletedProcess[str]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, **options)
    except subprocess.TimeoutExpired:
        raise Failed(f"it takes longer than {DEADLINE:g} s") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Failed(f"exit code {done.returncode}: {''.join(last)}")
    return done.stdout
