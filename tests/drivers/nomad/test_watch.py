"""A namespace is watched by its event stream, and by one blocking query where there is none."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

import pytest

from batchbridge.errors import AuthError, CursorExpired
from batchbridge.model import JobRef, JobSpec, JobState, Submission
from batchbridge_nomad import NomadDriver, changes, events, watch, wire
from batchbridge_nomad.book import Book
from tests.drivers.nomad.agent import Agent, Policy, refused
from tests.drivers.nomad.agent.answers import Answer

STREAM = "/v1/event/stream"
SCOPE = ("default",)
WITHOUT = {
    "it says nothing": lambda agent: Answer(200, agent.silence(), endless=True),
    "it is not there": lambda agent: refused(404, "no such page"),
    "it is off": lambda agent: refused(500, "EventBroker not configured"),
}


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    monkeypatch.setattr(events, "FIRST_LINE", 1)
    monkeypatch.setattr(changes, "REST", 0.05)
    monkeypatch.setattr(changes, "WAIT", 1.0)


@pytest.fixture(params=WITHOUT)
def without_a_stream(request, agent):
    """An agent that has it switched off, or that is behind a proxy."""
    agent.spoil("GET", STREAM, answer=WITHOUT[request.param](agent))
    return agent


@pytest.fixture
def never_a_stream(agent):
    """One that has it switched off for good."""
    agent.spoil("GET", STREAM, answer=Answer(200, agent.silence(), endless=True), times=9)
    return agent


def submit(driver, key, command, **options):
    spec = JobSpec(command=("sh", "-c", command), options={"driver": "raw_exec", **options})
    (receipt,) = driver.submit([Submission(key, spec, "set", "me")])
    return receipt.id


def queries(agent):
    """The blocking queries that it was asked."""
    return [one for one in agent.asked("GET", "/v1/allocations") if one.get("wait")]


def until_ends(batches, count=1):
    """The batches until so many jobs have ended, a minute at most."""
    ended = set()
    for batch in islice(batches, 60):
        yield batch
        ended |= {seen.id for seen in batch.observations if seen.state.ending}
        if len(ended) >= count:
            return
    raise AssertionError(f"{count} ends were to be told, and there were {ended}")


def ends(batches, count=1):
    """The end of each job, once there are so many."""
    told = [seen for batch in until_ends(batches, count) for seen in batch.observations]
    return {seen.id: seen for seen in told if seen.state.ending}


def test_ends_are_told_without_a_stream(without_a_stream, nomad_driver):
    ids = [f"bb-k{code}" for code in range(3)]
    with closing(nomad_driver.watch(SCOPE, None, lambda: ids)) as batches:
        assert not next(batches).observations
        for code in range(3):
            submit(nomad_driver, f"k{code}", f"exit {code}")
        told = ends(batches, 3)
    assert [told[id].exit_code for id in ids] == [0, 1, 2]


def test_one_query_serves_all_jobs(without_a_stream, nomad_driver):
    with closing(nomad_driver.watch(SCOPE, None, lambda: ["bb-k1", "bb-k2"])) as batches:
        next(batches)
        submit(nomad_driver, "k1", "true")
        submit(nomad_driver, "k2", "true")
        ends(batches, 2)
    asked = queries(without_a_stream)
    assert asked
    assert all(one.get("filter") == 'JobID matches "^bb-k"' for one in asked)
    assert not without_a_stream.asked("GET", "/v1/job/")


def test_a_cancel_in_the_queue_is_told_without_a_stream(without_a_stream, nomad_driver):
    """No allocation changes then: the evaluations say it."""
    with closing(nomad_driver.watch(SCOPE, None, lambda: ["bb-k"])) as batches:
        next(batches)
        submit(nomad_driver, "k", "true", datacenters=["nowhere"])
        nomad_driver.cancel([JobRef("nomad", "p", SCOPE, "bb-k")], reason="")
        told = ends(batches)
    assert (told["bb-k"].state, told["bb-k"].final) == (JobState.CANCELLED, True)


def test_what_happened_meanwhile_is_told_without_a_stream(never_a_stream, nomad_driver):
    with closing(nomad_driver.watch(SCOPE, None, lambda: ["bb-k"])) as batches:
        cursor = next(batches).cursor
    submit(nomad_driver, "k", "exit 3")
    with closing(nomad_driver.watch(SCOPE, cursor, lambda: ["bb-k"])) as batches:
        assert ends(batches)["bb-k"].exit_code == 3


def test_a_cursor_that_leads_nowhere_without_a_stream(never_a_stream, nomad_driver):
    batches = nomad_driver.watch(SCOPE, "99999999999999", tuple)
    with closing(batches), pytest.raises(CursorExpired):
        next(batches)


def test_the_stream_is_tried_again_by_the_next_watch(without_a_stream, nomad_driver):
    with closing(nomad_driver.watch(SCOPE, None, tuple)) as batches:
        cursor = next(batches).cursor
    with closing(nomad_driver.watch(SCOPE, cursor, lambda: ["bb-k"])) as batches:
        next(batches)
        submit(nomad_driver, "k", "true")
        assert ends(batches)
    assert without_a_stream.asked("GET", STREAM)
    assert not queries(without_a_stream)


def test_a_token_that_may_not_read_is_told_so_and_not_served_by_a_query():
    denied = {"t": Policy("default", frozenset({"list-jobs"}))}
    with Agent(policies=denied) as agent:
        driver = NomadDriver(NomadDriver.Settings(address=agent.address, token="t"))
        batches = driver.watch(SCOPE, None, tuple)
        with closing(driver), closing(batches), pytest.raises(AuthError) as caught:
            next(batches)
    assert "lacks read-job in the namespace default" in caught.value.remedy


def test_a_stream_whose_index_goes_back_begins_anew(agent, nomad_driver):
    with closing(nomad_driver.watch(SCOPE, None, lambda: ["bb-k"])) as batches:
        next(batches)
        submit(nomad_driver, "k", "true")
        cursors = [batch.cursor for batch in until_ends(batches) if batch.cursor]
    agent.regress()
    submit(nomad_driver, "other", "true")
    batches = nomad_driver.watch(SCOPE, cursors[-1], lambda: ["bb-k"])
    with closing(batches), pytest.raises(CursorExpired):
        next(batches)


def test_an_index_that_goes_back_within_one_stream_is_a_gap():
    lines = iter([wire.Line(9), None, wire.Line(8)])
    told = watch.told(lines, Book(), tuple, "")
    assert [batch.cursor for batch in islice(told, 2)] == ["9", None]
    with pytest.raises(CursorExpired):
        next(told)
