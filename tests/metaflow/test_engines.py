"""Whole flows through ``@nomad`` and ``@armada``: the same on small engines and on real ones."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from localdev.s3_server import Running

from .conftest import FLOWS, Place, run_id_of
from .engines import ENGINES, There

pytestmark = pytest.mark.timeout(600)  # whole flows, of several processes each

LONG = 500.0
"""Seconds that a run of dozens of jobs may take where many others work."""

WIDE = {"nomad": 50, "armada": 20}


@dataclass(frozen=True)
class Ran:
    """A run of the engine's flow, and what came of it."""

    there: There
    place: Place
    console: str
    run: dict[str, Any] = field(repr=False)

    @property
    def steps(self) -> dict[str, list[dict[str, Any]]]:
        return self.run["steps"]

    def facts(self, step: str) -> dict[str, str]:
        return {name: value for name, value in self.steps[step][0]["metadata"]}


@pytest.fixture(scope="module", params=ENGINES)
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    with request.param() as found:
        yield found


def check_every_step_is_a_job_and_artifacts_go_both_ways(ran: Ran) -> None:
    assert ran.run["ok"]
    assert len(ran.steps["work"]) == WIDE[ran.there.name]
    made = ran.steps["end"][0]["artifacts"]["made"]
    assert made == [0, *(10 * n for n in range(3, WIDE[ran.there.name]))]
    backends = {value for tasks in ran.steps.values() for task in tasks for value in _jobs(task)}
    assert backends == {ran.there.name}


def _jobs(task: dict[str, Any]) -> list[str]:
    return [value for name, value in task["metadata"] if name == "batchbridge-backend"]


def check_what_fails_is_retried_caught_and_timed_out(ran: Ran) -> None:
    first, always, slow = sorted(ran.steps["work"], key=lambda task: int(task["id"]))[:3]
    failed = ran.steps["end"][0]["artifacts"]["failed"]
    assert "it always breaks" in failed["1"]
    assert "timed out after 0 hours, 0 minutes, 4 seconds" in failed["2"]
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
    kept = ran.place.flow("engine_flow.py", *words, env=ran.there.env)
    assert kept.count("to stdout") == 1
    assert kept.count("to stderr") == 1


def check_a_card_is_made_in_the_job(ran: Ran) -> None:
    pathspec = f"{run_id_of(ran.console)}/start"
    shown = ran.place.flow("engine_flow.py", "card", "get", pathspec, env=ran.there.env)
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
    assert "No unfinished jobs" in ran.place.flow("engine_flow.py", *words, env=ran.there.env)


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


def test_a_whole_flow(there: There, place: Place) -> None:
    """One run, looked at from every side: dozens of jobs are not run again for each of them."""
    words = ["run", "--wide", str(WIDE[there.name]), "--with", f"{there.name}:cpu=0.25,disk=16"]
    words += ["--max-workers", "8"]
    console = place.flow("engine_flow.py", *words, env=there.env, within=LONG)
    ran = Ran(there, place, console, place.show("EngineFlow", console))
    for check in CHECKS:
        check(ran)


CANARY = "canary-9d11"


def test_a_flow_over_s3(place: Place, there: There, s3_server: Running) -> None:
    """Nomad takes the credentials as secrets; Armada only because the configuration says so."""
    env = {
        **there.env,
        "AWS_ACCESS_KEY_ID": f"{CANARY}-id",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{s3_server.bucket}/{CANARY[:6]}",
        "METAFLOW_S3_ENDPOINT_URL": s3_server.endpoint,
        "SOME_TOKEN": f"{CANARY}-token",
        "METAFLOW_ARMADA_ALLOW_PLAIN_CREDENTIALS": "true",
    }
    text = place.root / "s3_flow.py"
    source = (FLOWS / "s3_flow.py").read_text()
    text.write_text(source.replace("local_batch", there.name))
    (place.root / "marks").mkdir()
    (place.root / "marks" / "go").write_text("on")
    console = place.flow(text, "run", "--place", str(place.root), env=env, within=LONG)
    start = place.show("S3Flow", console, env=env)["steps"]["start"][0]
    assert start["artifacts"]["asked"] == {"SOME_TOKEN": len(f"{CANARY}-token")}
    assert start["attempt"] == 1
    assert console.count("over S3") == 1
    assert "x is 41" in console
    assert CANARY not in console
