"""What Armada says, recorded from a real one, becomes what the core concludes from."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict

from batchbridge.model import Cause, JobState, Tick
from batchbridge.states import Record, fold
from batchbridge_armada import ids
from batchbridge_armada.protocol import event_pb2, job_pb2
from batchbridge_armada.translate import Translator, history, retryable, standing, words

RECORDINGS = Path(__file__).with_name("recordings")


def recorded(name):
    """The messages of a scenario, as a client receives them."""
    lines = (RECORDINGS / f"{name}.jsonl").read_text().splitlines()
    wires = [b64decode(json.loads(line)["wire"]) for line in lines[1:]]
    return [event_pb2.EventStreamMessage.FromString(wire) for wire in wires]


def observed(messages):
    translator = Translator()
    return [seen for message in messages if (seen := translator.seen(message))]


def concluded(messages):
    """The record, and the states that it went through."""
    told = observed(messages)
    record, path = Record(told[0].id), []
    for seen in told:
        record, changes = fold(record, seen)
        path += [(change.record.attempt, change.record.state) for change in changes]
    return record, path


LIFE = [
    (1, JobState.SUBMITTED),
    (1, JobState.QUEUED),
    (1, JobState.LEASED),
    (1, JobState.PENDING),
    (1, JobState.RUNNING),
]


@pytest.mark.parametrize(
    ("name", "path", "cause"),
    [
        ("succeeded", [*LIFE, (1, JobState.SUCCEEDED)], None),
        ("cancelled", [*LIFE, (1, JobState.CANCELLED)], Cause.CANCELLED),
        ("cancelled_at_once", [*LIFE[:2], (1, JobState.CANCELLED)], Cause.CANCELLED),
        ("rejected", [*LIFE[:2], (1, JobState.FAILED)], Cause.REJECTED),
        ("failed", [*LIFE[:3], (1, JobState.FAILED)], Cause.UNKNOWN),
        ("preempted", [*LIFE, (1, JobState.FAILED), (1, JobState.FAILED)], Cause.PREEMPTED),
        ("lease_expired", [*LIFE, (1, JobState.FAILED), (1, JobState.FAILED)], Cause.NODE_LOST),
    ],
)
def test_a_recorded_life(name, path, cause):
    record, went = concluded(recorded(name))
    assert went == path
    assert (record.terminal, record.cause, record.attempt) == (True, cause, 1)


@pytest.mark.parametrize("name", [path.stem for path in sorted(RECORDINGS.glob("*.jsonl"))])
def test_told_twice_is_told_once(name):
    messages = recorded(name)
    assert concluded(messages) == concluded([*messages, *messages])


def test_a_rejection_is_in_the_scheduler_s_words():
    record, _ = concluded(recorded("rejected"))
    assert record.message.startswith("pool default: job/gang requests resources")
    assert record.message.endswith("for its queue/priority class")


def test_the_reasons_of_several_pools_are_one_line():
    """``internal/scheduler/submitcheck.go`` draws a rule under each."""
    assert words("pool a:\ntoo large\n---\npool b:\nno\n---\n") == "pool a: too large; pool b: no"


def test_a_retryable_failure_ends_an_attempt_and_late_news_of_its_pod_is_none_of_the_next():
    """Recorded: pod 1 is pending and running, as told, after run 2 was leased."""
    record, path = concluded(recorded("failed_retryable"))
    assert [attempt for attempt, state in path if state is JobState.FAILED] == [1, 2, 3, 4]
    assert not [attempt for attempt, state in path if state is JobState.RUNNING]
    assert (record.terminal, record.attempt) == (True, 4)
    assert record.message.startswith("Retry policy: policy retry limit exceeded (1/1)")


def test_retryable_is_read_where_the_client_library_does_not_know_it():
    for flag in (True, False):
        wire = b"\x90\x01" + bytes([flag])  # field 18, which this message does not have either
        older = event_pb2.JobQueuedEvent.FromString(wire)
        assert retryable(older) is flag


# -- what no recording has: the fakeexecutor can do none of it ------------------------------------


def message(number, kind=None, **fields):
    """A message with one event, as ``internal/server/event/conversion/conversions.go`` makes it."""
    event = {kind: {"job_id": "j", "queue": "q", "job_set_id": "s", **fields}} if kind else {}
    values = {"id": f"{number}:0:0:1", "message": event}
    return ParseDict(values, event_pb2.EventStreamMessage())


def failed(number=9, **fields):
    return message(number, "failed", **fields)


def status(code, **fields):
    return {"name": "main", "exitCode": code, **fields}


BEGUN = [message(1, "submitted"), message(2, "queued"), message(3, "leased")]


@pytest.mark.parametrize(
    ("fields", "cause", "code", "signal"),
    [
        ({"container_statuses": [status(3)]}, Cause.EXIT_CODE, 3, None),
        ({"container_statuses": [status(137)]}, Cause.SIGNAL, None, 9),
        ({"container_statuses": [status(143)]}, Cause.SIGNAL, None, 15),
        ({"container_statuses": [status(150)]}, Cause.EXIT_CODE, 150, None),
        ({"container_statuses": [status(137, reason="OOMKilled")]}, Cause.OOM, None, 9),
        ({"container_statuses": [status(137, cause="OOM")]}, Cause.OOM, None, 9),
        ({"cause": "OOM", "container_statuses": [status(137)]}, Cause.OOM, None, 9),
        (
            {"cause": "DeadlineExceeded", "container_statuses": [status(143)]},
            Cause.TIMEOUT,
            None,
            15,
        ),
        ({"cause": "Evicted", "reason": "The node was low on memory"}, Cause.EVICTED, None, None),
        ({"container_statuses": [status(128, reason="StartError")]}, Cause.START_ERROR, None, None),
        ({"reason": "Back-off pulling image: ImagePullBackOff"}, Cause.IMAGE, None, None),
        (
            {"reason": "Preempted by scheduler using fair share preemption"},
            Cause.PREEMPTED,
            None,
            None,
        ),
        (
            {"container_statuses": [{"name": "sidecar", "exitCode": 1}, status(7)]},
            Cause.EXIT_CODE,
            7,
            None,
        ),
        ({"reason": "who knows"}, Cause.UNKNOWN, None, None),
    ],
)
def test_why_it_failed(fields, cause, code, signal):
    record, _ = concluded([*BEGUN, failed(**fields)])
    assert (record.cause, record.exit_code, record.signal) == (cause, code, signal)


def test_a_lease_that_is_returned_opens_the_next_attempt():
    back = message(4, "lease_returned", reason="ImagePullBackOff", kubernetes_id="pod-1")
    late = message(5, "running", kubernetes_id="pod-1")
    record, path = concluded([*BEGUN, back, late, message(6, "leased")])
    assert path[-3:] == [(1, JobState.FAILED), (2, JobState.QUEUED), (2, JobState.LEASED)]
    assert not record.terminal


def test_a_lease_that_is_returned_before_there_was_a_pod_hides_no_pod():
    back = message(4, "lease_returned", reason="no room")
    later = [message(5, "leased"), message(6, "pending"), message(7, "running")]
    record, _ = concluded([*BEGUN, back, *later])
    assert (record.attempt, record.state) == (2, JobState.RUNNING)


def test_a_lease_that_is_returned_ends_a_job_that_may_run_but_once():
    once = {"job": {"annotations": {"armadaproject.io/failFast": "true"}}}
    back = message(4, "lease_returned", reason="ImagePullBackOff")
    last = failed(5, reason="Job has fail fast flag set - this job will no longer be retried")
    record, _ = concluded([message(1, "submitted", **once), *BEGUN[1:], back, last])
    assert (record.terminal, record.attempt, record.cause) == (True, 1, Cause.IMAGE)


def test_running_after_cancelled_is_too_late():
    record, path = concluded([*BEGUN, message(4, "cancelled"), message(5, "running")])
    assert path[-1] == (1, JobState.CANCELLED)
    assert record.terminal


@pytest.mark.parametrize("kind", ["cancelling", "preempting", "reprioritized", "utilisation", None])
def test_what_says_nothing_of_a_job_s_state_is_passed_over(kind):
    assert Translator().seen(message(1, kind)) is None


# -- queries --------------------------------------------------------------------------------------


def details(**fields):
    base = {"job_id": "j", "submitted_ts": "2026-11-21T10:00:00Z"}
    return ParseDict({**base, **fields}, job_pb2.JobDetails())


RUN = {
    "run_id": "r",
    "node": "n1",
    "started_ts": "2026-11-21T10:00:10Z",
    "finished_ts": "2026-11-21T10:00:20Z",
}


@pytest.mark.parametrize(
    ("state", "ended", "cause", "code"),
    [
        ("SUCCEEDED", JobState.SUCCEEDED, None, 0),
        ("FAILED", JobState.FAILED, Cause.UNKNOWN, None),
        ("PREEMPTED", JobState.FAILED, Cause.PREEMPTED, None),
        ("REJECTED", JobState.FAILED, Cause.REJECTED, None),
        ("CANCELLED", JobState.CANCELLED, Cause.CANCELLED, None),
    ],
)
def test_an_end_by_query(state, ended, cause, code):
    record = Record("j")
    for seen in history(details(job_runs=[RUN], latest_run_id="r"), state, "why"):
        record, _ = fold(record, seen)
    assert (record.state, record.cause, record.exit_code) == (ended, cause, code)
    assert (record.terminal, record.node) == (True, "n1")
    assert record.finished_at - record.started_at == 10


def test_a_query_does_not_overrule_what_the_stream_has_told():
    record = Record("j")
    for seen in observed([*BEGUN, message(4, "running")]):
        record, _ = fold(record, seen)
    for seen in standing("j", "QUEUED"):
        record, _ = fold(record, seen)
    assert record.state is JobState.RUNNING
    assert fold(record, Tick(time.time()))[0].state is JobState.RUNNING


def test_an_unknown_state_says_nothing():
    assert not list(standing("j", "UNKNOWN"))


def test_a_job_s_id_tells_when_it_was_submitted():
    record = Record("01m7yxpjmsz7ksp5j76cs0dt8e")
    for seen in standing(record.id, "QUEUED"):
        record, _ = fold(record, seen)
    assert (record.state, record.submitted_at) == (JobState.QUEUED, ids.submitted_at(record.id))
