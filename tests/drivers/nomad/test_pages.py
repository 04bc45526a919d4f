"""Pages of logs that are there, not yet there, or no longer."""

from __future__ import annotations

import pytest

from batchbridge.errors import (
    TransportError,
)
from batchbridge.model import JobRef

from .answering import SCOPE

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
