"""A whole flow on an engine elsewhere, and what must be true of it wherever it ran."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any

from .conftest import FLOWS, Place, run_id_of
from .engines import There

FLOW = "engine_flow.py"
LONG = 500.0
"""Seconds that a run of dozens of jobs may take where many others work."""


@dataclass(frozen=True)
class Ran:
    """A run of the engine's flow, and what came of it."""

    there: There
    place: Place
    wide: int
    limit: int
    console: str
    run: dict[str, Any] = field(repr=False)

    @property
    def steps(self) -> dict[str, list[dict[str, Any]]]:
        return self.run["steps"]

    def facts(self, step: str) -> dict[str, str]:
        return {name: value for name, value in self.steps[step][0]["metadata"]}


def run(there: There, place: Place, wide: int, *, limit: int = 4, memory: int = 64) -> Ran:
    """Run it, with so many jobs at once, of which one takes longer than `limit` seconds."""
    text = (FLOWS / FLOW).read_text().replace("seconds=4", f"seconds={limit}")
    (place.root / FLOW).write_text(text.replace("memory=64", f"memory={memory}"))
    words = ["run", "--wide", str(wide), "--with", f"{there.name}:cpu=0.25,disk=16"]
    console = place.flow(
        place.root / FLOW, *words, "--max-workers", "8", env=there.env, within=LONG
    )
    shown = place.show("EngineFlow", console, env=there.env)
    return Ran(there, place, wide, limit, console, shown)


def check(ran: Ran) -> None:
    """All that must be true."""
    for each in CHECKS:
        each(ran)


def check_every_step_is_a_job_and_artifacts_go_both_ways(ran: Ran) -> None:
    assert ran.run["ok"]
    assert len(ran.steps["work"]) == ran.wide
    made = ran.steps["end"][0]["artifacts"]["made"]
    assert made == [0, *(10 * n for n in range(3, ran.wide))]
    backends = {value for tasks in ran.steps.values() for task in tasks for value in _jobs(task)}
    assert backends == {ran.there.name}


def _jobs(task: dict[str, Any]) -> list[str]:
    return [value for name, value in task["metadata"] if name == "batchbridge-backend"]


def check_what_fails_is_retried_caught_and_timed_out(ran: Ran) -> None:
    first, always, slow = sorted(ran.steps["work"], key=lambda task: int(task["id"]))[:3]
    failed = ran.steps["end"][0]["artifacts"]["failed"]
    assert "it always breaks" in failed["1"]
    assert f"timed out after 0 hours, 0 minutes, {ran.limit} seconds" in failed["2"]
    assert [len(_jobs(task)) for task in (first, always, slow)] == [2, 2, 2]
    assert ran.console.count("ValueError: the first try") == 1
    assert "FAILED: EXIT_CODE, exit code 1" in ran.console


def check_each_job_is_told_from_its_submit_to_its_end(ran: Ran) -> None:
    ref = ran.facts("start")["batchbridge-job"]
    lines = [line for line in ran.console.splitlines() if ref in line]
    told = [line.partition(f"[{ref}] ")[2] for line in lines]
    cpu = "cpu 250 MHz" if ran.there.name == "nomad" else "cpu 0.25 cores"
    assert told[0].startswith(f"Job is submitted: {cpu}, disk 16 MB")
    assert "logs: " in told[1]
    assert any(line.startswith("running") for line in told)
    assert told[-1] == "succeeded"
    shown = ran.console.splitlines()
    words = next(n for n, line in enumerate(shown) if line.endswith("to stdout"))
    assert shown.index(lines[0]) < words < shown.index(lines[-1])


def check_output_is_shown_and_kept_once(ran: Ran) -> None:
    assert ran.console.count("to stdout") == 1
    assert ran.console.count("to stderr") == 1
    words = ["logs", f"{run_id_of(ran.console)}/start"]
    kept = ran.place.flow(ran.place.root / FLOW, *words, env=ran.there.env)
    assert kept.count("to stdout") == 1
    assert kept.count("to stderr") == 1


def check_a_card_is_made_in_the_job(ran: Ran) -> None:
    pathspec = f"{run_id_of(ran.console)}/start"
    shown = ran.place.flow(ran.place.root / FLOW, "card", "get", pathspec, env=ran.there.env)
    cards = [b64decode(data) for data in re.findall(r"[A-Za-z0-9+/=]{200,}", shown)]
    assert any(b"the card of start" in card for card in cards)


def check_the_engines_own_names_are_in_the_metadata(ran: Ran) -> None:
    facts = ran.facts("start")
    names = {"nomad": ("allocation", "node", "datacenter"), "armada": ("pod", "cluster", "node")}
    assert all(facts[f"batchbridge-{name}"] for name in names[ran.there.name])
    assert facts["batchbridge-state"] == "SUCCEEDED"


def check_only_what_is_named_reaches_the_job(ran: Ran) -> None:
    env = ran.steps["start"][0]["artifacts"]["there"]
    assert not [name for name in env if name.startswith(("BATCHBRIDGE_STATE", "METAFLOW_ARMADA"))]
    assert "METAFLOW_NOMAD_ADDRESS" not in env
    assert env["METAFLOW_BATCHBRIDGE_WORKLOAD"] == "1"


def check_the_job_needs_neither_batchbridge_nor_an_engines_client(ran: Ran) -> None:
    assert ran.steps["start"][0]["artifacts"]["loaded"] == []


def check_no_job_is_left(ran: Ran) -> None:
    words = [ran.there.name, "list", "--my-runs"]
    assert "No unfinished jobs" in ran.place.flow(ran.place.root / FLOW, *words, env=ran.there.env)


CHECKS = (
    check_every_step_is_a_job_and_artifacts_go_both_ways,
    check_what_fails_is_retried_caught_and_timed_out,
    check_each_job_is_told_from_its_submit_to_its_end,
    check_output_is_shown_and_kept_once,
    check_a_card_is_made_in_the_job,
    check_the_engines_own_names_are_in_the_metadata,
    check_only_what_is_named_reaches_the_job,
    check_the_job_needs_neither_batchbridge_nor_an_engines_client,
    check_no_job_is_left,
)
