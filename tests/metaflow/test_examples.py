"""The flows that the documents send people to."""

from __future__ import annotations

import pytest

from .conftest import REPO, Place

EXAMPLES = REPO / "examples"

pytestmark = pytest.mark.timeout(300)  # whole flows, of several processes each


def test_the_demo_measures_what_is_there_and_agrees_with_the_tools(place: Place) -> None:
    console = place.flow(EXAMPLES / "demo_flow.py", "run")
    run = place.show("DemoFlow", console)
    end = run["steps"]["end"][0]["artifacts"]
    assert run["ok"]
    assert end["total"] == end["expected"]
    assert end["expected"]["files"] >= 200
    assert end["expected"]["bytes"] >= 10_000_000
    assert "broken on purpose" in console
    assert console.splitlines()[-3].endswith("equal")
    jobs = place.show_jobs(run)
    assert len(jobs) == len({process["pid"] for process in end["processes"].values()}) + 1
    for process in end["processes"].values():
        assert "batchbridge_local" in process["started_by"]


def test_the_retry_example(place: Place) -> None:
    console = place.flow(EXAMPLES / "retry_flow.py", "run")
    assert "it took 2 tries" in console
    assert console.count("Job is submitted") == 2


def test_the_secret_example(place: Place) -> None:
    console = place.flow(EXAMPLES / "secret_flow.py", "run", env={"TOKEN": "canary-77b2"})
    assert "hello, the token has 11 characters" in console
    assert "canary-77b2" not in console
