"""The benchmarks of Nomad run, on a small one; how good their numbers are is for `make bench`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from benchmarks.counting import counting
from benchmarks.nomad_agent import VARIABLE
from benchmarks.nomad_watching import AIRFLOW
from tests.drivers.nomad.agent import Agent, node
from tests.test_benchmarks import bench, cells

COSTS = ("wall", "cpu", "requests")
WATCHERS = ("batchbridge", "each job polled")
NAMES = ("nomad-submit", "nomad-latency", "nomad-end", "nomad-watch")


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with Agent() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("nomad-submit", ["batchbridge", "http.client"]),
        ("nomad-latency", ["batchbridge", "http.client"]),
        ("nomad-end", ["batchbridge", "a bare reader", "the one later"]),
        ("nomad-watch", [f"{what}: {who}" for what in COSTS for who in WATCHERS]),
    ],
)
def test_table(
    agent: Agent, name: str, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, agent.address)
    table = bench(tmp_path, name)
    for what in measured:
        assert any(character.isdigit() for character in cells(table, what)[1]), table
    assert not [job for job in agent.state.jobs if "bench-" in str(job)]
    if name == "nomad-watch":
        _, median, *_, verdict = cells(table, f"cpu: {AIRFLOW}")
        assert (median, verdict) == ("", "not run")
        assert cells(table, "ends not seen: batchbridge")[-1] == "met"


@pytest.mark.parametrize(
    ("name", "address", "reason"),
    [
        *((name, "", "names no agent") for name in NAMES),
        ("nomad-end", "https://127.0.0.1:1", "names no agent"),
        ("nomad-end", "http://127.0.0.1:1", "cannot be asked"),
    ],
)
def test_without_an_agent_nothing_is_measured(
    name: str, address: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, address)
    table = bench(tmp_path, name)
    assert "not run" in table
    assert reason in " ".join(table.split())


def test_an_agent_that_runs_no_commands_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Agent([node("n", drivers=("docker",))]) as agent:
        monkeypatch.setenv(VARIABLE, agent.address)
        assert "has raw_exec" in " ".join(bench(tmp_path, "nomad-end").split())


def test_each_request_is_counted_once(agent: Agent) -> None:
    with counting(agent.address.removeprefix("http://")) as proxy, requests.Session() as session:
        for _ in range(3):
            session.get(f"{proxy.address}/v1/jobs").raise_for_status()
        session.put(f"{proxy.address}/v1/jobs/parse", json={"JobHCL": "\r\n\r\n" * 100_000})
        requests.get(f"{proxy.address}/v1/nodes").raise_for_status()
    assert proxy.requests == 5
