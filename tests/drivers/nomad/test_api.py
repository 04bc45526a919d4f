"""The calls against a server that answers as a real agent was seen to, its refusals too."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from itertools import takewhile

import pytest
from nomad.api.base import Requester

from batchbridge.errors import (
    AuthError,
    ConfigError,
    RateLimited,
    TransportError,
)
from batchbridge.model import Absent, JobRef, JobSpec, Secret, Submission
from batchbridge_nomad import NomadDriver
from batchbridge_nomad.replies import Refused, problem
from tests.drivers.nomad.agent import Agent
from tests.drivers.nomad.agent.acl import Policy
from tests.drivers.nomad.agent.answers import found

from .answering import SCOPE, submission


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
        (500, "rpc error: No cluster leader", TransportError),
        (500, "rpc error: rpc error: read tcp 127.0.0.1: i/o timeout", TransportError),
        (400, "Client sent an HTTP request to an HTTPS server.", AuthError),
        (307, "", TransportError),
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
    assert (caught.value.retry_after, caught.value.sent) == (7, False)


VALIDATION = "1 error occurred: * Task main: kill timeout (10s) longer than the i/o timeout"


@pytest.mark.parametrize("words", [VALIDATION, f"rpc error: {VALIDATION}"])
def test_what_is_wrong_with_a_job_is_never_taken_for_what_may_pass(words):
    """An agent that forwards a call puts its own words before those of the server."""
    assert str(problem(500, words, {})) == VALIDATION
    assert type(problem(500, words, {})) is Refused


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("Permission denied", "no token is set (NOMAD_TOKEN, "),
        ("Permission denied", "that has read-job in the namespace team"),
        ("ACL token not found", "the token is none of this cluster's, or was deleted"),
        ("ACL token expired", "token_command"),
    ],
)
def test_a_refused_token_says_what_would_help(httpserver, driver, words, remedy):
    httpserver.expect_request("/v1/job/bb-1").respond_with_data(words, status=403)
    with pytest.raises(AuthError, match=words) as caught:
        driver.snapshot(SCOPE, ["bb-1"])
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("unknown", [True, False])
def test_a_token_that_is_unknown_is_refused_in_the_words_for_one_that_lacks_a_right(unknown):
    with Agent(policies={} if unknown else {"t": Policy()}) as agent:
        driver = NomadDriver(NomadDriver.Settings(address=agent.address, token="t"))
        with closing(driver), pytest.raises(AuthError, match="Permission denied") as caught:
            driver.snapshot(("default",), ["bb-1"])
    either = "the token is unknown here, has expired, or lacks read-job in the namespace default"
    assert caught.value.remedy == either


def test_nobody_there_is_no_observation(driver):
    lonely = NomadDriver(NomadDriver.Settings(address="http://127.0.0.1:9"))
    with closing(lonely), pytest.raises(TransportError):
        lonely.snapshot(SCOPE, ["bb-1"])


def test_a_job_is_absent_by_nomads_word_alone(httpserver, driver):
    httpserver.expect_request("/v1/job/bb-1").respond_with_data("job not found", status=404)
    (absent,) = driver.snapshot(SCOPE, ["bb-1"]).observations
    assert isinstance(absent, Absent)


def test_an_address_with_a_path_of_nomads_is_told(agent):
    """A real agent answers 404, and says no word."""
    astray = NomadDriver(NomadDriver.Settings(address=f"{agent.address}/v1"))
    with closing(astray), pytest.raises(TransportError) as caught:
        astray.snapshot(SCOPE, ["bb-1"])
    assert "without a path" in caught.value.remedy


@pytest.mark.parametrize("status", [200, 404])
def test_a_web_page_is_no_answer_and_is_not_shown(httpserver, driver, status):
    """An agent's own, too: whatever is asked for below /ui."""
    page = "\n<!DOCTYPE html><html>hello</html>"
    httpserver.expect_request("/v1/job/bb-1").respond_with_data(page, status=status)
    with pytest.raises(TransportError) as caught:
        driver.snapshot(SCOPE, ["bb-1"])
    assert "html" not in str(caught.value)
    assert "/ui" in caught.value.remedy


