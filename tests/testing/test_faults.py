"""Each fault does what it says, once or as often as it says; without one nothing is changed."""

from __future__ import annotations

import contextlib

import pytest

from batchbridge.errors import CursorExpired, TransportError
from batchbridge.model import Batch, JobRef, JobSpec, JobState, Submission
from batchbridge.testing import Fault, Faulty, ScriptedDriver
from batchbridge.testing.faults import TIMES
from batchbridge.testing.scripted import succeed

REF = JobRef("scripted", "scripted", (), "k1")
JOB = Submission("k1", JobSpec(command=("x",)), "set", "user")
TEXT = "naïve ☕ 😀".encode()


def _faulty(*faults: Fault) -> Faulty:
    return Faulty(ScriptedDriver(script=succeed), *faults)


def _submitted(*faults: Fault) -> Faulty:
    faulty = _faulty(*faults)
    list(faulty.driver.submit([JOB]))
    return faulty


def _states(batch: Batch) -> list[JobState]:
    return [seen.state for seen in batch.observations]


def test_it_stands_in_for_the_driver() -> None:
    faulty = _faulty(*Fault)
    for name in ("name", "contract", "capabilities", "Settings", "Options", "settings"):
        assert getattr(faulty, name) == getattr(faulty.driver, name)
    assert type(faulty).capabilities == ScriptedDriver.capabilities


def test_without_faults_it_changes_nothing() -> None:
    faulty = _submitted()
    assert faulty.snapshot((), ["k1"]) == faulty.driver.snapshot((), ["k1"])
    with contextlib.closing(faulty.watch((), "0", lambda: ())) as watch:
        assert _states(next(watch)) == []
        assert _states(next(watch))[-1] is JobState.SUCCEEDED
    assert not faulty.struck


def test_an_acknowledgement_is_lost_after_the_engine_accepted() -> None:
    faulty = _faulty(Fault.LOST_ACKNOWLEDGEMENT)
    for _ in range(TIMES):
        with pytest.raises(TransportError):
            list(faulty.submit([JOB]))
    (receipt,) = faulty.submit([JOB])
    assert (receipt.id, receipt.created) == ("k1", False)


def test_every_second_snapshot_fails() -> None:
    faulty = _submitted(Fault.FAILING_SNAPSHOT)
    for _ in range(3):
        with pytest.raises(TransportError):
            faulty.snapshot((), ["k1"])
        assert _states(faulty.snapshot((), ["k1"]))


def test_a_stream_is_cut_when_there_is_something_to_tell() -> None:
    faulty = _submitted(Fault.CUT_STREAM)
    for _ in range(TIMES):
        watch = faulty.watch((), "0", lambda: ())
        assert not next(watch).observations
        with pytest.raises(TransportError):
            next(watch)
    with contextlib.closing(faulty.watch((), "0", lambda: ())) as watch:
        next(watch)
        assert next(watch).observations


def test_a_cursor_expires_after_a_cut() -> None:
    faulty = _submitted(Fault.EXPIRED_CURSOR)
    watch = faulty.watch((), None, lambda: ())
    next(watch)
    faulty.driver.tell([])
    list(faulty.driver.submit([Submission("k2", JOB.spec, "set", "user")]))
    with pytest.raises(TransportError):
        next(watch)
    with pytest.raises(CursorExpired):
        next(faulty.watch((), "0", lambda: ()))
    assert faulty.struck[Fault.EXPIRED_CURSOR] == 1


def test_a_silent_stream_says_nothing() -> None:
    faulty = _submitted(Fault.SILENCE)
    with contextlib.closing(faulty.watch((), "0", lambda: ())) as watch:
        assert [next(watch), next(watch)][1] == Batch()


def test_duplicates_tell_the_past_again() -> None:
    faulty = _submitted(Fault.DUPLICATES)
    once = faulty.driver.snapshot((), ["k1"]).observations
    assert faulty.snapshot((), ["k1"]).observations == once * 3
    assert faulty.snapshot((), ["k1"]).observations == once * 4


def test_reordering_tells_backwards() -> None:
    faulty = _submitted(Fault.REORDERING)
    assert _states(faulty.snapshot((), ["k1"]))[0] is JobState.SUCCEEDED


def test_characters_are_split_and_no_byte_is_lost() -> None:
    faulty = _submitted(Fault.SPLIT_CHARACTERS)
    faulty.driver.write("k1", TEXT)
    pages, cursor, eof = [], None, False
    while not eof:
        page = faulty.read_logs(REF, 1, "stdout", cursor, ended=True, wait=0)
        pages, cursor, eof = [*pages, page.data], page.cursor, page.eof
    assert b"".join(pages) == TEXT
    assert len(pages) > 3
    with pytest.raises(UnicodeDecodeError):
        [page.decode() for page in pages]


def test_a_cancel_is_sent_twice() -> None:
    faulty = _submitted(Fault.DOUBLE_CANCEL)
    faulty.cancel([REF], reason="r")
    assert faulty.driver.calls.cancelled == ["k1", "k1"]
