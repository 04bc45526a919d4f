"""A server, or a client, is killed under 200 running jobs and starts again: nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbridge import Client, Job
from tests.drivers.nomad.live.cluster import Cluster, cluster, eventually
from tests.drivers.nomad.live.conftest import client_of
from tests.drivers.nomad.live.gated import Gate

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def nomad(program: str) -> Iterator[Cluster]:
    with cluster(program) as made:
        yield made


@pytest.fixture
def client(nomad: Cluster) -> Iterator[Client]:
    with client_of(nomad.servers[0].settings) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path, 200)


@pytest.fixture
def jobs(client: Client, gate: Gate) -> list[Job]:
    """They all run, and wait."""
    submitted = client.submit_many(gate.specs())
    gate.all_run(submitted)
    return submitted


def test_a_server_that_is_killed_and_started_again(nomad: Cluster, jobs: list[Job], gate: Gate):
    nomad.servers[0].kill()
    nomad.servers[0].start()
    eventually(nomad.ready, "the server is back")
    gate.finish(jobs)


def test_a_client_that_is_killed_and_started_again(nomad: Cluster, jobs: list[Job], gate: Gate):
    nomad.client.kill()
    nomad.client.start()
    eventually(nomad.ready, "the client is back")
    gate.finish(jobs)


def test_jobs_that_end_while_there_is_no_server(nomad: Cluster, jobs: list[Job], gate: Gate):
    nomad.servers[0].kill()
    gate.open()
    gate.all_have("ended")
    nomad.servers[0].start()
    gate.finish(jobs)
