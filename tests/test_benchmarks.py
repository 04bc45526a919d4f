"""Each benchmark runs, and tells its numbers. How good they are is for `make bench` to say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cores import SHARED, rates
from benchmarks.harness import Failed, Goal, NotRun, Row, in_turn, rows_of

REPO = Path(__file__).parents[1]


def bench(home: Path, *names: str) -> str:
    """The table of a tiny run without a registry, so that nothing is installed."""
    apart = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    env = {**os.environ, **apart, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--fraction", "0.002", *names]
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # 1: a goal was missed
    return done.stdout


def cells(table: str, what: str) -> list[str]:
    """Those of the one row that is about that."""
    rows = [[cell.strip() for cell in line.split("│")] for line in table.splitlines()]
    (found,) = [row for row in rows if len(row) > 1 and row[0].startswith(what)]
    return found


@pytest.mark.parametrize(
    ("name", "measured", "absent"),
    [
        ("fold", ["three attempts", "a job that is forgotten"], []),
        ("watch", ["threads", "CPU time, all", "memory"], []),
        ("jobs", ["batchbridge", "subprocess"], ["psij-python", "submitit"]),
        ("latency", ["batchbridge", "subprocess"], ["psij-python", "submitit"]),
        ("help", ["batchbridge", "a bare click program"], ["torchx"]),
        ("import", [], ["batchbridge"]),
        ("metaflow", ["a step: local_batch", "a step: Metaflow"], []),
    ],
)
def test_table(tmp_path: Path, name: str, measured: list[str], absent: list[str]) -> None:
    table = bench(tmp_path, name)
    for what in measured:
        assert any(character.isdigit() for character in cells(table, what)[1]), table
    for what in absent:
        _, median, *_, verdict = cells(table, f"{what} (it cannot be installed")
        assert (median, verdict) == ("", "not run")


def test_candidates_take_turns() -> None:
    order: list[str] = []

    def candidate(name: str) -> float:
        order.append(name)
        return 1.0

    in_turn({"a": lambda: candidate("a"), "b": lambda: candidate("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    taken = {"ours": [2.0, 2.0, 9.0], "theirs": [1.0, 4.0, 3.0]}
    ours, theirs = rows_of(taken, unit="s", goals={"theirs": Goal("≤", 2.0)})
    assert (list(theirs.ratios), theirs.verdict) == ([2.0, 0.5, 3.0], "met")
    assert (ours.ratios, ours.verdict) == ((), "")


@pytest.mark.parametrize(
    ("goal", "verdict"), [(Goal("≤", 1.3), "missed"), (Goal("≥", 0.5), "met"), (None, "")]
)
def test_a_goal_is_judged_by_the_median(goal: Goal | None, verdict: str) -> None:
    assert Row(what="it", samples=[1.0, 1.4, 9.0], goal=goal).verdict == verdict


def test_a_peer_that_does_not_run_is_neither_met_nor_missed() -> None:
    def absent() -> float:
        raise NotRun("there is none")

    taken = in_turn({"ours": lambda: 1.0, "theirs": absent}, 2)
    _, theirs = rows_of(taken, unit="s", goals={"theirs": Goal("≥", 0.5)})
    assert (theirs.verdict, theirs.not_run, theirs.samples) == ("not run", "there is none", ())


def test_a_failure_of_ours_is_no_row() -> None:
    with pytest.raises(Failed, match="exit code 3"):
        rows_of({"ours": Failed("exit code 3: broken"), "theirs": [1.0]}, unit="s")


def test_rates_are_measured_beside_an_engine_and_apart_from_it() -> None:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(cores) < 2:
        pytest.skip("there are no cores to part")
    pinned: list[tuple[set[int], set[int]]] = []

    def measured() -> float:
        pinned.append((os.sched_getaffinity(0), os.sched_getaffinity(engine.pid)))
        return float(len(pinned))

    with subprocess.Popen(["sleep", "60"]) as engine:
        rows = rates({"ours": measured}, 1, [engine.pid], unit="/s")
        after = os.sched_getaffinity(engine.pid)
        engine.kill()
    (ours, theirs) = pinned[1]
    assert pinned[0] == (cores, cores)
    assert (len(ours), ours & theirs, ours | theirs) == (1, set(), cores)
    assert (os.sched_getaffinity(0), after) == (cores, cores)
    assert [(row.what, row.samples) for row in rows] == [("ours", [2.0]), (f"{SHARED}ours", [1.0])]
