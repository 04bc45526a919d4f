"""Verdicts that no recording of a single agent can hold: lost nodes, containers, reschedules."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from batchbridge.model import Cause, JobState
from batchbridge_nomad.translate import Known, ending_of, exit_facts, history
from batchbridge_nomad.wire import Alloc, TaskEvent, TaskState, sentence

from .recorded import folded

S = JobState
EARLY, LATE = (datetime(2026, 11, 21, 10, 0, second, tzinfo=UTC) for second in (0, 30))


def event(kind, text="", time=0, **details):
    return TaskEvent(kind, time, text, {k: str(v) for k, v in details.items()})


def alloc(status, *events, number=1, state="dead", **fields):
    task = TaskState(state, EARLY, LATE, tuple(events))
    return Alloc(
        f"alloc-{number}",
        "bb-1",
        client_status=status,
        desired_status=fields.pop("desired", "run"),
        task_states={"main": task},
        create_index=number,
        modify_index=number,
        **fields,
    )


def verdict(*allocs, **fields):
    return ending_of(Known("bb-1", allocs, **fields), len(allocs))


LOST = alloc("lost", desired="stop", desired_description="alloc is lost since its node is down")
RETURNED = alloc(
    "complete",
    event("Killing", time=1),
    event("Terminated", time=2, exit_code=-1, signal=0),
    desired="stop",
    desired_description="alloc is lost since its node is down",
)


def test_a_lost_node_ends_the_attempt_and_not_the_job():
    record, _ = folded(history(Known("bb-1", (LOST,))))
    assert (record.state, record.cause, record.terminal) == (S.FAILED, Cause.NODE_LOST, False)


def test_a_lost_job_that_was_stopped_is_over():
    record, _ = folded(history(Known("bb-1", (LOST,), stopped=True)))
    assert (record.state, record.cause, record.terminal) == (S.FAILED, Cause.NODE_LOST, True)


def test_an_allocation_that_came_back_from_a_lost_node_is_no_success():
    assert verdict(RETURNED).cause is Cause.NODE_LOST
    assert verdict(RETURNED).exit_code is None


def test_a_lost_job_that_waits_for_another_node_is_queued_again():
    record, _ = folded(history(Known("bb-1", (LOST,), waiting=True, reruns=True)))
    assert (record.state, record.attempt) == (S.QUEUED, 2)


def test_a_rerun_job_that_is_stopped_while_it_waits_is_cancelled():
    waited, _ = folded(history(Known("bb-1", (LOST,), waiting=True, reruns=True)))
    stopped = history(Known("bb-1", (LOST,), stopped=True, reruns=True))
    record, _ = folded(history(Known("bb-1", (LOST,), waiting=True, reruns=True)) + stopped)
    assert waited.state is S.QUEUED
    assert (record.state, record.attempt, record.terminal) == (S.CANCELLED, 2, True)


def test_a_node_that_is_cut_off_changes_no_state():
    cut_off = alloc("unknown", state="running")
    record, _ = folded(history(Known("bb-1", (cut_off,))))
    assert (record.state, record.message) == (S.RUNNING, "its node is cut off")


def test_a_success_on_a_second_allocation_is_a_success():
    done = alloc("complete", event("Terminated", exit_code=0), number=2)
    record, _ = folded(history(Known("bb-1", (LOST, done))))
    assert (record.state, record.attempt, record.terminal) == (S.SUCCEEDED, 2, True)


def test_a_job_is_over_when_the_allocation_that_was_replaced_is_dead_too():
    """It may take its time to be killed; whoever runs the job again must not meet it."""
    dying = alloc("running", desired="stop", desired_description="alloc is being migrated")
    killed = alloc(
        "complete", desired="stop", desired_description="alloc not needed due to job update"
    )
    second = with_number(killed, 2)
    record, _ = folded(history(Known("bb-1", (dying, second), stopped=True)))
    assert (record.state, record.terminal) == (S.FAILED, False)
    dead = alloc("complete", desired="stop", desired_description="alloc is being migrated")
    record, _ = folded(history(Known("bb-1", (dead, second), stopped=True)))
    assert (record.cause, record.terminal) == (Cause.EVICTED, True)


def test_a_failure_that_nomad_will_follow_up_is_provisional():
    failed = alloc("failed", event("Terminated", exit_code=3), followup_eval_id="next")
    record, _ = folded(history(Known("bb-1", (failed,))))
    assert (record.exit_code, record.terminal) == (3, False)


SIBLING = TaskState(
    "dead",
    failed=True,
    events=(
        event("Terminated", "Exit Code: 7", exit_code=7),
        event("Not Restarting", "Policy allows no restarts"),
    ),
)
KILLING = event("Killing", "Sent interrupt. Waiting 10s before force killing", time=1)


@pytest.mark.parametrize(
    ("events", "cause", "exit_code", "signal"),
    [
        ([event("Terminated", exit_code=0)], Cause.UNKNOWN, 0, None),
        ([KILLING, event("Terminated", time=2, exit_code=143, signal=15)], Cause.SIGNAL, None, 15),
        ([event("Sibling Task Failed"), KILLING], Cause.START_ERROR, None, None),
    ],
)
def test_a_task_beside_the_command_that_failed_is_named(events, cause, exit_code, signal):
    """As a real agent told of a command that ended with 0, was ended, and did not begin."""
    ended = alloc("failed", *events)
    beside = msgspec.structs.replace(
        ended, task_states={"other": SIBLING, **(ended.task_states or {})}
    )
    record, _ = folded(history(Known("bb-1", (beside,))))
    assert (record.state, record.cause) == (S.FAILED, cause)
    assert (record.exit_code, record.signal) == (exit_code, signal)
    assert record.message == "the task other failed: Exit Code: 7"


def test_a_command_that_failed_by_itself_is_not_laid_to_another_task():
    ended = alloc("failed", event("Terminated", "Exit Code: 3", exit_code=3))
    states = {"other": SIBLING, **(ended.task_states or {})}
    found = verdict(msgspec.structs.replace(ended, task_states=states))
    assert (found.exit_code, found.message) == (3, "")


def test_out_of_memory_is_a_cause_of_its_own():
    ended = verdict(
        alloc("failed", event("Terminated", exit_code=137, signal=9, oom_killed="true"))
    )
    assert (ended.cause, ended.signal) == (Cause.OOM, 9)


@pytest.mark.parametrize(
    ("details", "facts"),
    [
        ({"exit_code": 3, "signal": 0}, (3, None)),
        ({"exit_code": 137, "signal": 9}, (None, 9)),
        ({"exit_code": 137, "signal": 0}, (137, None)),  # a shell told it of its child
        ({"exit_code": -1, "signal": 0}, (None, None)),
        (
            {
                "exit_code": 137,
                "exit_message": "Docker container exited with non-zero exit code: 137",
            },
            (None, 9),
        ),
        (
            {"exit_code": 4, "exit_message": "Docker container exited with non-zero exit code: 4"},
            (4, None),
        ),
        ({}, (0, None)),
    ],
)
def test_exit_code_and_signal_exclude_each_other(details, facts):
    assert exit_facts(event("Terminated", **details)) == facts


@pytest.mark.parametrize(
    ("kind", "text", "cause"),
    [
        ("Driver Failure", "Failed to pull `nope`: not found", Cause.IMAGE),
        ("Driver Failure", "no such file", Cause.START_ERROR),
        ("Failed Validation", "bad", Cause.SPEC),
        ("Failed Artifact Download", "404", Cause.START_ERROR),
        ("Killing", "Template failed: nothing at team/db#password", Cause.START_ERROR),
        ("Something New", "words", Cause.UNKNOWN),
    ],
)
def test_a_command_that_never_ran(kind, text, cause):
    ended = verdict(alloc("failed", event(kind, text)))
    assert (ended.state, ended.cause, ended.message) == (S.FAILED, cause, text)


@pytest.mark.parametrize("code", [124, 143, 137])
def test_the_scripts_time_limit_is_known_by_code_and_time(code):
    ended = alloc("failed", event("Terminated", exit_code=code))
    assert verdict(ended, timeout=30).cause is Cause.TIMEOUT
    assert verdict(ended, timeout=31).cause is not Cause.TIMEOUT
    assert verdict(ended).cause is not Cause.TIMEOUT


def test_a_timed_out_allocation_goes_on_until_its_task_is_dead():
    over = alloc(
        "complete",
        event("Killing", "allocation exceeded max_run_duration"),
        client_description="allocation exceeded max_run_duration",
    )
    dying = {"main": replace_state(over.task, "running")}
    assert verdict(over).cause is Cause.TIMEOUT
    assert verdict(alloc_with(over, dying)) is None


def test_a_task_that_ended_by_itself_just_before_it_was_stopped_has_succeeded():
    ended = alloc(
        "complete",
        event("Terminated", time=1, exit_code=0),
        event("Killing", time=2),
        desired="stop",
        desired_description="alloc not needed due to job update",
    )
    assert verdict(ended, stopped=True).state is S.SUCCEEDED


def test_words_that_are_not_known_are_no_success():
    ended = alloc("complete", event("Killing"), desired="stop", desired_description="news")
    assert (verdict(ended).state, verdict(ended).cause) == (S.FAILED, Cause.UNKNOWN)


@pytest.mark.parametrize(
    ("status", "events", "message"),
    [
        ("pending", [], "waiting for its node"),
        ("pending", [("Received", "Task received by client")], "Task received by client"),
        ("pending", [("Driver", "Downloading image")], "Downloading image"),
        ("pending", [("Template", "Missing: nomad.var.block(a)")], "Missing: nomad.var.block(a)"),
        ("running", [("Started", "Task started by client")], ""),
    ],
)
def test_what_a_job_is_at_that_has_not_ended(status, events, message):
    """Words of a place in preparation: a start that takes too long ends with them."""
    at = alloc(status, *(event(*one) for one in events), state=status)
    if status == "pending":
        at = msgspec.structs.replace(at, task_states={"main": TaskState(events=at.events)})
    record, _ = folded(history(Known("bb-1", (at,))))
    assert (record.state, record.message) == (S(status.upper()), message)


def test_a_job_without_an_allocation_waits():
    (submitted, queued) = history(Known("bb-1"))
    assert (submitted.state, queued.state) == (S.SUBMITTED, S.QUEUED)


def replace_state(task, state):
    return msgspec.structs.replace(task, state=state)


def alloc_with(before, tasks):
    return msgspec.structs.replace(before, task_states=tasks)


def with_number(before, number):
    return msgspec.structs.replace(before, id=f"alloc-{number}", create_index=number)


def test_what_nomad_lists_is_one_sentence():
    said = '2 errors occurred:\n\t* failed to parse config: \n\t* Invalid label: "x"\n\n'
    assert sentence(said) == 'failed to parse config: Invalid label: "x"'
    inner = "2 errors occurred:\n\t* it has no name\n\t* it has no driver\n\n"
    within = f"1 error occurred:\n\t* Task: {inner}\n\n"
    assert sentence(within) == "Task: it has no name; it has no driver"
    assert sentence("1 warning:\n\n* deprecated") == "deprecated"
