"""Who asks, and over what: each way against a server here that checks it."""

from __future__ import annotations

import ssl
import stat
from base64 import b64encode
from contextlib import closing

import grpc
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from batchbridge.errors import AuthError, ConfigError, TransportError
from batchbridge_armada import ArmadaDriver, armadactl
from batchbridge_armada.fetched import Fetched, Token
from batchbridge_armada.protocol import event_pb2
from batchbridge_armada.settings import ArmadaSettings
from tests.drivers.armada.certificates import Authority
from tests.drivers.armada.cluster import now
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import SCOPE, submission, submit, until
from tests.drivers.armada.server import Armada

DISCOVERY = "/realm/.well-known/openid-configuration"


def reached(armada, **settings):
    """A driver of that server, closed by the test's end."""
    return closing(ArmadaDriver(ArmadaSettings(address=armada.address, queue=QUEUE, **settings)))


def accepted(driver, key="k"):
    """Whether a job is taken."""
    (receipt,) = submit(driver, submission(key))
    return receipt.id is not None


def basic(user, password):
    return f"basic {b64encode(f'{user}:{password}'.encode()).decode()}"


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


# -- OpenID Connect -------------------------------------------------------------------------------


@pytest.fixture
def provider():
    server = HTTPServer(host="127.0.0.1")
    server.start()
    yield server
    server.stop()


class Tokens:
    """A token endpoint: what it was asked, and the tokens t1, t2, … that it gives."""

    def __init__(self, provider, *, methods=None, expires=3600):
        self.asked = []
        self._expires = expires
        found = {"token_endpoint": provider.url_for("/token")}
        if methods:
            found["token_endpoint_auth_methods_supported"] = methods
        provider.expect_request(DISCOVERY).respond_with_json(found)
        provider.expect_request("/token", method="POST").respond_with_handler(self._give)
        self.url = provider.url_for("/realm")

    def _give(self, request):
        self.asked.append((request.headers.get("Authorization", ""), request.form.to_dict()))
        token = f'{{"access_token": "t{len(self.asked)}", "expires_in": {self._expires}}}'
        return Response(token, content_type="application/json")


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


def test_a_provider_with_a_certificate_of_one_s_own_authority(armada, tmp_path):
    authority = Authority(tmp_path)
    pair = authority.sign("provider", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    server = HTTPServer(host="localhost", ssl_context=context)
    server.start()
    try:
        tokens = Tokens(server)
        armada.token = "t1"
        with reached(armada, ca_cert=str(authority.cert), **client(tokens)) as driver:
            assert accepted(driver)
        with reached(armada, **client(tokens)) as driver, pytest.raises(TransportError) as caught:
            accepted(driver)
        assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    finally:
        server.stop()


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


def test_a_certificate_that_cannot_be_read(armada, tmp_path):
    with (
        reached(armada, tls="on", ca_cert=str(tmp_path / "none")) as driver,
        pytest.raises(ConfigError, match="cannot be read"),
    ):
        accepted(driver)


# -- armadactl's own configuration ----------------------------------------------------------------


def configured(tmp_path, text):
    file = tmp_path / ".armadactl.yaml"
    file.write_text(text)
    return str(file)


def by_file(file, **settings):
    given = ArmadaSettings(queue=QUEUE, armadactl_config=file, **settings)
    return closing(ArmadaDriver(given))


def test_a_context_s_address_and_user(armada, tmp_path):
    """As ``_local/.armadactl.yaml`` writes it; capitals do not count, viper's do not."""
    armada.authorization = basic("u", "p")
    file = configured(
        tmp_path,
        f"""
        currentContext: Mine
        contexts:
          mine:
            armadaurl: {armada.address}
            basicAuth: {{username: u, password: p}}
          other:
            armadaUrl: localhost:1
        """,
    )
    with by_file(file) as driver:
        assert accepted(driver)
    with by_file(file, armadactl_context="other") as driver, pytest.raises(TransportError):
        accepted(driver)


def test_a_file_without_contexts(armada, tmp_path):
    file = configured(tmp_path, f"armadaUrl: {armada.address}\n")
    with by_file(file) as driver:
        assert accepted(driver)


def test_a_context_s_client(armada, tmp_path, provider):
    tokens = Tokens(provider)
    armada.token = "t1"
    client = f"{{providerUrl: '{tokens.url}', clientId: c, clientSecret: s, scopes: [a, b]}}"
    file = configured(
        tmp_path, f"armadaUrl: {armada.address}\nopenIdClientCredentialsAuth: {client}\n"
    )
    with by_file(file) as driver:
        assert accepted(driver)
    assert tokens.asked[0][1] == {"grant_type": "client_credentials", "scope": "a b"}


def test_a_context_s_user_of_a_provider(armada, tmp_path, provider):
    tokens = Tokens(provider)
    armada.token = "t1"
    user = f"{{providerUrl: '{tokens.url}', clientId: c, username: u, password: p}}"
    file = configured(tmp_path, f"armadaUrl: {armada.address}\nopenIdPasswordAuth: {user}\n")
    with by_file(file) as driver:
        assert accepted(driver)
    form = {"grant_type": "password", "username": "u", "password": "p", "client_id": "c"}
    assert tokens.asked == [("", form)]


def test_a_context_s_command_is_run_again_when_its_token_is_refused(armada, tmp_path):
    script = tmp_path / "token"
    script.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/runs\n"
        f'echo "$1$KIND$(wc -l < {tmp_path}/runs | tr -d " ")"\n'
    )
    script.chmod(stat.S_IRWXU)
    armada.token = "a-b-2"
    command = f"{{cmd: {script}, args: [a-], env: [{{name: KIND, value: b-}}]}}"
    file = configured(tmp_path, f"armadaUrl: {armada.address}\nexecAuth: {command}\n")
    with by_file(file) as driver:
        assert accepted(driver)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("currentContext: b\ncontexts: {a: {}}", "has no context 'b'"),
        ("openIdAuth: {providerUrl: x}", "openidauth is not supported"),
        ("openIdDeviceAuth: {providerUrl: x}", "openiddeviceauth is not supported"),
        ("kerberosAuth: {enabled: true}", "kerberosauth is not supported"),
        ("kubernetesNativeAuth: {enabled: true}", "kubernetesnativeauth is not supported"),
        ("basicAuth: {username: [1]}", "basicauth.username"),
        ("armadaUrl: nowhere", "is not host:port"),
        ("- 1", "is no configuration of armadactl"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_file_that_does_not_serve(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        armadactl.login(ArmadaSettings(armadactl_config=configured(tmp_path, text)))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        armadactl.login(ArmadaSettings(armadactl_config=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("forced", "expected"), [("true", "off"), ("false", "auto")], ids=["forced", "not forced"]
)
def test_only_a_file_that_says_so_leaves_tls_out(tmp_path, forced, expected):
    text = f"armadaUrl: dns:///armada.example:443\nforceNoTls: {forced}\n"
    settings, source = armadactl.login(ArmadaSettings(armadactl_config=configured(tmp_path, text)))
    assert (settings.address, settings.tls, source) == ("armada.example:443", expected, None)


def test_a_command_s_variables_are_in_no_error(tmp_path):
    text = "execAuth: {cmd: 'false', env: [{name: A, value: hidden}]}"
    _, source = armadactl.login(ArmadaSettings(armadactl_config=configured(tmp_path, text)))
    with pytest.raises(AuthError, match="ended with 1") as caught:
        source.get()
    assert "hidden" not in str(caught.value)
