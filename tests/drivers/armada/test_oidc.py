"""Tokens from an OpenID Connect provider, one that is served here."""

from __future__ import annotations

import ssl
from base64 import b64encode
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread

import pytest
from pytest_httpserver import HTTPServer

from batchbridge.errors import AuthError, ConfigError, TransportError
from batchbridge_armada.fetched import Fetched, Token
from tests.drivers.armada.access import DISCOVERY, Tokens, accepted, reached
from tests.drivers.armada.certificates import Authority


def client(tokens, **more):
    return {
        "oidc_provider": tokens.url,
        "oidc_client_id": "c d",
        "oidc_client_secret": "s:",
        **more,
    }


def test_a_program_s_own_credentials(armada, provider):
    tokens = Tokens(provider)
    armada.token = "t1"
    with reached(armada, **client(tokens, oidc_scopes="openid email")) as driver:
        assert accepted(driver, "k1")
        assert accepted(driver, "k2")
    (asked,) = tokens.asked
    # RFC 6749 2.3.1: both are written as in a form first.
    assert asked[0] == f"Basic {b64encode(b'c+d:s%3A').decode()}"
    assert asked[1] == {"grant_type": "client_credentials", "scope": "openid email"}


def test_a_provider_that_wants_the_secret_beside_the_grant(armada, provider, tmp_path):
    tokens = Tokens(provider, methods=["client_secret_post"])
    (tmp_path / "secret").write_text("s\n")
    armada.token = "t1"
    given = client(tokens, oidc_client_secret="", oidc_client_secret_file=f"{tmp_path}/secret")
    with reached(armada, **given) as driver:
        assert accepted(driver)
    assert tokens.asked == [
        ("", {"grant_type": "client_credentials", "client_id": "c d", "client_secret": "s"})
    ]


def test_a_token_that_is_refused_is_fetched_anew(armada, provider):
    tokens = Tokens(provider)
    armada.token = "t2"
    with reached(armada, **client(tokens)) as driver:
        assert accepted(driver)
    assert len(tokens.asked) == 2


def test_a_token_is_fetched_before_it_ends(armada, provider):
    tokens = Tokens(provider, expires=5)
    with reached(armada, **client(tokens)) as driver:
        assert accepted(driver, "k1")
        assert accepted(driver, "k2")
    assert len(tokens.asked) == 2


def test_a_token_without_an_end_is_kept():
    told = iter(["a", "b"])
    source = Fetched(lambda: Token(next(told)))
    assert [source.get(), source.get()] == ["a", "a"]
    assert source.refused("a")
    assert source.get() == "b"


@pytest.mark.parametrize(
    ("status", "body", "problem", "words"),
    [
        (401, '{"error": "invalid_client"}', AuthError, "invalid_client"),
        (503, "later", TransportError, "503"),
        (200, "{}", AuthError, "no access_token"),
        (200, "<html>", TransportError, "no token"),
    ],
)
def test_a_provider_that_gives_no_token(armada, provider, status, body, problem, words):
    provider.expect_request(DISCOVERY).respond_with_json(
        {"token_endpoint": provider.url_for("/token")}
    )
    provider.expect_request("/token").respond_with_data(body, status=status)
    given = {"oidc_provider": provider.url_for("/realm"), "oidc_client_id": "c"}
    with reached(armada, **given) as driver, pytest.raises(problem, match=words):
        accepted(driver)


def test_what_is_no_provider(armada, provider):
    given = {"oidc_provider": provider.url_for("/nothing"), "oidc_client_id": "c"}
    provider.expect_request("/nothing/.well-known/openid-configuration").respond_with_data(
        "no such page", status=404
    )
    with reached(armada, **given) as driver, pytest.raises(ConfigError, match="no such page"):
        accepted(driver)


def test_no_secret_goes_to_a_provider_in_the_clear(armada):
    given = {"oidc_provider": "http://provider.example", "oidc_client_id": "c"}
    with reached(armada, **given) as driver, pytest.raises(ConfigError, match="is not https"):
        accepted(driver)


@pytest.mark.parametrize("url", ["https://localhost:none", "https://[::1", "https://localhost/a b"])
def test_a_provider_s_address_that_is_none(armada, url):
    given = {"oidc_provider": url, "oidc_client_id": "c"}
    with reached(armada, **given) as driver, pytest.raises(ConfigError, match="is no address"):
        accepted(driver)


class Babble(StreamRequestHandler):
    """Answers what is no HTTP."""

    def handle(self):
        self.rfile.readline()
        self.wfile.write(b"220 ready\r\n")


def test_a_provider_that_does_not_speak_http(armada):
    with TCPServer(("127.0.0.1", 0), Babble) as server:
        answering = Thread(target=server.handle_request)
        answering.start()
        given = {
            "oidc_provider": f"http://127.0.0.1:{server.server_address[1]}",
            "oidc_client_id": "c",
        }
        with reached(armada, **given) as driver, pytest.raises(TransportError, match="220 ready"):
            accepted(driver)
        answering.join()


def test_a_ca_cert_of_nobody(armada, provider):
    with (
        reached(armada, ca_cert="~no-such-user/ca.pem", **client(Tokens(provider))) as driver,
        pytest.raises(ConfigError, match=r"ca_cert: .*ca\.pem cannot be read"),
    ):
        accepted(driver)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_cert_that_is_none(armada, provider, tmp_path, content):
    """It is told like any other wrong setting, and what else can be looked at is."""
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with reached(armada, ca_cert=str(file), **client(Tokens(provider))) as driver:
        with pytest.raises(ConfigError, match=r"ca_cert: .*ca\.pem cannot be read"):
            accepted(driver)
        told = [check.ok for check in driver.probe()]
    assert told == [True, False, False, True]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def encrypted(authority):
    """Where a provider can be that this authority vouches for."""
    pair = authority.sign("provider", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    server = HTTPServer(host="localhost", ssl_context=context)
    server.start()
    yield server
    server.stop()


def test_a_provider_with_a_certificate_of_one_s_own_authority(
    armada, authority, encrypted, tmp_path, monkeypatch
):
    tokens = Tokens(encrypted)
    armada.token = "t1"
    monkeypatch.setenv("HOME", str(tmp_path))
    ours = f"~/{authority.cert.relative_to(tmp_path)}"
    with reached(armada, ca_cert=ours, **client(tokens)) as driver:
        assert accepted(driver)
    with reached(armada, **client(tokens)) as driver, pytest.raises(TransportError) as caught:
        accepted(driver)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)


def test_the_system_s_authorities_count_beside_one_s_own(
    armada, authority, encrypted, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    other = Authority(tmp_path, "other")
    armada.token = "t1"
    with reached(armada, ca_cert=str(other.cert), **client(Tokens(encrypted))) as driver:
        assert accepted(driver)
