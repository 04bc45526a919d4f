from __future__ import annotations

import itertools

import pytest

from batchbridge.errors import AuthError
from batchbridge.hub import Hub
from batchbridge.jobs import Job, news
from batchbridge.model import Absent, JobRef, JobState, Seen

from .fakes import Fake

S = JobState


class Engine:
    def __init__(self, driver: Fake) -> None:
        self.driver = driver
        self.hub = Hub(driver)

    def job(self, job_id: str) -> Job:
        ref = JobRef("fake", "p", (), job_id)
        return Job(self, self.hub.ledger(()).follow(ref))


@pytest.fixture
def engine():
    engine = Engine(Fake())
    yield engine
    engine.hub.close()


def test_the_news_of_many_jobs_are_told_once_and_end_with_the_last(engine):
    engine.driver.said = {
        "a": [Seen("a", S.SUCCEEDED, final=True)],
        "b": [Seen("b", S.FAILED, exit_code=3, final=True)],
        "c": [Absent("c", 1.0)],
    }
    jobs = [engine.job(name) for name in "abc"]
    told = [
        (event.ref.id, str(event.record.state))
        for event in itertools.chain(*news(jobs, every=0.01))
        if not event.inferred
    ]
    assert sorted(told) == [("a", "SUCCEEDED"), ("b", "FAILED")]
    assert jobs[2].record.missing


def test_whoever_reads_the_news_gets_a_turn_while_nothing_happens(engine):
    engine.driver.said = {"a": [Seen("a", S.QUEUED)]}
    turns = news([engine.job("a")], every=0.01)
    silent = (fresh for fresh in turns if not fresh)
    assert [next(silent), next(silent)] == [[], []]


def test_jobs_that_are_added_meanwhile_are_told_of_too(engine):
    engine.driver.said = {name: [Seen(name, S.SUCCEEDED, final=True)] for name in ("a", "b")}
    jobs, ended = [engine.job("a")], []
    for fresh in news(jobs, every=0.01):
        ended += [event.ref.id for event in fresh if event.record.terminal]
        if ended == ["a"] and len(jobs) == 1:
            jobs.append(engine.job("b"))
    assert ended == ["a", "b"]


def test_an_engine_that_refuses_ends_the_news(engine, monkeypatch):
    monkeypatch.setattr("batchbridge.backoff.delays", lambda: itertools.repeat(0.01))
    engine.driver.failures = [AuthError("token expired") for _ in range(1000)]
    with pytest.raises(AuthError):
        list(itertools.chain(*news([engine.job("a")], every=0.01)))
