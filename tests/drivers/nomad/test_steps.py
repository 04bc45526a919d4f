"""Many requests made by one thread: how many at once, and what becomes of them where some fail."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from werkzeug import Request, Response

from batchbridge.errors import KeyConflict, RateLimited, TransportError
from batchbridge_nomad import NomadDriver
from batchbridge_nomad.register import CALLS

from .answering import EXISTS, submission

HCL = 'job "x" {\n}\n'


def jobs(amount):
    return [submission(f"k{n}") for n in range(amount)]


def id_of(request: Request) -> str:
    return request.get_json()["Job"]["ID"]


class Bounded:
    """Refuses every request beyond so many at once, as Nomad's limit of connections does."""

    def __init__(self, allowed: int) -> None:
        self.places = threading.Semaphore(allowed)
        self.refused: list[str] = []

    def __call__(self, request: Request) -> Response:
        if not self.places.acquire(blocking=False):
            self.refused.append(id_of(request))
            return Response("too many concurrent connections", status=429)
        try:
            time.sleep(0.01)
            return Response("{}")
        finally:
            self.places.release()


def test_as_many_requests_as_allowed_are_under_way_at_once_by_one_thread(httpserver, driver):
    all_there = threading.Barrier(CALLS)

    def answer(request: Request) -> Response:
        all_there.wait(10)
        return Response("{}")

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    ours = {thread.ident for thread in threading.enumerate()}
    for receipt in driver.submit(jobs(2 * CALLS)):
        assert receipt.created
        called = {t for t in threading.enumerate() if t.name.startswith("batchbridge")}
        assert {thread.ident for thread in called} <= ours
    assert len(httpserver.log) == 2 * CALLS


def test_the_next_job_is_taken_when_it_may_go(httpserver, driver):
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    taken = []
    receipts = driver.submit(taken.append(one) or one for one in jobs(200))
    assert next(receipts).created
    assert len(taken) <= 2 * CALLS
    assert len(list(receipts)) == 199


def test_what_is_refused_for_want_of_a_connection_goes_as_soon_as_there_is_one(httpserver, driver):
    bounded = Bounded(3)
    httpserver.expect_request("/v1/jobs").respond_with_handler(bounded)
    receipts = list(driver.submit(jobs(60)))
    assert [receipt.error for receipt in receipts] == [None] * 60
    assert {receipt.key for receipt in receipts} == {f"k{n}" for n in range(60)}
    assert 0 < len(bounded.refused) <= CALLS


def test_where_others_have_all_connections_it_is_said_after_a_while(
    httpserver, driver, monkeypatch
):
    monkeypatch.setattr("batchbridge_nomad.session.CROWDED", 0.3)
    monkeypatch.setattr("batchbridge_nomad.session.REST", (0.01, 0.02))
    bounded = Bounded(0)
    httpserver.expect_request("/v1/jobs").respond_with_handler(bounded)
    with pytest.raises(RateLimited):
        list(driver.submit(jobs(60)))
    assert len(set(bounded.refused)) <= CALLS


def test_after_one_request_came_to_nothing_no_other_is_begun(httpserver, driver):
    def answer(request: Request) -> Response:
        return Response("{}", status=503 if id_of(request) == "bb-k20" else 200)

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    with pytest.raises(TransportError):
        list(driver.submit(jobs(2000)))
    assert len(httpserver.log) < 2000


def test_those_under_way_when_one_came_to_nothing_are_told(httpserver, driver):
    def answer(request: Request) -> Response:
        if id_of(request) == "bb-k0":
            return Response("", status=503)
        time.sleep(0.2)
        return Response("{}")

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    told = []
    with pytest.raises(TransportError):
        told.extend(receipt.key for receipt in driver.submit(jobs(100)))
    asked = {id_of(request) for request, _ in httpserver.log}
    assert {f"bb-{key}" for key in told} == asked - {"bb-k0"}
    assert len(told) == len(asked) - 1 < 2 * CALLS


def test_a_template_that_nomad_cannot_read_now_leaves_those_under_way_alone(httpserver, driver):
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    httpserver.expect_request("/v1/jobs/parse").respond_with_data("", status=503)
    told = []
    with pytest.raises(TransportError):
        told.extend(driver.submit([*jobs(3), submission("hcl", options={"template": HCL})]))
    assert {receipt.key for receipt in told if receipt.created} == {"k0", "k1", "k2"}


def test_each_of_many_that_are_known_is_its_job_or_a_conflict(httpserver, driver):
    httpserver.expect_request("/v1/jobs").respond_with_data(EXISTS, status=500)
    for n in range(40):
        there = driver.render(submission(f"k{n}", **({} if n % 2 else {"cpu": 2})))["Job"]
        httpserver.expect_request(f"/v1/job/bb-k{n}").respond_with_json(there)
    receipts = {receipt.key: receipt for receipt in driver.submit(jobs(40))}
    assert {key for key, one in receipts.items() if one.created is False} == {
        f"k{n}" for n in range(1, 40, 2)
    }
    assert sum(isinstance(one.error, KeyConflict) for one in receipts.values()) == 20


def test_those_with_secrets_and_those_without_go_together(httpserver, driver):
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    for n in range(10):
        httpserver.expect_request(f"/v1/var/nomad/jobs/bb-s{n}").respond_with_json({})
    secret = [submission(f"s{n}", secrets=["TOKEN"]) for n in range(10)]
    receipts = list(driver.submit([*jobs(10), *secret]))
    assert len({receipt.id for receipt in receipts if receipt.created}) == 20
    paths = [request.path for request, _ in httpserver.log]
    assert len([path for path in paths if path == "/v1/jobs"]) == 20


def test_a_token_that_is_refused_meanwhile_is_read_again(httpserver, address, tmp_path):
    token, another = tmp_path / "token", tmp_path / "another"
    token.write_text("old")
    another.write_text("new")

    def answer(request: Request) -> Response:
        if id_of(request) == "bb-k5" and another.exists():
            another.rename(token)
        good = request.headers["X-Nomad-Token"] == ("old" if another.exists() else "new")
        return Response("{}" if good else "ACL token expired", status=200 if good else 403)

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    settings = NomadDriver.Settings(address=address, namespace="team", token_file=str(token))
    with closing(NomadDriver(settings)) as driver:
        receipts = list(driver.submit(jobs(60)))
    assert [receipt.error for receipt in receipts] == [None] * 60


def test_whoever_wants_no_more_receipts_leaves_nothing_behind(httpserver, driver):
    go_on = threading.Event()

    def answer(request: Request) -> Response:
        if id_of(request) != "bb-k0":
            go_on.wait(10)
        return Response("{}")

    httpserver.expect_request("/v1/jobs").respond_with_handler(answer)
    receipts = driver.submit(jobs(60))
    assert next(receipts).key == "k0"
    receipts.close()
    go_on.set()
    assert [receipt.created for receipt in driver.submit([submission("later")])] == [True]
