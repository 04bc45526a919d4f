"""What travels to a step's job, and what does not."""

from __future__ import annotations

import json
import os

import pytest
from metaflow import metaflow_config

from metaflow_extensions.batchbridge.plugins import task_env

AWS = {"AWS_ACCESS_KEY_ID": "canary-id", "AWS_SECRET_ACCESS_KEY": "canary-key"}
NAMED = {name: f"env:{name}" for name in AWS}


@pytest.fixture(autouse=True)
def launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's environment and configuration."""
    for name in (*task_env.AWS_PLAIN, *task_env.AWS_SECRETS):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**AWS, "AWS_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(metaflow_config, "S3_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(metaflow_config, "SERVICE_HEADERS", {"x-api-key": "canary-header"})
    monkeypatch.setattr(metaflow_config, "SERVICE_INTERNAL_URL", "http://127.0.0.1:2")


def variables(datastore: str, metadata: str) -> dict[str, str]:
    return task_env.variables(
        datastore=datastore, root="/data/.metaflow", metadata=metadata, user="u", script="f.py"
    )


def secrets(asked: dict[str, str] | None = None, **changes: object) -> dict[str, str]:
    setting = {"named": (), "datastore": "s3", "metadata": "local", "safe": True, **changes}
    return task_env.secret_sources(asked or {}, **setting)


@pytest.mark.parametrize("datastore", ["local", "s3"])
@pytest.mark.parametrize("metadata", ["local", "service"])
def test_no_credential_is_among_the_variables(datastore: str, metadata: str) -> None:
    assert "canary" not in json.dumps(variables(datastore, metadata))


def test_a_step_over_s3_gets_the_region_and_the_endpoint() -> None:
    env = variables("s3", "local")
    assert env["AWS_REGION"] == "eu-west-1"
    assert env["METAFLOW_S3_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert "METAFLOW_DATASTORE_SYSROOT_LOCAL" not in env


def test_a_step_over_a_shared_directory_gets_its_root() -> None:
    env = variables("local", "local")
    assert env["METAFLOW_DATASTORE_SYSROOT_LOCAL"] == "/data"
    assert "AWS_REGION" not in env


def test_a_step_is_told_that_it_is_a_job_elsewhere() -> None:
    env = variables("local", "service")
    assert env["METAFLOW_RUNTIME_ENVIRONMENT"] != "local"
    assert env["METAFLOW_SERVICE_URL"] == "http://127.0.0.1:2"


def test_the_credentials_of_s3_are_named_where_that_is_safe() -> None:
    assert secrets() == NAMED
    assert secrets(safe=False) == {}
    assert secrets(datastore="local") == {}
    assert secrets({"TOKEN": "file:/t"}) == {**NAMED, "TOKEN": "file:/t"}


def test_what_the_user_says_of_a_credential_counts() -> None:
    assert secrets({"AWS_ACCESS_KEY_ID": "file:/id"})["AWS_ACCESS_KEY_ID"] == "file:/id"
    assert "AWS_ACCESS_KEY_ID" not in secrets(named=["AWS_ACCESS_KEY_ID"])


def test_the_services_headers_are_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    named = secrets(datastore="local", metadata="service", safe=False)
    assert named == {"METAFLOW_SERVICE_HEADERS": "env:METAFLOW_SERVICE_HEADERS"}
    monkeypatch.setenv("METAFLOW_SERVICE_HEADERS", "")  # so that it is put back
    task_env.offer_headers()
    assert json.loads(os.environ["METAFLOW_SERVICE_HEADERS"]) == {"x-api-key": "canary-header"}
