from __future__ import annotations

import pytest

from batchbridge import logs
from batchbridge.driver import Capabilities
from batchbridge.errors import NoSuchJob, TransportError
from batchbridge.hub import Hub
from batchbridge.logs import Decoder, output
from batchbridge.model import Absent, JobRef, JobState, LogPage, Seen
from batchbridge.watched import Watched

from .fakes import Fake

S = JobState


class Counting(Fake):
    capabilities = Capabilities(counts_attempts=True)

    def __init__(self) -> None:
        super().__init__()
        self.kept = {1: b"one", 2: b"two"}

    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        start = int(cursor or 0)
        data = self.kept[attempt] if stream == "stdout" else b""
        end = min(len(data), start + 2)
        return LogPage(data[start:end], str(end), eof=ended and end == len(data))


def watched(driver: Fake, *seen: Seen | Absent) -> Watched:
    ledger = Hub(driver).ledger(())
    job = ledger.follow(JobRef("fake", "p", (), "a"))
    ledger.observe(seen)
    return job


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(logs, "delays", lambda: iter([0.0] * 100))


def test_pages_are_joined_in_order_and_end_at_eof():
    driver = Fake()
    driver.pages = [LogPage(b"a", "1"), LogPage(b"", "1"), LogPage(b"b", "2", eof=True)]
    job = watched(driver, Seen("a", S.SUCCEEDED, final=True))
    chunks = list(output(job, ("stdout",), follow=True))
    assert [chunk.data for chunk in chunks] == [b"a", b"", b"b"]


@pytest.mark.parametrize("stays", [True, False])
def test_what_has_ended_is_read_to_its_end_without_follow_too(stays):
    """An engine may learn late where the output is, and nothing would look like no output."""
    driver = Fake()
    driver.pages = [LogPage(b"", "0"), LogPage(b"", "0", eof=True, truncated=True)]
    job = watched(driver, Seen("a", S.SUCCEEDED, final=True))
    (turn, lost) = output(job, ("stdout",), follow=stays)
    assert (turn.data, turn.truncated, lost.truncated) == (b"", False, True)


def test_who_follows_gets_a_turn_while_the_job_is_silent():
    job = watched(Fake(), Seen("a", S.RUNNING))
    turns = output(job, ("stdout", "stderr"), follow=True)
    assert [next(turns).data for _ in range(3)] == [b"", b"", b""]


def test_what_is_there_ends_at_the_first_silence_without_follow():
    driver = Fake()
    driver.pages = [LogPage(b"a", "1"), LogPage(b"", "1"), LogPage(b"later", "2")]
    job = watched(driver, Seen("a", S.RUNNING))
    assert [chunk.data for chunk in output(job, ("stdout",), follow=False)] == [b"a"]


def test_lost_bytes_are_told_even_where_nothing_follows_them():
    driver = Fake()
    driver.pages = [LogPage(b"", "9", eof=True, truncated=True)]
    job = watched(driver, Seen("a", S.SUCCEEDED, final=True))
    assert [chunk.truncated for chunk in output(job, ("stdout",), follow=True)] == [True]


def test_a_broken_connection_is_tried_again_from_the_same_cursor_and_then_told():
    driver = Fake()
    driver.pages = [TransportError("cut"), LogPage(b"a", "1", eof=True)]
    job = watched(driver, Seen("a", S.SUCCEEDED, final=True))
    assert [chunk.data for chunk in output(job, ("stdout",), follow=True)] == [b"a"]
    driver.pages = [TransportError("cut") for _ in range(logs.TRIES)]
    with pytest.raises(TransportError):
        list(output(job, ("stdout",), follow=True))


def test_attempts_follow_each_other_where_the_engine_counts_them():
    job = watched(
        Counting(), Seen("a", S.RUNNING, attempt=2), Seen("a", S.SUCCEEDED, attempt=2, final=True)
    )
    chunks = list(output(job, ("stdout", "stderr"), follow=True))
    assert [(chunk.attempt, chunk.data) for chunk in chunks] == [
        (1, b"on"),
        (1, b"e"),
        (2, b"tw"),
        (2, b"o"),
    ]


def test_a_job_that_nobody_knows_has_no_logs():
    job = watched(Fake(), Absent("a", 1.0))
    with pytest.raises(NoSuchJob):
        list(output(job, ("stdout",), follow=True))


def test_characters_split_between_pages_are_whole_again():
    decoder = Decoder()
    data = "né\n".encode()
    assert [decoder.text(data[:2]), decoder.text(data[2:])] == ["n", "é\n"]
    assert decoder.text(b"\xff") == "\N{REPLACEMENT CHARACTER}"
