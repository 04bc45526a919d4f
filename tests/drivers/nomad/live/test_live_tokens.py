"""Tokens that end: what is said, and a run that outlives its token."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from batchbridge import Client, JobState
from batchbridge.errors import AuthError
from batchbridge_nomad.settings import NomadSettings
from localdev.nomad_admin import POLICY, Admin
from localdev.nomad_agent import admin_of
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
RAW = {"driver": "raw_exec"}


@pytest.fixture
def admin(guarded: Agent) -> Admin:
    return admin_of(guarded)


def token(admin: Admin, **more: str) -> dict[str, str]:
    """A new one with the least policy."""
    admin.ask("PUT", "acl/policy/least", {"Name": "least", "Rules": POLICY.read_text()})
    asked = {"Name": "least", "Type": "client", "Policies": ["least"], **more}
    made: dict[str, str] = admin.ask("PUT", "acl/token", asked)
    return made


def test_a_run_outlives_its_token(guarded: Agent, admin: Admin, tmp_path: Path):
    """The file is read again where Nomad refuses; a watch that goes on is followed to the end."""
    first, file = token(admin), tmp_path / "token"
    file.write_text(first["SecretID"])
    by_file = replace(settings(guarded), token_file=str(file))
    with client_of(by_file) as client:
        job = client.submit(f"while [ ! -e {tmp_path}/go ]; do sleep 0.2; done", options=RAW)
        for event in job.events():
            if event.record.state is JobState.RUNNING:
                file.write_text(token(admin)["SecretID"])
                admin.ask("DELETE", f"acl/token/{first['AccessorID']}")
                client.submit("true", options=RAW).result(60)
                (tmp_path / "go").touch()
        assert job.wait(60).state is JobState.SUCCEEDED


def test_a_token_that_has_expired(guarded: Agent, admin: Admin, tmp_path: Path):
    short = token(admin, ExpirationTTL="60s")
    (tmp_path / "token").write_text(short["SecretID"])
    with client_of(replace(settings(guarded), token_file=str(tmp_path / "token"))) as client:
        error = refusal(client)
    assert "\n" not in str(error)
    assert "refused the token" in str(error)
    assert "expired" in error.remedy


def test_a_token_that_is_unknown_lacks_a_right_or_is_none(guarded: Agent, admin: Admin):
    """Three refusals that Nomad may put into the same words."""
    nobody = replace(settings(guarded), token_file="")
    lacking = admin.token_with("none", 'namespace "default" { capabilities = ["list-jobs"] }')
    said = [denied(nobody)]
    said += [denied(replace(nobody, token=one)) for one in (str(uuid4()), lacking)]
    assert said[0].startswith("no token is set (NOMAD_TOKEN, ")
    assert "unknown here" in said[1] or "none of this cluster's" in said[1]
    assert "lacks submit-job in the namespace default" in said[2]


def denied(asks: NomadSettings) -> str:
    """What is advised where it may not submit."""
    with client_of(asks) as client, pytest.raises(AuthError) as caught:
        client.submit("true", options=RAW)
    return caught.value.remedy


def refusal(client: Client) -> AuthError:
    """What is said once it is refused; a minute is the least that Nomad grants."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            client.list("any")
        except AuthError as error:
            return error
        time.sleep(1)
    pytest.fail("it is not refused")
