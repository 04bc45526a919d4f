"""TLS of both sides: whom we trust, who we are, and what is said where either is wrong."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from batchbridge import BatchBridgeError, JobState
from batchbridge.errors import AuthError
from batchbridge_nomad.settings import NomadSettings
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
RAW = {"driver": "raw_exec"}


@pytest.fixture
def trusted(guarded: Agent) -> NomadSettings:
    """What leads there."""
    return settings(guarded)


def refused(by: NomadSettings) -> BatchBridgeError:
    """The error of a submit."""
    with client_of(by) as client, pytest.raises(BatchBridgeError) as caught:
        client.submit("true", options=RAW)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 125
    return caught.value


def test_certificates_of_both_sides(trusted):
    with client_of(trusted) as client:
        assert client.submit("true", options=RAW).result(60).state is JobState.SUCCEEDED


def test_the_name_in_the_certificate_may_be_another_than_the_host(trusted):
    with client_of(replace(trusted, tls_server_name="server.global.nomad")) as client:
        assert client.submit("true", options=RAW).result(60).state is JobState.SUCCEEDED


def test_another_name_is_not_trusted(trusted):
    error = refused(replace(trusted, tls_server_name="server.elsewhere.nomad"))
    assert isinstance(error, AuthError)
    assert "server.elsewhere.nomad" in str(error)
    assert "tls_server_name" in error.remedy


def test_another_ca_is_not_trusted(trusted, program: str, tmp_path: Path):
    subprocess.run([program, "tls", "ca", "create"], cwd=tmp_path, check=True, capture_output=True)
    error = refused(replace(trusted, ca_cert=str(tmp_path / "nomad-agent-ca.pem")))
    assert isinstance(error, AuthError)
    assert "certificate" in str(error)
    assert "ca_cert" in error.remedy


def test_one_without_a_certificate_is_refused(trusted):
    error = refused(replace(trusted, client_cert="", client_key=""))
    assert isinstance(error, AuthError)
    assert "client_cert" in error.remedy


def test_plain_http_is_answered_by_no_nomad(trusted):
    error = refused(replace(trusted, address=trusted.address.replace("https", "http")))
    assert "HTTPS" in str(error)


def test_nobody_listens(trusted):
    error = refused(replace(trusted, address="https://127.0.0.1:9"))
    assert "https://127.0.0.1:9 cannot be reached" in str(error)


def test_skipping_verification_is_possible_and_asked_for(trusted):
    unverified = replace(trusted, ca_cert="", tls_skip_verify=True)
    with client_of(unverified) as client:
        assert client.submit("true", options=RAW).result(60).state is JobState.SUCCEEDED
