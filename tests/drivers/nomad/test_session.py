"""Who asks, whom it trusts, and by which way it connects."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import closing

import pycurl
import pytest
from werkzeug import Request, Response

from batchbridge.errors import (
    AuthError,
    ConfigError,
    TransportError,
)
from batchbridge.fields import describe
from batchbridge.model import JobRef
from batchbridge_nomad import NomadDriver
from batchbridge_nomad.api import Api
from batchbridge_nomad.replies import unreachable
from batchbridge_nomad.transfer import Broken
from batchbridge_nomad.trust import trust

from .answering import SCOPE, TEAM, submission


def test_the_environment_changes_nothing(httpserver, address, monkeypatch):
    """Tokens of another cluster, proxies and bundles; python-nomad would use the first."""
    for name in ("NOMAD_TOKEN", "NOMAD_REGION", "NOMAD_NAMESPACE"):
        monkeypatch.setenv(name, "elsewhere")
    for name in ("HTTP_PROXY", "http_proxy", "REQUESTS_CA_BUNDLE", "NOMAD_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    heard = []

    def answer(request: Request) -> Response:
        heard.append((request.headers.get("X-Nomad-Token"), dict(request.args)))
        return Response("[]", content_type="application/json")

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    with closing(Api(NomadDriver.Settings(address=address))) as api:
        assert api.jobs(TEAM) == ()
    assert heard == [(None, {"namespace": "team", "prefix": "", "meta": "True"})]


def test_each_variable_of_nomads_own_is_a_setting():
    """Those with which its command line reaches an agent."""
    names = {field.env for field in describe(NomadDriver.Settings) if field.env}
    assert names == {
        "NOMAD_ADDR",
        "NOMAD_REGION",
        "NOMAD_NAMESPACE",
        "NOMAD_TOKEN",
        "NOMAD_HTTP_AUTH",
        "NOMAD_CACERT",
        "NOMAD_CAPATH",
        "NOMAD_CLIENT_CERT",
        "NOMAD_CLIENT_KEY",
        "NOMAD_TLS_SERVER_NAME",
        "NOMAD_SKIP_VERIFY",
    }


def test_a_token_that_is_refused_is_read_again(httpserver, address, tmp_path):
    """A run outlives its token: the file holds a new one."""
    file = tmp_path / "token"
    file.write_text("old\n")

    def answer(request: Request) -> Response:
        if request.headers["X-Nomad-Token"] == "old":
            file.write_text("new\n")
            return Response("Permission denied", status=403)
        return Response("[]", content_type="application/json")

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    with closing(Api(NomadDriver.Settings(address=address, token_file=str(file)))) as api:
        assert api.jobs(TEAM) == ()
    assert [r.headers["X-Nomad-Token"] for r, _ in httpserver.log] == ["old", "new"]


@pytest.mark.parametrize(("kept_in_a_file", "sent"), [(True, 2), (False, 1)])
def test_a_token_that_stays_refused(httpserver, address, tmp_path, kept_in_a_file, sent):
    file = tmp_path / "token"
    file.write_text("old")
    httpserver.expect_request("/v1/jobs").respond_with_data("Permission denied", status=403)
    source = {"token_file": str(file)} if kept_in_a_file else {"token": "old"}
    api = Api(NomadDriver.Settings(address=address, **source))
    with closing(api), pytest.raises(AuthError) as caught:
        api.jobs(TEAM)
    assert "list-jobs" in caught.value.remedy
    assert len(httpserver.log) == sent


@pytest.mark.parametrize("source", [{"token_file": "/no/such"}, {"token_command": "false"}])
def test_a_token_that_cannot_be_had(httpserver, address, source):
    api = Api(NomadDriver.Settings(address=address, **source))
    with closing(api), pytest.raises(ConfigError, match="token"):
        api.jobs(TEAM)
    assert httpserver.log == []


def test_a_token_is_what_a_command_prints_and_a_proxy_gets_its_password(httpserver, address):
    httpserver.expect_request("/v1/jobs").respond_with_json([])
    settings = NomadDriver.Settings(
        address=address, token_command="echo printed", http_auth="user:pass"
    )
    with closing(Api(settings)) as api:
        api.jobs(TEAM)
    ((request, _),) = httpserver.log
    assert request.headers["X-Nomad-Token"] == "printed"
    assert (request.authorization.username, request.authorization.password) == ("user", "pass")


# -- by which way -----------------------------------------------------------------------------


def test_over_a_socket_of_this_machine(tmp_path):
    """As tasks reach the agent that runs them."""
    path, answer = tmp_path / "api.sock", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
    heard = []

    def serve(server):
        connection, _ = server.accept()
        heard.append(connection.recv(1 << 16))
        connection.sendall(answer)
        connection.close()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        with closing(Api(NomadDriver.Settings(address=f"unix://{path}", token="t"))) as api:
            assert api.jobs(TEAM) == ()
        thread.join()
    assert heard[0].startswith(b"GET /v1/jobs?")
    assert b"X-Nomad-Token: t" in heard[0]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A CA's certificate, and one that it signed for ``server.global.nomad``, with keys."""
    place = tmp_path_factory.mktemp("ca")
    new = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -sha256"
    script = f"""
      {new} -subj /CN=ca -keyout ca.key -out ca.pem
      {new} -subj /CN=server -addext subjectAltName=DNS:server.global.nomad \
        -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem
    """
    subprocess.run(["sh", "-ec", script], cwd=place, check=True, capture_output=True)
    return place


