"""Secrets of a Vault that the cluster is connected to, which its jobs log in to by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from batchbridge import Cause, Client, Job, JobState
from localdev.nomad_agent import admin_of
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.cluster import eventually
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of
from tests.drivers.nomad.live.vault import Vault, vault

pytestmark = LIVE
TEAM = {"driver": "raw_exec", "vault_role": "team"}


@pytest.fixture(scope="module")
def store() -> Iterator[Vault]:
    with vault() as made:
        yield made


@pytest.fixture(scope="module")
def agent(start: Start, program: str, store: Vault) -> Agent:
    """One whose jobs may be of the role ``team``, which reads stores of either version."""
    made = start(config=store.configuration)
    store.trust(program, made)
    store.grant("team", "secret/data/app", "old/app")
    store.ask("PUT", "secret/data/app", {"data": {"api-key": "of version 2"}})
    store.ask("POST", "sys/mounts/old", {"type": "kv"})
    store.ask("PUT", "old/app", {"api-key": "of version 1"})
    eventually(lambda: _knows_vault(made), "the agent knows Vault")
    return made


def _knows_vault(agent: Agent) -> bool:
    admin = admin_of(agent)
    (node,) = admin.ask("GET", "nodes")
    return "vault.version" in admin.ask("GET", f"node/{node['ID']}")["Attributes"]


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    with client_of(settings(agent)) as made:
        yield made


def says(job: Job) -> str:
    return b"".join(chunk.data for chunk in job.logs(streams=["stdout"])).decode()


@pytest.mark.parametrize(
    ("path", "value"), [("secret/data/app", "of version 2"), ("old/app", "of version 1")]
)
def test_a_secret_of_a_role_is_in_the_environment(client: Client, path: str, value: str):
    job = client.submit(
        'echo "$API_KEY"', options={**TEAM, "vault": {"API_KEY": f"{path}#api-key"}}
    )
    assert says(job) == f"{value}\n"
    assert job.result(60).state is JobState.SUCCEEDED


def test_a_secret_that_the_clusters_own_role_grants_a_job(client: Client, store: Vault):
    key = uuid4().hex
    path = f"secret/data/default/bb-{key}"
    store.ask("PUT", path, {"data": {"word": "the job's own"}})
    options = {"driver": "raw_exec", "vault": {"WORD": f"{path}#word"}}
    assert says(client.submit('echo "$WORD"', key=key, options=options)) == "the job's own\n"


def ended(client: Client, **options: Any) -> tuple[JobState, Cause | None, str]:
    job = client.submit("true", options=options, start_timeout=15)
    end = job.wait(120)
    return end.state, end.cause, end.message


def test_a_key_that_is_not_there_fails_the_job(client: Client):
    state, cause, message = ended(client, **TEAM, vault={"X": "secret/data/app#nothing"})
    assert (state, cause) == (JobState.FAILED, Cause.START_ERROR)
    assert "nothing at secret/data/app#nothing" in message


def test_a_path_that_the_role_may_not_read_ends_by_start_timeout(client: Client):
    state, cause, message = ended(client, **TEAM, vault={"X": "secret/data/other#key"})
    assert (state, cause) == (JobState.FAILED, Cause.START_ERROR)
    assert "vault.read(secret/data/other)" in message


def test_a_role_that_is_not_there_fails_the_job(client: Client):
    options = {**TEAM, "vault_role": "nobody", "vault": {"X": "secret/data/app#api-key"}}
    state, cause, message = ended(client, **options)
    assert (state, cause) == (JobState.FAILED, Cause.START_ERROR)
    assert "nobody" in message
