"""The calls against a server that does what a real agent was seen to do, its oddities too."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing
from itertools import islice

import pytest
from nomad.api.base import Requester
from pytest_httpserver import HTTPServer
from urllib3.exceptions import InsecureRequestWarning
from werkzeug import Request, Response

from batchbridge.errors import (
    AuthError,
    ConfigError,
    CursorExpired,
    KeyConflict,
    RateLimited,
    Rejected,
    SpecError,
    TransportError,
)
from batchbridge.model import Absent, JobRef, JobSpec, JobState, Secret, Submission
from batchbridge_nomad import NomadDriver, jobs, wire
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.session import tls_context

from .recorded import recording

SCOPE = ("team",)
TEAM = Place("team")
EXISTS = "Enforcing job modify index 0: job already exists"


@pytest.fixture
def httpserver():
    """One that answers while a stream is open."""
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def address(httpserver):
    return httpserver.url_for("").rstrip("/")


@pytest.fixture
def driver(address):
    with closing(NomadDriver(NomadDriver.Settings(address=address, namespace="team"))) as made:
        yield made


@pytest.fixture
def api(address):
    with closing(Api(NomadDriver.Settings(address=address, request_timeout=2))) as made:
        yield made


def submission(key="k", **fields):
    secrets = {name: Secret("hidden") for name in fields.pop("secrets", ())}
    spec = JobSpec(command=("true",), options={"driver": "raw_exec"}, **fields)
    return Submission(key, spec, "set", "me", secrets=secrets)


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (403, "Permission denied", AuthError),
        (500, "rpc error: Permission denied", AuthError),
        (403, "ACL token not found", AuthError),
        (429, "", RateLimited),
        (500, "No cluster leader", TransportError),
        (500, "rpc error: EOF", TransportError),
        (502, "<html>bad gateway</html>", TransportError),
        (503, "", TransportError),
        (500, "No path to region", ConfigError),
        (404, "<html>not found</html>", TransportError),
        (200, "<html>hello</html>", TransportError),
        (200, "[1]", TransportError),
    ],
)
def test_an_answer_that_is_none_is_an_error(httpserver, driver, status, text, kind):
    httpserver.expect_request("/v1/job/bb-1").respond_with_data(text, status=status)
    with pytest.raises(kind) as caught:
        driver.snapshot(SCOPE, ["bb-1"])
    assert caught.value.retryable == issubclass(kind, TransportError)


def test_nomads_own_word_on_when_to_try_again(httpserver, driver):
    headers = {"Retry-After": "7"}
    httpserver.expect_request("/v1/job/bb-1").respond_with_data("", status=429, headers=headers)
    with pytest.raises(RateLimited) as caught:
        driver.snapshot(SCOPE, ["bb-1"])
    assert caught.value.retry_after == 7


def test_nobody_there_is_no_observation(driver):
    lonely = NomadDriver(NomadDriver.Settings(address="http://127.0.0.1:9"))
    with closing(lonely), pytest.raises(TransportError):
        lonely.snapshot(SCOPE, ["bb-1"])


def test_a_job_is_absent_by_nomads_word_alone(httpserver, driver):
    httpserver.expect_request("/v1/job/bb-1").respond_with_data("job not found", status=404)
    (absent,) = driver.snapshot(SCOPE, ["bb-1"]).observations
    assert isinstance(absent, Absent)


def test_a_redirect_is_not_followed(httpserver, driver):
    headers = {"Location": "http://127.0.0.1:9/"}
    httpserver.expect_request("/v1/job/bb-1").respond_with_data("", status=307, headers=headers)
    with pytest.raises(TransportError):
        driver.snapshot(SCOPE, ["bb-1"])


# -- who asks --------------------------------------------------------------------------------


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


# -- by which way ----------------------------------------------------------------------------


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
    with closing(api), pytest.warns(InsecureRequestWarning):
        assert api.jobs(TEAM) == ()


def test_a_certificate_that_is_not_there():
    with pytest.raises(ConfigError, match="certificate"):
        tls_context(NomadDriver.Settings(address="https://x", ca_cert="/no/such.pem"))


# -- submitting ------------------------------------------------------------------------------


def test_a_job_that_is_not_valid_is_refused_in_nomads_words(httpserver, driver):
    text = "1 error occurred:\n\t* Task group main validation failed\n\n"
    httpserver.expect_request("/v1/jobs").respond_with_data(text, status=500)
    (receipt,) = driver.submit([submission()])
    assert type(receipt.error) is Rejected
    assert "Task group main validation failed" in str(receipt.error)
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(("spec", "kind"), [({}, type(None)), ({"cpu": 2}, KeyConflict)])
def test_a_key_that_is_known_is_its_job_or_a_conflict(httpserver, driver, spec, kind):
    there = driver.render(submission(**spec))["Job"]
    httpserver.expect_request("/v1/jobs").respond_with_data(EXISTS, status=500)
    httpserver.expect_request("/v1/job/bb-k").respond_with_json(there)
    (receipt,) = driver.submit([submission()])
    assert type(receipt.error) is kind
    assert (receipt.id, receipt.created) == (
        ("bb-k", False) if kind is type(None) else (None, None)
    )


def test_a_job_that_cannot_be_meant_is_refused_and_the_others_are_not(httpserver, driver):
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    odd = submission("odd", image="debian:12")
    receipts = {r.key: r for r in driver.submit([odd, submission("even")])}
    assert isinstance(receipts["odd"].error, SpecError)
    assert receipts["even"].created


def test_a_refusal_of_one_job_is_not_that_of_another(httpserver, driver):
    def answer(request: Request) -> Response:
        bad = request.get_json()["Job"]["ID"] == "bb-bad"
        return Response("not valid", status=500) if bad else Response("{}")

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    keys = [f"k{n}" for n in range(10)] + ["bad"]
    receipts = {r.key: r for r in driver.submit([submission(key) for key in keys])}
    assert [key for key in keys if receipts[key].error] == ["bad"]


def test_secrets_are_written_before_the_job_that_reads_them(httpserver, driver):
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k", method="PUT").respond_with_json({})
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    (receipt,) = driver.submit([submission(secrets=["TOKEN"])])
    assert receipt.created
    (write, _), (register, _) = httpserver.log
    assert (write.args["namespace"], write.args["cas"]) == ("team", "0")
    assert write.get_json()["Items"] == {"TOKEN": "hidden"}
    assert b"hidden" not in register.data


def test_secrets_that_may_not_be_written_are_no_job(httpserver, driver):
    denied = httpserver.expect_request("/v1/var/nomad/jobs/bb-k")
    denied.respond_with_data("Permission denied", status=403)
    with pytest.raises(AuthError) as caught:
        list(driver.submit([submission(secrets=["TOKEN"])]))
    assert "nomad/jobs/*" in caught.value.remedy
    assert len(httpserver.log) == 1


def test_secrets_of_a_refused_job_are_taken_back(httpserver, driver):
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k").respond_with_json({})
    httpserver.expect_request("/v1/jobs").respond_with_data("not valid", status=500)
    (receipt,) = driver.submit([submission(secrets=["TOKEN"])])
    assert isinstance(receipt.error, Rejected)
    assert httpserver.log[-1][0].method == "DELETE"


def test_secrets_of_a_job_that_is_there_are_left_as_they_are(httpserver, driver):
    there = driver.render(submission(secrets=["TOKEN"]))["Job"]
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k").respond_with_data("", status=409)
    httpserver.expect_request("/v1/jobs").respond_with_data(EXISTS, status=500)
    httpserver.expect_request("/v1/job/bb-k").respond_with_json(there)
    (receipt,) = driver.submit([submission(secrets=["TOKEN"])])
    assert receipt.created is False
    assert [r.method for r, _ in httpserver.log if "/var/" in r.path] == ["PUT"]


def test_secrets_are_deleted_when_the_job_is_over(httpserver, driver):
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k").respond_with_json({})
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    list(driver.submit([submission(secrets=["TOKEN"]), submission("plain")]))
    before = len(httpserver.log)
    driver.release([JobRef("nomad", "p", SCOPE, id) for id in ("bb-k", "bb-plain")])
    asked = [(r.method, r.path) for r, _ in httpserver.log[before:]]
    assert asked == [("DELETE", "/v1/var/nomad/jobs/bb-k")]


# -- many jobs -------------------------------------------------------------------------------


def test_many_jobs_cost_two_requests_and_one_for_each_that_is_missing(httpserver, driver):
    ids = [f"bb-job-{n:02}" for n in range(20)]
    jobs = [{"ID": id, "Status": "pending"} for id in ids[:-1]]
    httpserver.expect_request("/v1/jobs").respond_with_json([*jobs, {"ID": "bb-job-else"}])
    httpserver.expect_request("/v1/allocations").respond_with_json([])
    httpserver.expect_request(f"/v1/job/{ids[-1]}").respond_with_data("job not found", status=404)
    told = driver.snapshot(SCOPE, ids).observations
    assert {seen.id for seen in told} == set(ids)
    assert [seen.id for seen in told if isinstance(seen, Absent)] == [ids[-1]]
    assert len(httpserver.log) == 3
    assert httpserver.log[0][0].args["prefix"] == "bb-job-"


# -- the stream ------------------------------------------------------------------------------


class Agent:
    """An agent whose stream says these lines, cut as given, and then what `after` does."""

    def __init__(self, httpserver, lines, *, cut=1 << 16, end=False) -> None:
        self.asked, self.closing = [], threading.Event()
        self._body, self._cut, self._end = b"".join(lines), cut, end
        index = Response("[]", headers={"X-Nomad-Index": "5"})
        httpserver.expect_request("/v1/allocations").respond_with_handler(lambda _: index)
        httpserver.expect_request("/v1/event/stream").respond_with_handler(self._answer)

    def _answer(self, request):
        self.asked.append(request.args)
        return Response(self._stream())

    def _stream(self):
        yield from (self._body[at : at + self._cut] for at in range(0, len(self._body), self._cut))
        while not (self._end or self.closing.wait(0.05)):
            yield b""


@pytest.fixture
def agent(httpserver):
    made = []

    def start(lines, **fields):
        made.append(Agent(httpserver, lines, **fields))
        return made[-1]

    yield start
    for one in made:
        one.closing.set()


def said(name):
    return [json.dumps(line).encode() + b"\n" for line in recording(name)["lines"]]


HEARTBEAT = b"{}\n"


def watched(driver, name, cursor=None):
    """The driver's watch, with the recorded job known as if it had been submitted."""
    batches = driver.watch(("default",), cursor, lambda: [f"bb-rec-{name}"])
    return closing(batches)