@pytest.fixture
def secure(authority):
    """The address of a TLS server that wants a client's certificate and knows one job list."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority / "ca.pem")
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    stop = threading.Event()

    def serve(server):
        while not stop.is_set():
            try:
                connection, _ = server.accept()
                with connection, context.wrap_socket(connection, server_side=True) as inside:
                    inside.recv(1 << 16)
                    inside.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
            except OSError:
                continue

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join()


def trusting(address, authority, **fields):
    shown = {"client_cert": "server.pem", "client_key": "server.key", "ca_cert": "ca.pem"}
    given = {name: str(authority / file) for name, file in shown.items()}
    named = {"tls_server_name": "server.global.nomad"}
    settings = {**given, **named, "request_timeout": 5, **fields}
    return Api(NomadDriver.Settings(address=address, **settings))


def test_a_server_is_trusted_by_its_authority_and_its_name(secure, authority):
    with closing(trusting(secure, authority)) as api:
        assert api.jobs(TEAM) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"tls_server_name": ""},
        {"tls_server_name": "server.other.nomad"},
        {"ca_cert": ""},
        {"client_cert": "", "client_key": ""},
    ],
    ids=["by address", "other name", "other authority", "without our certificate"],
)
def test_any_other_is_not(secure, authority, fields):
    api = trusting(secure, authority, **fields)
    with closing(api), pytest.raises((AuthError, TransportError)):
        api.jobs(TEAM)


def test_verification_is_left_out_where_that_was_asked_for(secure, authority):
    fields = {"ca_cert": "", "tls_server_name": "", "tls_skip_verify": True}
    api = trusting(secure, authority, **fields)
    with closing(api):
        assert api.jobs(TEAM) == ()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"ca_cert": "/no/such.pem"}, "ca_cert /no/such.pem cannot be used: No such file"),
        ({"ca_path": "/no/such"}, "ca_path /no/such cannot be used: No such file"),
        ({"client_cert": "/no", "client_key": "/none"}, "client_cert /no and client_key /none "),
    ],
)
def test_a_certificate_that_is_not_there_is_named(fields, named):
    with pytest.raises(ConfigError, match=named):
        trust(NomadDriver.Settings(address="https://x", **fields))


def test_the_password_of_a_key_is_not_asked_for(authority):
    """At the terminal, while whoever waits sees nothing."""
    sealed, key = authority / "sealed.key", authority / "server.key"
    seal = ["openssl", "rsa", "-aes256", "-passout", "pass:word", "-in", key, "-out", sealed]
    subprocess.run(seal, check=True, capture_output=True)
    given = {"client_cert": str(authority / "server.pem"), "client_key": str(sealed)}
    with pytest.raises(ConfigError, match="client_key") as caught:
        trust(NomadDriver.Settings(address="https://x", **given))
    assert "password" in caught.value.remedy


@pytest.mark.parametrize(("given", "other"), [("ca_cert", "CAPATH"), ("ca_path", "CAINFO")])
def test_where_an_authority_is_named_no_other_is_trusted(authority, given, other):
    named = authority / "ca.pem" if given == "ca_cert" else authority
    asked = trust(NomadDriver.Settings(address="https://x", **{given: str(named)}))
    assert asked[getattr(pycurl, other)] is None


def test_an_address_may_be_a_path_below_a_proxys(httpserver, address):
    httpserver.expect_request("/nomad/v1/jobs").respond_with_json([])
    with closing(Api(NomadDriver.Settings(address=f"{address}/nomad/"))) as api:
        assert api.jobs(TEAM) == ()


def test_tls_where_none_is_spoken_is_said_so(address):
    secure = Api(NomadDriver.Settings(address=address.replace("http:", "https:")))
    with closing(secure), pytest.raises(AuthError) as caught:
        secure.jobs(TEAM)
    assert "http://" in caught.value.remedy


def test_an_agent_that_hangs_up_may_want_tls():
    """It answers and ends the connection at once; whether the answer is seen is a race."""
    error = Broken(pycurl.E_RECV_ERROR, "Connection reset by peer", sent=True)
    assert "HTTPS" in str(unreachable(error, "http://nomad:4646"))
    assert "HTTPS" not in str(unreachable(error, "https://nomad:4646"))


@pytest.mark.parametrize("token", ["no pe", "zeilen\numbruch", "Schlüssel"])
def test_what_is_no_token_is_never_sent_nor_shown(httpserver, address, token):
    api = Api(NomadDriver.Settings(address=address, token=token))
    with closing(api), pytest.raises(ConfigError, match="token") as caught:
        api.jobs(TEAM)
    assert token not in str(caught.value)
    assert httpserver.log == []


def test_only_what_may_be_long_is_asked_for_compressed(httpserver, driver):
    """An agent makes a compressor for each such answer, however short."""
    httpserver.expect_request("/v1/jobs", method="GET").respond_with_json([])
    httpserver.expect_request("/v1/jobs", method="POST").respond_with_json({})
    httpserver.expect_request("/v1/job/bb-k").respond_with_json({})
    list(driver.list(None, "me"))
    list(driver.submit([submission()]))
    driver.cancel([JobRef("nomad", "p", SCOPE, "bb-k")], reason="")
    encodings = {r.method: r.headers["Accept-Encoding"] for r, _ in httpserver.log}
    assert encodings == {"GET": "gzip", "POST": "identity", "DELETE": "identity"}
