"""Each outcome of a submit, and the secrets that go before it."""

from __future__ import annotations

import pytest
from werkzeug import Request, Response

from batchbridge.errors import (
    AuthError,
    ConfigError,
    KeyConflict,
    Rejected,
    SpecError,
    TransportError,
)
from batchbridge.model import JobRef

from .answering import EXISTS, SCOPE, submission

DISABLED = "Job registration, dispatch, and scale are disabled by the scheduler configuration"


def test_a_job_that_is_not_valid_is_refused_in_nomads_words(httpserver, driver):
    inner = "2 errors occurred:\n\t* Task main has no name\n\t* it has no driver\n\n"
    text = f"1 error occurred:\n\t* Task group main validation failed: {inner}\n\n"
    httpserver.expect_request("/v1/jobs").respond_with_data(text, status=500)
    (receipt,) = driver.submit([submission()])
    assert type(receipt.error) is Rejected
    said = "Task group main validation failed: Task main has no name; it has no driver"
    assert str(receipt.error) == f"Nomad refuses the job: {said}"
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ('job "x" is in nonexistent namespace "y"', "nomad namespace list"),
        ('job "x" is in nonexistent node pool "y"', "nomad node pool list"),
        ("log storage (100 MB) must be less than requested disk capacity (10 MB)", "more disk"),
        ('Vault "default" not enabled but used in the job', "vault_role"),
        ("RPC Error:: 400,variables are limited to 64KiB in total size", "elsewhere"),
        (f"rpc error: {DISABLED}", "operator"),
    ],
)
def test_a_refused_job_says_what_would_help(httpserver, driver, words, remedy):
    status = 403 if DISABLED in words else 500
    httpserver.expect_request("/v1/jobs").respond_with_data(words, status=status)
    (receipt,) = driver.submit([submission()])
    assert type(receipt.error) is Rejected
    assert remedy in receipt.error.remedy
    assert "rpc error" not in str(receipt.error).lower()


def test_nomads_warnings_are_told(nomad_driver):
    (receipt,) = nomad_driver.submit([submission(options={"memory_max": "1G"})])
    (note,) = receipt.notes
    assert note.startswith("Nomad warns: Memory oversubscription is not enabled; Task")


@pytest.mark.parametrize("secrets", [(), ("TOKEN",)])
def test_a_job_with_volumes_that_is_denied_names_their_rights_too(httpserver, driver, secrets):
    """Nomad has the same words for all of them."""
    httpserver.expect_request("/v1/jobs").respond_with_data("Permission denied", status=403)
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k").respond_with_json({})
    seen = {"source": "data", "path": "/data", "read_only": True}
    more = {"source": "x", "path": "/x", "type": "csi", "access_mode": "m", "attachment_mode": "m"}
    written = [{"source": "out", "path": "/out"}, seen, more]
    with pytest.raises(AuthError) as caught:
        list(driver.submit([submission(options={"volumes": written}, secrets=secrets)]))
    remedy = caught.value.remedy
    assert 'host_volume "out" { capabilities = ["mount-readwrite"] }' in remedy
    assert 'host_volume "data" { capabilities = ["mount-readonly"] }' in remedy
    assert "csi-mount-volume" in remedy
    assert "submit-job" in remedy


def test_what_of_a_template_does_not_stand_is_told(httpserver, driver):
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    below = '{"Priority": 30, "TaskGroups": [{"RestartPolicy": {"Attempts": 5}}]}'
    given = submission(options={"template": below, "priority": 70})
    (receipt,) = driver.submit([given])
    (note,) = receipt.notes
    assert "job.Priority" in note
    assert "job.TaskGroups[0].RestartPolicy.Attempts" in note


@pytest.mark.parametrize(("gpu", "notes"), [(None, 1), (1, 0)])
def test_a_kind_of_device_without_a_number_is_told(httpserver, driver, gpu, notes):
    """And not refused: a profile names the kind for all its jobs, those without devices too."""
    httpserver.expect_request("/v1/jobs").respond_with_json({})
    (receipt,) = driver.submit([submission(options={"device": "nvidia/gpu"}, gpu=gpu)])
    assert [("without gpu" in note) for note in receipt.notes] == [True] * notes


@pytest.mark.parametrize("forwarded", ["", "rpc error: "])
@pytest.mark.parametrize(("spec", "kind"), [({}, type(None)), ({"cpu": 2}, KeyConflict)])
def test_a_key_that_is_known_is_its_job_or_a_conflict(httpserver, driver, spec, kind, forwarded):
    there = driver.render(submission(**spec))["Job"]
    httpserver.expect_request("/v1/jobs").respond_with_data(forwarded + EXISTS, status=500)
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


@pytest.mark.parametrize(
    ("status", "words", "left"),
    [
        (403, "Permission denied", False),
        (500, "No path to region", False),
        (500, "No cluster leader", True),
    ],
)
def test_secrets_stay_only_where_there_may_be_a_job(httpserver, driver, status, words, left):
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k").respond_with_json({})
    httpserver.expect_request("/v1/jobs").respond_with_data(words, status=status)
    with pytest.raises((AuthError, ConfigError, TransportError), match=words):
        list(driver.submit([submission(secrets=["TOKEN"])]))
    deleted = [request for request, _ in httpserver.log if request.method == "DELETE"]
    assert bool(deleted) is not left


def test_secrets_of_a_job_that_is_there_stay_though_this_submit_is_refused(httpserver, driver):
    """The answer to the first submit was lost, and the token has expired since."""
    there = driver.render(submission(secrets=["TOKEN"]))["Job"]
    httpserver.expect_request("/v1/var/nomad/jobs/bb-k").respond_with_data("", status=409)
    httpserver.expect_request("/v1/job/bb-k").respond_with_json(there)
    httpserver.expect_request("/v1/jobs").respond_with_data("ACL token expired", status=403)
    with pytest.raises(AuthError):
        list(driver.submit([submission(secrets=["TOKEN"])]))
    assert not [request for request, _ in httpserver.log if request.method == "DELETE"]


def test_what_stops_a_job_is_told_before_what_keeps_its_secrets(httpserver, driver):
    variable = "/v1/var/nomad/jobs/bb-k"
    httpserver.expect_request(variable, method="PUT").respond_with_json({})
    httpserver.expect_request(variable, method="DELETE").respond_with_data("", status=403)
    httpserver.expect_request("/v1/jobs").respond_with_data("Permission denied", status=403)
    with pytest.raises(AuthError) as caught:
        list(driver.submit([submission(secrets=["TOKEN"])]))
    assert "submit-job" in caught.value.remedy


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