def enter(driver, name):
    job = wire.read({**recording(name)["job"], "Stop": False}, wire.Job)
    driver._book(("default",)).enter(jobs.known(job, []))


@pytest.mark.parametrize("cut", [7, 4096])
def test_lines_are_heard_however_they_are_cut(driver, agent, cut):
    agent([HEARTBEAT, *said("exit-code")], cut=cut)
    with watched(driver, "exit-code") as batches:
        first = next(batches)
        assert not first.observations
        enter(driver, "exit-code")
        told = [
            seen
            for batch in islice(batches, len(said("exit-code")) + 1)
            for seen in batch.observations
        ]
    assert (told[-1].state, told[-1].exit_code, told[-1].final) == (JobState.FAILED, 3, True)


def test_the_last_line_is_heard_at_once_though_the_stream_goes_on(driver, agent):
    """Nothing waits for a block to be full."""
    agent([HEARTBEAT, *said("success")])
    with watched(driver, "success") as batches:
        next(batches)
        enter(driver, "success")
        last = len(recording("success")["lines"]) + 1
        told = [seen for batch in islice(batches, last) for seen in batch.observations]
    assert told[-1].state is JobState.SUCCEEDED


def test_a_stream_that_ends_is_over(driver, agent):
    agent([HEARTBEAT], end=True)
    with watched(driver, "success") as batches:
        assert [batch.cursor for batch in batches] == ["@5", None]


