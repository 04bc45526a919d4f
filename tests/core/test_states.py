"""What `fold` guarantees, for any history whatever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbridge.model import Absent, Cause, Intent, JobState, Observation, Seen, Tick
from batchbridge.states import (
    ABSENCES,
    ABSENT_FOR,
    ORDER,
    SETTLE,
    TRANSITIONS,
    Record,
    Transition,
    fold,
)

from .histories import (
    ABSENTS,
    ANY,
    INTENTS,
    LIVE,
    TICKS,
    distorted,
    histories,
    steps,
    told,
    truths,
)

S, C = JobState, Cause
EMPTY = (None, "", C.UNKNOWN)
FACTS = (
    "cause",
    "exit_code",
    "signal",
    "message",
    "node",
    "submitted_at",
    "started_at",
    "finished_at",
)


# -- the guarantees, as properties ---------------------------------------------------------------


@given(ANY)
def test_attempt_and_order_of_state_only_grow(history: list[Observation]) -> None:
    def place(record: Record) -> tuple[int, int]:
        return record.attempt, -1 if record.state is None else ORDER[record.state]

    for step in steps(history):
        records = [step.before, *(change.record for change in step.changes), step.after]
        assert sorted(records, key=place) == records


@given(ANY)
def test_every_change_is_in_the_table(history: list[Observation]) -> None:
    for step in steps(history):
        before = step.before
        for change in step.changes:
            _assert_legal(before, change.record)
            before = change.record


def _assert_legal(before: Record, after: Record) -> None:
    assert after.state is not None
    if before.state is None:
        assert after.state is S.SUBMITTED
    elif (before.state, before.attempt) == (after.state, after.attempt):
        assert (before.terminal, after.terminal) == (False, True)
    elif before.settling and before.attempt == after.attempt:
        assert Transition(before.state, after.state, "overruled") in TRANSITIONS
    else:
        moved = before.attempt < after.attempt and before.state is not S.SUBMITTED
        assert Transition(before.state, after.state, "next attempt" if moved else "forward") in (
            TRANSITIONS
        )


@given(ANY)
def test_changes_tell_all_that_happens_to_state_attempt_and_end(history: list[Observation]) -> None:
    for step in steps(history):
        last = step.changes[-1].record if step.changes else step.before
        seen = (last.state, last.attempt, last.terminal)
        assert seen == (step.after.state, step.after.attempt, step.after.terminal)


@given(ANY)
def test_a_terminal_record_keeps_all_it_knows(history: list[Observation]) -> None:
    for before, _, after, changes in steps(history):
        if before.terminal:
            assert not changes
            assert (before.state, before.attempt) == (after.state, after.attempt)
            assert after.terminal
            for name in FACTS:
                known = getattr(before, name)
                assert known in EMPTY or getattr(after, name) == known


@given(ANY)
def test_terminal_comes_of_a_final_ending_settling_or_denials(history: list[Observation]) -> None:
    for before, observation, after, _ in steps(history):
        if after.terminal and not before.terminal:
            match observation:
                case Seen():
                    assert observation.final
                case Tick(now):
                    assert before.settling_since is not None
                    assert now - before.settling_since >= SETTLE
                case Absent():
                    assert after.absences is not None
                    count, first, last = after.absences
                    assert count >= ABSENCES
                    assert last - first >= ABSENT_FOR
                case Intent():
                    pytest.fail("an intent ends nothing")


@given(ANY)
def test_every_end_has_its_cause(history: list[Observation]) -> None:
    for _, _, after, _ in steps(history):
        ended = after.state is not None and after.state.ending
        assert (after.cause is None) == (not ended or after.state is S.SUCCEEDED)
        assert (after.cause is C.CANCELLED) == (after.state is S.CANCELLED)
        assert after.exit_code is None or after.signal is None
        if after.state is S.SUCCEEDED:
            assert after.exit_code in (None, 0)
            assert after.signal is None
        if not ended:
            assert (after.exit_code, after.signal, after.finished_at) == (None, None, None)


@given(ANY)
def test_the_shell_sees_0_only_of_a_success_for_good(history: list[Observation]) -> None:
    for _, _, after, _ in steps(history):
        assert (after.exit_status == 0) == (after.terminal and after.state is S.SUCCEEDED)


@given(ANY)
def test_folding_twice_in_a_row_is_folding_once(history: list[Observation]) -> None:
    for step in steps(history):
        assert fold(step.after, step.observation) == (step.after, ())


@given(ANY)
def test_lost_comes_from_denials_alone(history: list[Observation]) -> None:
    for before, observation, after, _ in steps(history):
        if after.state is S.LOST and before.state is not S.LOST:
            assert isinstance(observation, Absent)
            assert before.state is not None
            assert before.intent is None
            assert not before.settling


@given(st.lists(st.one_of(ABSENTS, INTENTS, TICKS)))
def test_a_job_that_nobody_answered_for_has_no_state(history: list[Observation]) -> None:
    record = told(history)
    assert (record.state, record.attempt, record.terminal) == (None, 0, False)
    assert record.missing == any(isinstance(told, Absent) for told in history)


@given(ANY)
def test_the_first_intent_stands_and_names_the_cause(history: list[Observation]) -> None:
    for before, observation, after, _ in steps(history):
        if before.intent is not None:
            assert after.intent is before.intent
            if _cancelled_for_good(before, observation):
                assert after.terminal
                assert after.cause is before.intent.cause


def _cancelled_for_good(record: Record, observation: Observation) -> bool:
    if record.terminal or not isinstance(observation, Seen):
        return False
    stale = observation.attempt is not None and observation.attempt < record.attempt
    return observation.state is S.CANCELLED and observation.final and not stale


@given(ANY)
def test_only_certain_states_are_filled_in(history: list[Observation]) -> None:
    for _, observation, _, changes in steps(history):
        for change in changes:
            if change.inferred and change.record.state is S.RUNNING:
                assert isinstance(observation, Seen)
                ran = observation.state is S.SUCCEEDED or observation.exit_code is not None
                assert ran
            elif change.inferred:
                assert change.record.state in (S.SUBMITTED, S.QUEUED)


@given(ANY)
def test_an_attempt_that_opens_knows_nothing_of_the_one_before(history: list[Observation]) -> None:
    for before, _, after, _ in steps(history):
        if after.attempt > before.attempt > 0 and after.state in LIVE:
            assert after.settling_since is None
            assert after.started_at is None or after.state is S.RUNNING


@given(st.data(), st.booleans())
def test_the_last_word_wins_however_the_words_arrive(data: st.DataObject, numbered: bool) -> None:
    truth = data.draw(truths(numbered=numbered))
    end, whole = told(data.draw(distorted(truth))), told(truth)
    assert (end.state, end.cause, end.exit_code, end.signal) == (
        (whole.state, whole.cause, whole.exit_code, whole.signal)
    )
    assert end.terminal
    assert end.attempt == whole.attempt if numbered else end.attempt <= whole.attempt


@given(st.data(), st.booleans())
def test_what_is_redelivered_says_nothing_new(data: st.DataObject, numbered: bool) -> None:
    truth = data.draw(truths(numbered=numbered))
    here = data.draw(st.integers(1, len(truth)))
    record = told(truth[:here])
    for said in data.draw(st.lists(st.sampled_from(truth[:here]))):
        assert fold(record, said) == (record, ())


@given(st.data())
def test_a_reader_who_joins_late_knows_the_same_numbered_attempt(data: st.DataObject) -> None:
    truth = data.draw(truths(numbered=True))
    here = data.draw(st.integers(1, len(truth) - 1))
    late, whole = told(truth[here:]), told(truth)
    for name in ("state", "attempt", "cause", "exit_code", "signal", "finished_at", "terminal"):
        assert getattr(late, name) == getattr(whole, name)


@given(histories(numbered=False, ordered=False))
def test_without_numbers_and_order_there_is_one_attempt(history: list[Observation]) -> None:
    assert told(history).attempt <= 1


@given(histories(numbered=True, ordered=True))
def test_fold_counts_no_attempt_of_a_driver_that_does(history: list[Observation]) -> None:
    numbers = [0, 1]
    for _, observation, after, _ in steps(history):
        if isinstance(observation, Seen) and observation.attempt is not None:
            numbers.append(observation.attempt + observation.again)
        assert after.attempt in numbers


def test_the_table_reaches_every_state_and_leaves_none_but_the_lost() -> None:
    assert {t.after for t in TRANSITIONS} == set(S) - {S.SUBMITTED}
    assert {t.before for t in TRANSITIONS} == set(S) - {S.LOST}
    assert all(ORDER[t.after] > ORDER[t.before] for t in TRANSITIONS if t.kind == "forward")
