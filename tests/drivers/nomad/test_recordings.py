"""Each row of the table of verdicts, as a real agent told it."""

from __future__ import annotations

import random

import pytest

from batchbridge.model import Cause, Intent, JobState
from batchbridge.states import Record, fold
from batchbridge_nomad import explain, translate

from .recorded import NAMES, book_after, evaluations, folded, listed, recording, streamed

S = JobState
OVER = {
    "success": (S.SUCCEEDED, None, 0, None),
    "exit-code": (S.FAILED, Cause.EXIT_CODE, 3, None),
    "killed-by-itself": (S.FAILED, Cause.SIGNAL, None, 9),
    "time-limit": (S.FAILED, Cause.TIMEOUT, None, None),
    "max-run-duration": (S.FAILED, Cause.TIMEOUT, None, None),
    "no-such-program": (S.FAILED, Cause.START_ERROR, None, None),
    "bad-interpolation": (S.FAILED, Cause.SPEC, None, None),
    "unknown-config": (S.FAILED, Cause.SPEC, None, None),
    "cancelled": (S.CANCELLED, Cause.CANCELLED, None, 15),
    "cancelled-and-clean": (S.CANCELLED, Cause.CANCELLED, 0, None),
    "cancelled-in-the-queue": (S.CANCELLED, Cause.CANCELLED, None, None),
    "stopped-after-its-end": (S.SUCCEEDED, None, 0, None),
    "allocation-stopped": (S.FAILED, Cause.EVICTED, None, None),
    "lost": (S.FAILED, Cause.NODE_LOST, None, None),
    "lost-and-returned": (S.FAILED, Cause.NODE_LOST, None, 15),
    "lost-and-cancelled-while-it-waits": (S.CANCELLED, Cause.CANCELLED, None, None),
    "preempted": (S.CANCELLED, Cause.CANCELLED, None, 15),
    "out-of-memory-in-exec": (S.FAILED, Cause.OOM, None, 9),
    "out-of-memory-in-docker": (S.FAILED, Cause.OOM, 137, None),
    "exit-code-in-docker": (S.FAILED, Cause.EXIT_CODE, 3, None),
    "cancelled-in-docker": (S.CANCELLED, Cause.CANCELLED, None, 15),
    "no-such-image": (S.FAILED, Cause.IMAGE, None, None),
    "missing-variable-that-comes": (S.SUCCEEDED, None, 0, None),
    "out-of-sight-and-back": (S.CANCELLED, Cause.CANCELLED, None, 15),
    "room-at-last": (S.SUCCEEDED, None, 0, None),
}
SETTLING = {"drained": (S.FAILED, Cause.EVICTED)}
WAITING = {
    "no-datacenter": "no place: no node in the datacenters asked for (node pool default)",
    "too-much-memory": "no place: memory exhausted on 2 nodes",
    "no-such-node": "no place: constraint ${attr.kernel.name} = windows on 2 nodes",
    "no-such-node-with-preemption": "no place: 2 nodes lack a constraint, task driver or device",
    "no-task-driver": "no place: missing drivers on 2 nodes",
    "no-device": "no place: missing devices on 2 nodes",
}
STARTING = {
    "missing-variable": "nomad/jobs/bb-rec-missing-variable",
    "denied-variable": "nomad/jobs/another",
}
ATTEMPTS = {"allocation-stopped": 2, "preempted": 2}


def facts(record):
    return record.state, record.cause, record.exit_code, record.signal


def test_every_recording_is_judged():
    assert set(NAMES) == OVER.keys() | SETTLING.keys() | WAITING.keys() | STARTING.keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_recording_says_where_it_is_from(name):
    made = recording(name)
    assert made["engine"]
    assert made["command"].endswith(f" {name}")


@pytest.mark.parametrize("name", OVER)
@pytest.mark.parametrize("told", ["by lists", "by the stream"])
def test_an_end_is_told_alike_by_lists_and_by_the_stream(name, told):
    made = recording(name)
    seen = translate.history(listed(made)) if told == "by lists" else streamed(made)
    record, _ = folded(seen)
    assert facts(record) == OVER[name]
    assert record.terminal
    assert record.attempt == ATTEMPTS.get(name, 1)