def test_a_token_that_may_not_read_is_told_so_without_waiting(driver, httpserver):
    httpserver.expect_request("/v1/allocations").respond_with_data("denied", status=403)
    with watched(driver, "success") as batches, pytest.raises(AuthError):
        next(batches)
    assert len(httpserver.log) == 1


def test_silence_is_filled_with_empty_batches(driver, agent):
    agent([HEARTBEAT])
    with watched(driver, "success") as batches:
        assert all(not batch.observations for batch in islice(batches, 3))


def test_a_watch_is_closed_while_it_waits(driver, agent):
    agent([HEARTBEAT])
    with watched(driver, "success") as batches:
        next(batches)
        began = time.monotonic()
    assert time.monotonic() - began < 4  # and not when the server says the next thing


def test_a_resumed_stream_proves_that_nothing_is_missing(driver, agent):
    lines = said("success")
    index = recording("success")["lines"][-1]["Index"]
    agent([HEARTBEAT, lines[-1]])
    enter(driver, "success")
    with watched(driver, "success", str(index)) as batches:
        told = [seen for batch in islice(batches, 2) for seen in batch.observations]
    assert told[-1].state is JobState.SUCCEEDED


@pytest.mark.parametrize("cursor", [1, 10**12], ids=["a gap", "a cluster that began anew"])
def test_a_stream_that_goes_on_elsewhere_is_a_gap(driver, agent, cursor):
    agent([HEARTBEAT, *said("success")])
    with watched(driver, "success", str(cursor)) as batches, pytest.raises(CursorExpired):
        next(batches)


