"""What was recorded off Armada's real executor; and when two recordings tell the same."""

from __future__ import annotations

import copy
import json

import pytest

from batchbridge.model import Cause, JobState
from tests.drivers.armada.likeness import differences
from tests.drivers.armada.record import EXECUTORS, HOME, OF
from tests.drivers.armada.test_translate import concluded, recorded


def says(name):
    lines = (HOME / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line)["says"] for line in lines[1:]]


@pytest.mark.parametrize(
    ("name", "cause", "code", "signal"),
    [
        ("real_exit_code", Cause.EXIT_CODE, 3, None),
        ("real_signal", Cause.SIGNAL, None, 9),
        ("real_oom", Cause.OOM, None, 9),
        ("real_evicted", Cause.EVICTED, None, 15),
        ("real_deadline", Cause.TIMEOUT, None, 15),
        ("real_missing", Cause.START_ERROR, None, None),
        ("real_image", Cause.IMAGE, None, None),
        ("real_image_pull", Cause.IMAGE, None, None),
        ("real_preempted", Cause.PREEMPTED, None, None),
        ("real_lease_expired", Cause.NODE_LOST, None, None),
        ("kubernetes_image_pull", Cause.IMAGE, None, None),
        ("kubernetes_refused", Cause.START_ERROR, None, None),
        ("kubernetes_beside", Cause.UNKNOWN, None, None),
    ],
)
def test_how_a_pod_ended_is_told(name, cause, code, signal):
    record, _ = concluded(recorded(name))
    assert (record.terminal, record.state, record.cause) == (True, JobState.FAILED, cause)
    assert (record.exit_code, record.signal) == (code, signal)


def test_a_run_again_on_the_same_cluster_finds_its_pod_s_name_taken():
    """Recorded: the failed pod is still there, so the second run's lease is returned."""
    record, path = concluded(recorded("real_retryable"))
    assert next(attempt for attempt, state in path if state is JobState.FAILED) == 1
    assert record.terminal
    assert "already exists" in record.message


def test_a_pod_that_kubernetes_refuses_is_tried_again_where_that_is_asked():
    record, path = concluded(recorded("kubernetes_refused_again"))
    assert [attempt for attempt, state in path if state is JobState.FAILED] == [1, 2]
    assert record.message.endswith('serviceaccount "none-there" not found')


def test_every_scenario_is_recorded():
    assert {path.stem for path in HOME.glob("*.jsonl")} == {
        name for many in OF.values() for name in many
    }


@pytest.mark.parametrize("name", [path.stem for path in sorted(HOME.glob("*.jsonl"))])
def test_the_first_line_says_what_was_recorded(name):
    head = json.loads((HOME / f"{name}.jsonl").read_text().splitlines()[0])
    made_by = {EXECUTORS[kind] for kind, scenarios in OF.items() if name in scenarios}
    assert head["scenario"] == name
    assert head["executor"] in made_by
    assert head["armada"]


# -- likeness --------------------------------------------------------------------------------


def changed(told, kind, **fields):
    """The same messages, but for fields of one event."""
    told = copy.deepcopy(told)
    for message in told:
        if kind in message["message"]:
            message["message"][kind].update(fields)
    return told


def test_what_differs_from_story_to_story_is_no_difference():
    told = says("cancelled")
    again = [
        m for m in changed(told, "leased", job_id="01k" + "0" * 23) if "running" not in m["message"]
    ]
    assert differences(told, again) == []


@pytest.mark.parametrize(
    ("edit", "shown"),
    [
        (lambda told: changed(told, "failed", cause="OOM"), ["+ failed: cause = OOM"]),
        (
            lambda told: changed(told, "failed", container_statuses=[{"exitCode": 3}]),
            ["+ failed: container_statuses.exitCode = 3"],
        ),
        (lambda told: changed(told, "leased", pool=""), ["- leased: pool"]),
        (
            lambda told: told[:-1],
            ["- failed is told", "- it ends with failed", "+ it ends with leased"],
        ),
    ],
)
def test_what_is_told_otherwise_is_a_difference(edit, shown):
    told = says("failed")
    found = differences(told, edit(told))
    assert set(shown) <= set(found)
