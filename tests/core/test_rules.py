"""The rules of the state machine, one class each, by example."""

from __future__ import annotations

import pytest

from batchbridge.model import Cause, Intent, JobState, Observation, Seen, Tick
from batchbridge.states import fold

from .histories import absents, seen, ticks, told, walked

S, C = JobState, Cause


class TestRule1TheEndOfAnAttemptIsNotTheEndOfTheJob:
    def test_final_is_terminal_at_once(self) -> None:
        assert walked([seen(S.RUNNING), seen(S.SUCCEEDED, final=True)])[-1] == "SUCCEEDED@1!"

    def test_again_ends_the_attempt_and_opens_the_next(self) -> None:
        history = [seen(S.RUNNING, 1, 1), seen(S.FAILED, 1, 2, again=True, exit_code=3)]
        assert walked(history)[-2:] == ["FAILED@1", "QUEUED@2"]
        assert told(history).exit_code is None

    def test_a_provisional_ending_settles_on_ticks_alone(self) -> None:
        history: list[Observation] = [seen(S.FAILED, 1, exit_code=3), *ticks(100, 129)]
        assert told(history).settling
        assert walked([*history, Tick(130)])[-1] == "FAILED@1!"

    def test_a_later_ending_fills_the_standing_one(self) -> None:
        record = told([seen(S.FAILED, 1), seen(S.FAILED, 1, signal=9, node="n1")])
        assert (record.signal, record.cause, record.node) == (9, C.SIGNAL, "n1")
        assert record.settling

    def test_a_later_ending_of_another_state_adds_nothing(self) -> None:
        record = told([seen(S.FAILED, 1, exit_code=3)])
        assert fold(record, seen(S.SUCCEEDED, 1)) == (record, ())

    def test_a_final_ending_overrules_it_whole(self) -> None:
        first = seen(S.FAILED, 1, cause=C.NODE_LOST, message="node is down", node="n1")
        record = told([first, seen(S.SUCCEEDED, 1, exit_code=0, final=True)])
        assert (record.state, record.cause, record.exit_code) == (S.SUCCEEDED, None, 0)
        assert (record.message, record.node) == ("", "n1")

    def test_a_final_ending_of_the_same_state_keeps_what_only_the_other_knew(self) -> None:
        first = seen(S.FAILED, 1, cause=C.OOM, exit_code=137, message="out of memory", at=5.0)
        record = told([first, seen(S.FAILED, 1, exit_code=137, final=True)])
        assert (record.cause, record.message, record.finished_at) == (C.OOM, "out of memory", 5.0)

    def test_a_code_that_overrules_brings_its_own_cause(self) -> None:
        record = told([seen(S.FAILED, exit_code=137), seen(S.FAILED, signal=9, final=True)])
        assert (record.exit_code, record.signal, record.cause) == (None, 9, C.SIGNAL)

    def test_a_newer_attempt_ends_the_settling(self) -> None:
        history = [seen(S.FAILED, 1, cause=C.PREEMPTED), Tick(0), seen(S.PENDING, 2), Tick(100)]
        record = told(history)
        assert (record.state, record.attempt, record.cause) == (S.PENDING, 2, None)
        assert not record.terminal

    def test_a_history_retold_at_each_snapshot_settles_all_the_same(self) -> None:
        snapshot = [seen(S.RUNNING, 1), seen(S.FAILED, 1, cause=C.NODE_LOST)]
        history = [said for now in (0, 10, 20, 30) for said in (*snapshot, Tick(now))]
        assert told(history).terminal


class TestRule2Numbers:
    def test_final_without_a_number_speaks_of_the_open_attempt(self) -> None:
        assert walked([seen(S.RUNNING, 3), seen(S.CANCELLED, final=True)])[-1] == "CANCELLED@3!"

    def test_an_older_attempt_says_nothing(self) -> None:
        record = told([seen(S.RUNNING, 2)])
        assert fold(record, seen(S.FAILED, 1, exit_code=1, final=True)) == (record, ())

    def test_queued_of_the_next_number_opens_it(self) -> None:
        assert walked([seen(S.FAILED, 1), seen(S.QUEUED, 2)])[-2:] == ["FAILED@1", "QUEUED@2"]

    def test_submitted_is_of_the_job_and_opens_nothing(self) -> None:
        assert walked([seen(S.RUNNING, 1), seen(S.SUBMITTED, 2)])[-1] == "RUNNING@1"


