"""One run of a flow that uses all that Metaflow offers on one machine, and what came of it."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import PYTHONS, Place, run_id_of

pytestmark = pytest.mark.timeout(300)  # whole flows, of several processes each

Steps = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=PYTHONS)
def place(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("features"), request.param)
    yield made
    made.end_all()


@pytest.fixture(scope="module")
def console(place: Place) -> str:
    """What the run printed. Its configuration says a word; its environment says another."""
    (place.root / "words.json").write_text('{"word": "configured"}')
    words = ["--config", "settings", "words.json", "run", "--times", "2", "--tag", "mine"]
    return place.flow("features_flow.py", *words, env={"NOT_NAMED": "stays here"})


@pytest.fixture(scope="module")
def run(place: Place, console: str) -> dict[str, Any]:
    """The run as Metaflow's client sees it."""
    return place.show("FeaturesFlow", console)


@pytest.fixture(scope="module")
def steps(run: dict[str, Any]) -> Steps:
    return run["steps"]


def test_the_run_succeeds_and_keeps_its_tags(run: dict[str, Any]) -> None:
    assert run["ok"]
    assert "mine" in run["tags"]
    assert "mine" in run["steps"]["start"][0]["artifacts"]["tags"]


def test_a_foreach_in_a_foreach_joins_to_the_same_result(steps: Steps) -> None:
    assert len(steps["letter"]) == 2
    assert len(steps["number"]) == 4
    assert steps["end"][0]["artifacts"]["made"] == ["A0", "A1", "B0", "B1"]


def test_decorated_steps_are_jobs_and_the_others_are_not(steps: Steps) -> None:
    assert steps["start"][0]["artifacts"]["where"]["in_job"] == "1"
    assert steps["end"][0]["artifacts"]["where"]["in_job"] is None


def test_the_value_of_a_config_travels_with_the_package(steps: Steps) -> None:
    assert steps["start"][0]["artifacts"]["word"] == "configured"


def test_only_named_variables_travel(steps: Steps) -> None:
    env = steps["start"][0]["artifacts"]["where"]["env"]
    assert env["FROM_ENVIRONMENT"] == "a b $c"
    assert env["METAFLOW_USER"] == "tester"
    assert "NOT_NAMED" not in env
    assert "BATCHBRIDGE_STATE_DIR" not in env


def test_metaflows_own_secrets_are_untouched(steps: Steps) -> None:
    assert steps["start"][0]["artifacts"]["where"]["env"]["INLINE"] == "x"


def test_the_working_directory_went_with_the_step(steps: Steps, place: Place) -> None:
    from pathlib import Path

    assert not Path(steps["start"][0]["artifacts"]["where"]["cwd"]).exists()


def test_each_attempt_registers_its_job_and_how_it_ended(steps: Steps, place: Place) -> None:
    facts = {name: value for name, value in steps["start"][0]["metadata"]}
    assert facts["batchbridge-backend"] == "local"
    assert facts["batchbridge-state"] == "SUCCEEDED"
    job = json.loads(place.batchbridge("status", "--json", facts["batchbridge-job"]))
    assert (job["state"], job["exit_code"]) == ("SUCCEEDED", 0)
    assert job["job_set"].startswith("mf.FeaturesFlow.")
    tries = [v for name, v in steps["broken"][0]["metadata"] if name == "batchbridge-state"]
    assert sorted(tries) == ["FAILED", "SUCCEEDED"]


def test_output_is_shown_once_and_kept_once(console: str, steps: Steps) -> None:
    assert console.count("to stdout") == 1
    assert console.count("to stderr") == 1
    assert steps["start"][0]["stdout"].count("to stdout") == 1
    assert "to stderr" in steps["start"][0]["stderr"]


def test_the_logs_command_shows_them_after(place: Place, console: str) -> None:
    shown = place.flow("features_flow.py", "logs", f"{run_id_of(console)}/start")
    assert shown.count("to stdout") == 1
    assert shown.count("to stderr") == 1


def test_a_failure_is_retried_after_the_pause_and_then_caught(console: str, steps: Steps) -> None:
    assert "trying 0" in console
    assert "Sleeping 0.02 minutes" in console
    assert "trying 1" in console
    assert "it always breaks" in steps["broken"][0]["artifacts"]["failure"]
    assert console.count("FAILED: EXIT_CODE, exit code 1") == 1  # @catch ends the second with 0


def test_a_timeout_ends_the_step_with_metaflows_own_words(steps: Steps) -> None:
    assert (
        "timed out after 0 hours, 0 minutes, 1 seconds" in steps["slow"][0]["artifacts"]["failure"]
    )


def test_the_larger_of_the_resources_counts(place: Place, steps: Steps) -> None:
    facts = {name: value for name, value in steps["number"][0]["metadata"]}
    record = place.job_record(facts["batchbridge-job"])
    assert (record["cpu"], record["memory"]) == (0.5, 64 << 20)


def test_the_job_is_bounded_by_the_run_limit(place: Place, steps: Steps) -> None:
    facts = {name: value for name, value in steps["start"][0]["metadata"]}
    assert place.job_record(facts["batchbridge-job"])["timeout"] == 5 * 24 * 3600 + 60


def test_a_card_is_made_and_read(place: Place, console: str) -> None:
    pathspec = f"{run_id_of(console)}/letters_joined"
    shown = place.flow("features_flow.py", "card", "get", pathspec)
    cards = [b64decode(data) for data in re.findall(r"[A-Za-z0-9+/=]{200,}", shown)]
    assert any(b"the card of letters_joined" in card for card in cards)


def test_resume_starts_where_the_run_broke_and_in_jobs(place: Place, console: str) -> None:
    words = ["resume", "branches_joined", "--origin-run-id", run_id_of(console)]
    again = place.flow("features_flow.py", *words)
    resumed = place.show("FeaturesFlow", again)
    assert resumed["ok"]
    assert again.count("Job is submitted") == 1
    assert resumed["steps"]["end"][0]["artifacts"]["made"] == ["A0", "A1", "B0", "B1"]