def test_a_job_of_which_earlier_attempts_may_be_unknown_is_not_told(driver, agent):
    """Its number would be a guess; a snapshot tells it."""
    agent([HEARTBEAT, *said("success")])
    with watched(driver, "success") as batches:
        told = [seen for batch in islice(batches, 5) for seen in batch.observations]
    assert told == []


# -- logs ------------------------------------------------------------------------------------

REF = JobRef("nomad", "p", SCOPE, "bb-1")
ALLOC = "/v1/client/fs/logs/a-1"


@pytest.fixture
def placed(httpserver):
    """A job with one allocation."""
    alloc = {"ID": "a-1", "JobID": "bb-1", "ClientStatus": "running"}
    httpserver.expect_request("/v1/job/bb-1").respond_with_json({"ID": "bb-1"})
    httpserver.expect_request("/v1/job/bb-1/allocations").respond_with_json([alloc])
    return httpserver.expect_request(ALLOC)


def page(driver, *, attempt=1, ended=False):
    return driver.read_logs(REF, attempt, "stdout", None, ended=ended, wait=0)


@pytest.mark.parametrize(
    "text", ['task "main" not started yet. No logs available', "Unknown alloc"]
)
def test_a_log_that_is_not_there_yet_is_an_empty_page(driver, placed, text):
    placed.respond_with_data(text, status=404)
    assert (page(driver).data, page(driver).eof) == (b"", False)


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        ('task "main" not started yet. No logs available', False),
        ('Unknown allocation "a-1"', True),
        ("state for allocation a-1 not found on client", True),
    ],
)
def test_a_log_that_is_no_longer_there_is_said_to_be_lost(driver, placed, text, truncated):
    placed.respond_with_data(text, status=404)
    told = page(driver, ended=True)
    assert (told.data, told.eof, told.truncated) == (b"", True, truncated)


def test_a_node_that_cannot_be_asked_says_nothing_of_its_logs(driver, placed):
    placed.respond_with_data("No path to node", status=404)
    with pytest.raises(TransportError):
        page(driver, ended=True)


def test_an_attempt_that_is_not_placed_yet_has_no_log(driver, placed):
    assert page(driver, attempt=2).eof is False


def test_a_page_that_breaks_off_is_an_error(driver, placed):
    placed.respond_with_data(b'{"Data":"YWI="', headers={"Content-Length": "500"})
    with pytest.raises(TransportError):
        page(driver)


# -- by whose client -------------------------------------------------------------------------

OUR_OWN = {
    "/v1/event/stream",  # python-nomad's reader withholds the last event, and hides errors
    "/v1/allocations",  # python-nomad drops the index; asked for one allocation only
    ALLOC,  # python-nomad waits for the end of a log that has none
}


def test_all_other_calls_are_python_nomads(httpserver, driver, agent, placed, monkeypatch):
    theirs = []
    send = Requester._request
    monkeypatch.setattr(
        Requester,
        "_request",
        lambda self, **ask: theirs.append(ask["endpoint"]) or send(self, **ask),
    )
    agent([HEARTBEAT])
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k").respond_with_json({})
    httpserver.expect_request("/v1/jobs/parse").respond_with_json({"Type": "batch"})
    httpserver.expect_request("/v1/jobs", method="POST").respond_with_json({})
    httpserver.expect_request("/v1/jobs").respond_with_json([])
    httpserver.expect_request("/v1/job/bb-1/evaluations").respond_with_json([])
    placed.respond_with_data("")
    with_template = {"driver": "raw_exec", "template": 'job "x" {\n}'}
    spec = JobSpec(command=("true",), options=with_template)
    secrets = {"TOKEN": Secret("hidden")}
    list(driver.submit([Submission("k", spec, "set", "me", secrets=secrets)]))
    driver.snapshot(SCOPE, ["bb-1"])
    driver.explain(REF)
    driver.cancel([REF], reason="")
    driver.release([JobRef("nomad", "p", SCOPE, "bb-k")])
    list(driver.list(None, None))
    page(driver)
    with watched(driver, "success") as batches:
        next(batches)
    asked = [request.path for request, _ in httpserver.log]
    ours = Counter(asked) - Counter("/" + endpoint for endpoint in theirs)
    assert ours.keys() == OUR_OWN
    assert all(r.args["per_page"] == "1" for r, _ in httpserver.log if r.path == "/v1/allocations")