class TestRule3Order:
    def test_what_is_not_above_is_dropped_unless_final(self) -> None:
        record = told([seen(S.RUNNING, seq=5)])
        assert fold(record, seen(S.FAILED, seq=5, exit_code=1)) == (record, ())
        assert fold(record, seen(S.FAILED, seq=2, exit_code=1, final=True))[0].terminal

    def test_without_a_seq_only_an_ending_counts_then(self) -> None:
        record = told([seen(S.QUEUED, seq=5)])
        assert fold(record, seen(S.RUNNING)) == (record, ())
        assert fold(record, seen(S.FAILED, exit_code=1))[0].state is S.FAILED

    def test_life_without_a_seq_restarts_the_settling(self) -> None:
        history = [seen(S.FAILED, seq=5), *ticks(0, 20), seen(S.RUNNING), *ticks(30, 59)]
        assert told(history).settling
        assert told([*history, Tick(60)]).terminal

    @pytest.mark.parametrize("state", [S.QUEUED, S.LEASED])
    def test_a_place_in_the_queue_after_an_end_opens_the_next(self, state: JobState) -> None:
        history = [seen(S.RUNNING, seq=1), seen(S.FAILED, seq=2), seen(state, seq=3)]
        assert told(history).attempt == 2

    def test_a_place_in_the_queue_that_may_be_older_than_the_end_does_not(self) -> None:
        history = [seen(S.RUNNING, seq=1), seen(S.FAILED), seen(S.QUEUED, seq=3)]
        assert told(history).attempt == 1

    @pytest.mark.parametrize("state", [S.PENDING, S.RUNNING])
    def test_late_life_after_an_end_does_not(self, state: JobState) -> None:
        record = told([seen(S.LEASED, seq=1), seen(S.FAILED, seq=2), seen(state, seq=3, at=7.0)])
        assert (record.attempt, record.state) == (1, S.FAILED)


class TestRule4FilledIn:
    def test_a_late_reader_is_told_what_must_have_been(self) -> None:
        assert walked([seen(S.SUCCEEDED, 2, final=True)]) == (
            ["SUBMITTED@1~", "QUEUED@2~", "RUNNING@2~", "SUCCEEDED@2!"]
        )

    def test_nothing_says_that_the_command_ran(self) -> None:
        assert walked([seen(S.FAILED, cause=C.IMAGE, final=True)])[-2:] == [
            "QUEUED@1~",
            "FAILED@1!",
        ]

    def test_an_exit_code_does(self) -> None:
        assert walked([seen(S.FAILED, exit_code=3, final=True)])[-2:] == ["RUNNING@1~", "FAILED@1!"]

    def test_the_first_word_on_a_time_or_place_stands(self) -> None:
        said = [seen(S.SUBMITTED, at=1.0), seen(S.RUNNING, at=5.0, node="n1")]
        record = told([*said, seen(S.SUBMITTED, at=2.0), seen(S.RUNNING, at=9.0, node="n2")])
        assert (record.submitted_at, record.started_at, record.node) == (1.0, 5.0, "n1")

    def test_the_next_attempt_was_submitted_when_the_first_was(self) -> None:
        record = told([seen(S.SUBMITTED, at=1.0), seen(S.RUNNING, 1, at=5.0), seen(S.QUEUED, 2)])
        assert (record.submitted_at, record.started_at) == (1.0, None)

    def test_the_same_state_again_may_say_more_and_takes_nothing_back(self) -> None:
        said = [seen(S.QUEUED, message=text) for text in ("no memory", "", "no cpu")]
        assert [told(said[:n]).message for n in (1, 2, 3)] == ["no memory", "no memory", "no cpu"]

    def test_lease_and_preparation_are_never_filled_in(self) -> None:
        assert walked([seen(S.RUNNING)]) == ["SUBMITTED@1~", "QUEUED@1~", "RUNNING@1"]