def test_a_submit_that_a_web_page_answers_is_not_in_doubt(httpserver, driver):
    httpserver.expect_request("/v1/jobs").respond_with_data("<html></html>")
    with pytest.raises(TransportError) as caught:
        list(driver.submit([submission()]))
    assert not caught.value.sent


def test_a_redirect_is_not_followed(httpserver, driver):
    headers = {"Location": "http://127.0.0.1:9/"}
    httpserver.expect_request("/v1/job/bb-1").respond_with_data("", status=307, headers=headers)
    with pytest.raises(TransportError):
        driver.snapshot(SCOPE, ["bb-1"])


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


# -- by whose client -------------------------------------------------------------------------

OUR_OWN = {
    "/v1/event/stream",  # python-nomad's reader withholds the last event, and hides errors
    "/v1/allocations",  # python-nomad drops the index; asked for its sake
    "/v1/client/fs/logs/ALLOC",  # python-nomad waits for the end of a log that has none
}
HCL = 'job "x" {\n}'


@pytest.fixture
def theirs(monkeypatch):
    """The paths that python-nomad asks for."""
    asked, send = [], Requester._request

    def note(self, **ask):
        asked.append("/" + ask["endpoint"])
        return send(self, **ask)

    monkeypatch.setattr(Requester, "_request", note)
    return asked


def everything(driver):
    """Each verb that asks Nomad for something, for a job with secrets and a template in HCL."""
    options = {"driver": "raw_exec", "template": HCL}
    spec = JobSpec(command=("true",), options=options)
    (receipt,) = driver.submit(
        [Submission("k", spec, "set", "me", secrets={"TOKEN": Secret("hidden")})]
    )
    ref = JobRef("nomad", "p", ("default",), receipt.id)
    with closing(driver.watch(ref.scope, None, lambda: [ref.id])) as batches:
        for _ in takewhile(lambda _: not over(driver, ref), batches):
            pass
    driver.snapshot(ref.scope, [ref.id])
    driver.snapshot(ref.scope, [ref.id] * 9)
    driver.explain(ref)
    driver.details(ref, 1)
    list(driver.list(None, None))
    list(driver.probe())
    driver.read_logs(ref, 1, "stdout", None, ended=True, wait=0)
    driver.cancel([ref], reason="")
    driver.release([ref])
    driver.purge([ref])


def over(driver, ref):
    return any(seen.state.ending for seen in driver.snapshot(ref.scope, [ref.id]).observations)


def test_all_other_calls_are_python_nomads(agent, nomad_driver, theirs):
    agent.spoil("POST", "/v1/jobs/parse", answer=found({"Type": "batch"}))
    everything(nomad_driver)
    ours = Counter(request.path for request in agent.requests) - Counter(theirs)
    assert {re.sub("[0-9a-f-]{36}", "ALLOC", path) for path in ours} == OUR_OWN
    kinds = {re.sub("bb-k|[0-9a-f-]{36}", "ID", path) for path in theirs}
    assert kinds == {
        "/v1/jobs",
        "/v1/jobs/parse",
        "/v1/validate/job",
        "/v1/job/ID",
        "/v1/job/ID/allocations",
        "/v1/job/ID/evaluations",
        "/v1/allocations",
        "/v1/node/ID",
        "/v1/var/nomad/jobs/ID",
    }


def test_every_call_names_the_namespace(agent, nomad_driver):
    """Also those in which python-nomad forgets it."""
    agent.spoil("POST", "/v1/jobs/parse", answer=found({"Type": "batch"}))
    everything(nomad_driver)
    without = {request.path for request in agent.requests if not request.get("namespace")}
    assert {re.sub("[0-9a-f-]{36}", "ID", path) for path in without} <= {"/v1/node/ID"}


def test_a_job_may_be_called_anything(httpserver, driver):
    """Not by us; but a reference may name a job of anybody's."""
    httpserver.expect_request("/v1/job/a/b ?#%").respond_with_data("job not found", status=404)
    (absent,) = driver.snapshot(SCOPE, ["a/b ?#%"]).observations
    assert isinstance(absent, Absent)
