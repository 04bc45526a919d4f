"""The event stream, however it comes."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from itertools import islice

import pytest
from werkzeug import Response

from batchbridge.errors import (
    AuthError,
    CursorExpired,
)
from batchbridge.model import JobState
from batchbridge_nomad import jobs, wire

from .recorded import recording


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