class TestRule5Terminal:
    ENDED = told([seen(S.RUNNING, 2), seen(S.FAILED, 2, final=True)])

    def test_the_same_attempt_fills_what_is_unknown(self) -> None:
        late = seen(S.FAILED, 2, cause=C.OOM, exit_code=137, message="killed", at=9.0)
        record, _ = fold(self.ENDED, late)
        assert (record.cause, record.exit_code, record.finished_at) == (C.OOM, 137, 9.0)
        assert fold(record, seen(S.FAILED, 2, cause=C.TIMEOUT, signal=9)) == (record, ())

    def test_so_do_its_beginnings(self) -> None:
        assert fold(self.ENDED, seen(S.RUNNING, 2, at=3.0, node="n1"))[0].started_at == 3.0

    def test_so_does_an_unnumbered_final_of_the_same_state(self) -> None:
        assert fold(self.ENDED, seen(S.FAILED, final=True, exit_code=3))[0].exit_code == 3

    @pytest.mark.parametrize(
        "late",
        [
            seen(S.FAILED, 1, exit_code=3),
            seen(S.FAILED, 3, exit_code=3),
            seen(S.FAILED, exit_code=3),
            seen(S.SUCCEEDED, 2, exit_code=0, final=True),
            seen(S.CANCELLED, final=True),
            seen(S.RUNNING, 3),
        ],
    )
    def test_nothing_else_does(self, late: Seen) -> None:
        assert fold(self.ENDED, late) == (self.ENDED, ())


class TestRule6Ticks:
    def test_the_first_tick_starts_the_clock(self) -> None:
        assert told([seen(S.FAILED, 1, at=0.0), Tick(1e9)]).settling

    def test_ticks_do_nothing_to_a_live_job(self) -> None:
        record = told([seen(S.RUNNING)])
        assert fold(record, Tick(1e9)) == (record, ())


class TestRule7Absence:
    def test_three_over_a_minute_lose_a_job(self) -> None:
        assert walked([seen(S.SUBMITTED), *absents(0, 30, 60)]) == (
            ["SUBMITTED@1", "QUEUED@1~", "LOST@1!"]
        )

    @pytest.mark.parametrize("times", [(0, 60), (0, 20, 59), (0, 60, 60), (0, 60, 50)])
    def test_fewer_or_faster_or_not_later_do_not(self, times: tuple[float, ...]) -> None:
        assert not told([seen(S.RUNNING), *absents(*times)]).terminal

    def test_any_answer_starts_the_count_anew(self) -> None:
        history = [seen(S.RUNNING), *absents(0, 30), seen(S.RUNNING), *absents(60, 90)]
        assert not told(history).terminal

    def test_the_standing_ending_is_concluded(self) -> None:
        history = [seen(S.FAILED, 1, exit_code=3), *absents(0, 30, 60)]
        assert walked(history)[-1] == "FAILED@1!"

    def test_what_was_asked_for_is_concluded(self) -> None:
        history = [seen(S.RUNNING), Intent(C.CANCELLED, 0.0), *absents(0, 30, 60)]
        assert walked(history)[-1] == "CANCELLED@1!"

    def test_the_first_absence_of_a_job_never_seen_says_missing(self) -> None:
        record = told(absents(0))
        assert (record.missing, record.state) == (True, None)
        assert not told([seen(S.QUEUED)], record).missing


class TestRule8Intent:
    @pytest.mark.parametrize("cause", [C.TIMEOUT, C.UNSCHEDULABLE])
    def test_a_cancel_that_enforces_is_a_failure_by_that_cause(self, cause: Cause) -> None:
        record = told([seen(S.RUNNING), Intent(cause, 1.0), seen(S.CANCELLED, final=True)])
        assert (record.state, record.cause, record.exit_status) == (S.FAILED, cause, 124)

    def test_the_engines_own_enforcement_reads_the_same(self) -> None:
        record = told([seen(S.RUNNING), seen(S.CANCELLED, cause=C.TIMEOUT, final=True)])
        assert (record.state, record.cause, record.exit_status) == (S.FAILED, C.TIMEOUT, 124)

    def test_a_cancel_that_forbids_a_rerun_brings_the_first_end_along(self) -> None:
        asked = Intent(C.EXIT_CODE, 1.0, exit_code=3, message="bad input")
        record = told([seen(S.RUNNING, 1), asked, seen(S.CANCELLED, 2, final=True)])
        assert (record.state, record.cause, record.exit_code) == (S.FAILED, C.EXIT_CODE, 3)
        assert record.message == "bad input"

    def test_a_job_that_finished_first_has_finished(self) -> None:
        history = [seen(S.RUNNING), Intent(C.CANCELLED, 1.0), seen(S.SUCCEEDED, final=True)]
        assert told(history).state is S.SUCCEEDED

    def test_the_first_intent_stands(self) -> None:
        asked = [Intent(C.TIMEOUT, 1.0), Intent(C.CANCELLED, 2.0)]
        assert told([seen(S.RUNNING), *asked]).intent == asked[0]

    def test_what_is_over_is_intended_no_more(self) -> None:
        record = told([seen(S.CANCELLED, final=True)])
        assert fold(record, Intent(C.TIMEOUT, 1.0)) == (record, ())