@pytest.mark.parametrize("name", SETTLING)
def test_an_end_that_nomad_may_answer_is_provisional(name):
    for seen in (translate.history(listed(recording(name))), streamed(recording(name))):
        record, _ = folded(seen)
        assert (record.state, record.cause, record.terminal) == (*SETTLING[name], False)


@pytest.mark.parametrize("name", WAITING)
def test_a_job_that_waits_is_queued_and_explained(name):
    made = recording(name)
    record, _ = folded(translate.history(listed(made)))
    assert record.state is S.QUEUED
    found = explain.explanation(listed(made), evaluations(made))
    assert found is not None
    assert found.summary == WAITING[name]
    assert found.remedy


@pytest.mark.parametrize("name", STARTING)
def test_a_job_that_waits_for_a_variable_says_for_which(name):
    made = recording(name)
    record, _ = folded(translate.history(listed(made)))
    assert record.state is S.PENDING
    found = explain.explanation(listed(made), evaluations(made))
    assert found is not None
    assert STARTING[name] in found.summary
    assert STARTING[name] in record.message


@pytest.mark.parametrize("name", sorted({*NAMES} - {*WAITING} - {*STARTING}))
def test_nothing_is_explained_of_a_job_that_is_over(name):
    assert explain.explanation(listed(recording(name)), evaluations(recording(name))) is None


@pytest.mark.parametrize("name", OVER)
def test_lines_told_twice_and_again_change_nothing(name):
    made = recording(name)
    twice = [line for line in made["lines"] for _ in range(2)]
    record, _ = folded(streamed({**made, "lines": twice + made["lines"]}))
    assert facts(record) == OVER[name]


@pytest.mark.parametrize("name", OVER)
def test_versions_decide_and_not_the_order_in_which_they_were_heard(name):
    made = recording(name)
    expected = [(alloc.id, alloc.client_status) for alloc in listed(made).allocs]
    for seed in range(20):
        lines = random.Random(seed).sample(made["lines"], len(made["lines"]))
        heard = book_after({**made, "lines": lines}).allocs
        assert [(alloc.id, alloc.client_status) for alloc in heard] == expected


def test_a_replaced_allocation_has_ended_before_its_successor_begins():
    """Both run for a moment; the end comes first, so that nobody takes it for one attempt."""
    _, changes = folded(streamed(recording("allocation-stopped")))
    steps = [(c.record.attempt, c.record.state) for c in changes]
    assert steps.index((1, S.FAILED)) < steps.index((2, S.QUEUED))
    assert changes[[*steps].index((1, S.FAILED))].record.cause is Cause.EVICTED


def test_a_preempted_job_that_may_run_again_waits_and_runs_again():
    _, changes = folded(translate.history(listed(recording("preempted"))))
    ends = [(c.record.attempt, c.record.cause) for c in changes if c.record.state.ending]
    assert ends == [(1, Cause.PREEMPTED), (2, Cause.CANCELLED)]


def test_two_observers_agree_on_a_job_that_was_stopped_because_it_may_not_run_again():
    """One who enforced it, with its intent, and one who came later and knows of none."""
    made = recording("allocation-stopped")
    later, _ = folded(translate.history(listed(made)))
    enforcer = Record(listed(made).id)
    for seen in streamed(made):
        enforcer, _ = fold(enforcer, seen)
        if enforcer.settling:
            enforcer, _ = fold(enforcer, Intent(enforcer.cause, 0.0, message=enforcer.message))
    assert (enforcer.state, enforcer.cause) == (later.state, later.cause)


@pytest.mark.parametrize("name", ["no-such-program", "bad-interpolation", "unknown-config"])
def test_a_start_that_failed_says_why_in_nomads_words(name):
    record, changes = folded(translate.history(listed(recording(name))))
    assert record.message
    assert S.RUNNING not in [c.record.state for c in changes]


@pytest.mark.parametrize("name", ["success", "exit-code", "cancelled"])
def test_times_and_node_are_the_clients(name):
    record, _ = folded(translate.history(listed(recording(name))))
    assert record.node in ("node-1", "victim")
    assert record.started_at < record.finished_at
    if name == "cancelled":  # then Nomad only knows when it was stopped
        assert record.submitted_at is None
    else:
        assert record.submitted_at < record.started_at
