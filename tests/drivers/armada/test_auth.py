"""Who asks, and over what: each way against a server here that checks it."""

from __future__ import annotations

from contextlib import closing

import grpc
import pytest

from batchbridge.errors import AuthError, ConfigError, TransportError
from batchbridge_armada.protocol import event_pb2
from tests.drivers.armada.access import accepted, basic, reached
from tests.drivers.armada.certificates import Authority
from tests.drivers.armada.cluster import now
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import SCOPE, until
from tests.drivers.armada.server import Armada

# -- passwords and tokens -------------------------------------------------------------------------


def test_nobody(armada):
    with reached(armada) as driver:
        assert accepted(driver)


@pytest.mark.parametrize("where", ["value", "file"])
def test_a_user_and_a_password(armada, tmp_path, where):
    """``internal/common/auth/basic.go``: the scheme is written small."""
    (tmp_path / "password").write_text("p\n")
    given = {"password": "p"} if where == "value" else {"password_file": f"{tmp_path}/password"}
    armada.authorization = basic("u", "p")
    with reached(armada, username="u", **given) as driver:
        assert accepted(driver)


def test_a_token(armada):
    armada.token = "t"
    with reached(armada, token="t") as driver:
        assert accepted(driver)


def test_what_is_refused_is_told_with_the_server_s_words_and_a_remedy(armada):
    armada.token = "t"
    with reached(armada, token="other") as driver, pytest.raises(AuthError) as caught:
        accepted(driver)
    assert "Request unauthenticated with bearer" in str(caught.value)
    assert "token" in caught.value.remedy
    assert "other" not in str(caught.value)


def test_a_token_file_is_read_again_when_the_token_is_refused(armada, tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")
    armada.token = "old"
    with reached(armada, token_file=str(file)) as driver:
        assert accepted(driver, "k1")
        armada.token = "new"
        with pytest.raises(AuthError, match="refused the credential"):
            accepted(driver, "k2")
        file.write_text("new\n")
        assert accepted(driver, "k2")


def test_a_command_is_run_again_when_the_token_is_refused(armada, tmp_path):
    runs = tmp_path / "runs"
    script = f"sh -c 'echo x >> {runs}; wc -l < {runs} | tr -d \" \"'"
    armada.token = "1"
    with reached(armada, token_command=script) as driver:
        assert accepted(driver, "k1")
        armada.token = "2"
        assert accepted(driver, "k2")
    assert len(runs.read_text().split()) == 2


def test_a_refused_stream_is_an_auth_error_and_the_next_has_another_token(armada, tmp_path):
    file = tmp_path / "token"
    file.write_text("old")
    armada.token = "new"
    with reached(armada, token_file=str(file)) as driver:
        with closing(driver.watch(SCOPE, None, list)) as batches, pytest.raises(AuthError):
            until(lambda: next(batches).observations)
        file.write_text("new")
        armada.cluster.say(*SCOPE, queued=event_pb2.JobQueuedEvent(job_id="j", created=now()))
        with closing(driver.watch(SCOPE, None, list)) as batches:
            until(lambda: next(batches).observations)


@pytest.mark.parametrize("token", ["first\nsecond", "schlüssel", "a\0b"])
def test_a_token_that_cannot_be_sent_is_not_shown(armada, token):
    with reached(armada, token=token) as driver, pytest.raises(ConfigError) as caught:
        accepted(driver)
    assert "printable ASCII" in str(caught.value)
    assert token not in str(caught.value) + caught.value.remedy
    assert not armada.calls


# -- encryption -----------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def encrypted(authority, *, host="localhost", mutual=False):
    """A server that speaks TLS, under the name of that host."""
    pair = authority.sign("server", host)
    credentials = grpc.ssl_server_credentials(
        [(pair.key.read_bytes(), pair.cert.read_bytes())],
        root_certificates=authority.cert.read_bytes() if mutual else None,
        require_client_auth=mutual,
    )
    server = Armada(credentials=credentials)
    server.cluster.queues.add(QUEUE)
    return closing(server)


def test_an_authority_of_one_s_own(authority):
    with (
        encrypted(authority) as armada,
        reached(armada, tls="on", ca_cert=str(authority.cert)) as driver,
    ):
        assert accepted(driver)


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(authority, tmp_path):
    other = Authority(tmp_path, "other")
    with (
        encrypted(authority) as armada,
        reached(armada, tls="on", ca_cert=str(other.cert)) as driver,
        pytest.raises(AuthError) as caught,
    ):
        accepted(driver)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    assert "ca_cert" in caught.value.remedy


def test_another_name_is_trusted_only_when_it_is_asked_for(tmp_path):
    authority = Authority(tmp_path)
    with encrypted(authority, host="armada.example") as armada:
        given = {"tls": "on", "ca_cert": str(authority.cert)}
        with reached(armada, tls_server_name="armada.example", **given) as driver:
            assert accepted(driver, "k1")
        with (
            reached(armada, tls_server_name="other.example", **given) as driver,
            pytest.raises(AuthError),
        ):
            accepted(driver, "k2")


def test_a_certificate_of_ours(authority):
    ours = authority.sign("ours")
    with encrypted(authority, mutual=True) as armada:
        given = {"tls": "on", "ca_cert": str(authority.cert)}
        certified = {"client_cert": str(ours.cert), "client_key": str(ours.key)}
        with reached(armada, **given, **certified) as driver:
            assert accepted(driver)
        with reached(armada, **given) as driver, pytest.raises(TransportError):
            accepted(driver, "k2")


def test_a_token_over_tls(authority):
    with encrypted(authority) as armada:
        armada.token = "t"
        given = {"tls": "on", "ca_cert": str(authority.cert), "token": "t"}
        with reached(armada, **given) as driver:
            assert accepted(driver)


def test_a_server_in_the_clear_where_tls_is_expected(armada):
    with reached(armada, tls="on") as driver, pytest.raises(AuthError) as caught:
        accepted(driver)
    assert "check tls" in caught.value.remedy


@pytest.mark.parametrize("path", ["/no/such/file", "~no-such-user/file"])
def test_a_certificate_that_cannot_be_read(armada, path):
    with (
        reached(armada, tls="on", ca_cert=path) as driver,
        pytest.raises(ConfigError, match=f"^ca_cert: {path} cannot be read: "),
    ):
        accepted(driver)


@pytest.mark.parametrize("settings", [("ca_cert",), ("client_cert", "client_key")])
def test_a_file_that_is_no_certificate(armada, tmp_path, settings):
    (tmp_path / "file").write_text("no certificate")
    given = dict.fromkeys(settings, str(tmp_path / "file"))
    with reached(armada, tls="on", **given) as driver, pytest.raises(AuthError) as caught:
        accepted(driver)
    assert settings[0] in caught.value.remedy
