"""Two regions that are federated: jobs of one are run, watched and read through the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from batchbridge import Client, JobState
from localdev.nomad_admin import Admin
from tests.drivers.nomad.live.cluster import Cluster, cluster, eventually
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
THERE = {"driver": "raw_exec", "region": "west"}


@pytest.fixture(scope="module")
def east(program: str) -> Iterator[Cluster]:
    """The region that is asked, joined with another."""
    with cluster(program, region="east") as here, cluster(program, region="west", beside=here):
        admin = Admin.of(here.servers[0].settings)
        eventually(lambda: admin.ask("GET", "regions") == ["east", "west"], "they have met")
        yield here


@pytest.fixture
def client(east: Cluster) -> Iterator[Client]:
    with client_of(east.servers[0].settings) as made:
        yield made


def test_a_job_of_another_region_is_watched_and_read(client: Client, east: Cluster):
    job = client.submit("echo $NOMAD_REGION; exit 3", options=THERE)
    assert b"".join(chunk.data for chunk in job.logs()) == b"west\n"
    end = job.wait(60)
    assert (end.state, end.exit_code) == (JobState.FAILED, 3)
    assert "west" in str(job.ref)
    assert Admin.of(east.servers[0].settings).ask("GET", "jobs") == []


def test_a_job_of_another_region_is_cancelled(client: Client, east: Cluster):
    job = client.submit(["sleep", "600"], options=THERE)
    for event in job.events():
        if event.record.state is JobState.RUNNING:
            with client_of(east.servers[0].settings) as another:
                another.attach(str(job.ref)).cancel()
    assert job.wait(60).state is JobState.CANCELLED


def test_secrets_go_to_the_region_of_their_job(client: Client, monkeypatch):
    monkeypatch.setenv("TOKEN_HERE", "hidden")
    job = client.submit(
        'test "$TOKEN" = hidden', secrets={"TOKEN": "env:TOKEN_HERE"}, options=THERE
    )
    assert job.result(60).state is JobState.SUCCEEDED


def test_a_client_of_that_region_finds_its_jobs(client: Client, east: Cluster):
    named = 'in "the west" \\ \U0001f335'
    job = client.submit("true", options=THERE, job_set=named)
    job.wait(60)
    with client_of(replace(east.servers[0].settings, region="west")) as there:
        assert [found.ref for found in there.list(named)] == [job.ref]


def test_a_template_does_not_say_where_a_job_goes(client: Client):
    below = '{"Job": {"Region": "west"}}'
    job = client.submit("echo $NOMAD_REGION", options={"driver": "raw_exec", "template": below})
    assert b"".join(chunk.data for chunk in job.logs()) == b"east\n"
    assert job.result(60).state is JobState.SUCCEEDED
