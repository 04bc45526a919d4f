"""A server, or a client, is killed under 200 running jobs and starts again: nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchbridge import Client, Job
from tests.drivers.nomad.live.cluster import Cluster, eventually
from tests.drivers.nomad.live.gated import Gate

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path, 200)


@pytest.fixture
def jobs(pair_client: Client, gate: Gate) -> list[Job]:
    """They all run, and wait."""
    submitted = pair_client.submit_many(gate.specs())
    gate.all_run(submitted)
    return submitted


def test_a_server_that_is_killed_and_started_again(pair: Cluster, jobs: list[Job], gate: Gate):
    pair.servers[0].kill()
    pair.servers[0].start()
    eventually(pair.ready, "the server is back")
    gate.finish(jobs)


def test_a_client_that_is_killed_and_started_again(pair: Cluster, jobs: list[Job], gate: Gate):
    pair.client.kill()
    pair.client.start()
    eventually(pair.ready, "the client is back")
    gate.finish(jobs)


def test_jobs_that_end_while_there_is_no_server(pair: Cluster, jobs: list[Job], gate: Gate):
    pair.servers[0].kill()
    gate.open()
    gate.all_have("ended")
    pair.servers[0].start()
    gate.finish(jobs)
