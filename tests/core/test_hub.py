from __future__ import annotations

import contextlib
import threading
import time

import pytest

from batchbridge import hub as hub_module
from batchbridge import ledger as ledger_module
from batchbridge.driver import Capabilities
from batchbridge.errors import AuthError, CursorExpired, NoSuchJob, TransportError, UsageError
from batchbridge.hub import Hub
from batchbridge.model import Absent, Batch, Cause, Explanation, Intent, JobRef, JobState, Seen
from batchbridge.watched import Policy, Watched

from .fakes import Fake, Pushing

S = JobState


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(ledger_module, "POLL", (0.05, 0.2))
    monkeypatch.setattr(ledger_module, "FRESH", 0.02)
    monkeypatch.setattr(ledger_module, "UNSETTLED", 0.05)
    monkeypatch.setattr("batchbridge.backoff.delays", lambda: iter([0.02] * 10_000))
    monkeypatch.setattr(hub_module, "delays", lambda: iter([0.02] * 10_000))


@contextlib.contextmanager
def watching(driver, *ids: str, scope=()):
    hub = Hub(driver)
    ledger = hub.ledger(scope)
    watched = [ledger.follow(JobRef(driver.name, "p", scope, job_id)) for job_id in ids]
    hub.pump(scope)
    try:
        yield hub, *watched
    finally:
        hub.close()


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.005)


def states(watched: Watched) -> list[tuple[int, JobState]]:
    return [(event.record.attempt, event.record.state) for event in watched.events]


def test_a_polled_job_is_followed_to_its_end():
    driver = Fake()
    driver.said["a"] = [Seen("a", S.RUNNING)]
    with watching(driver, "a") as (_, a):
        until(lambda: a.record.state is S.RUNNING)
        driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True, exit_code=0)]
        until(lambda: a.record.terminal)
    assert states(a) == [(1, S.SUBMITTED), (1, S.QUEUED), (1, S.RUNNING), (1, S.SUCCEEDED)]
    assert [event.inferred for event in a.events] == [True, True, False, False]


def test_a_failed_snapshot_changes_no_job_and_is_tried_again():
    driver = Fake()
    driver.failures = [TransportError("down") for _ in range(5)]
    driver.said["a"] = [Seen("a", S.FAILED, final=True, exit_code=3)]
    with watching(driver, "a") as (_, a):
        until(lambda: len(driver.calls.snapshots) >= 3)
        assert a.record.state is None
        until(lambda: a.record.terminal)
    assert a.record.exit_status == 3


def test_a_lasting_refusal_is_told_to_waiters_and_taken_back():
    driver = Fake()
    driver.failures = [AuthError("not allowed") for _ in range(12)]
    driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True)]
    with watching(driver, "a") as (_, a):
        until(lambda: isinstance(a.error(), AuthError))
        assert a.record.state is None
        until(lambda: a.record.terminal)
        assert a.error() is None


def test_a_job_that_nobody_knows_is_missing_not_lost():
    driver = Fake()
    driver.said["a"] = [Absent("a", 1.0)]
    with watching(driver, "a") as (_, a):
        until(lambda: a.settled)
    assert isinstance(a.error(), NoSuchJob)
    assert a.record.state is None


def test_a_stream_tells_and_a_snapshot_follows_its_first_batch():
    driver = Pushing()
    driver.said["a"] = [Seen("a", S.QUEUED)]
    with watching(driver, "a") as (_, a):
        until(lambda: a.record.state is S.QUEUED)
        assert driver.calls.snapshots[0] == ("a",)
        driver.stream.put(Batch((Seen("a", S.SUCCEEDED, final=True),), "7"))
        until(lambda: a.record.terminal)


def test_a_cut_stream_resumes_at_its_cursor_and_an_expired_one_begins_anew():
    driver = Pushing()
    with watching(driver, "a"):
        driver.stream.put(Batch((), "7"))
        driver.stream.put(None)
        until(lambda: len(driver.calls.watches) == 2)
        driver.stream.put(CursorExpired("too old"))
        until(lambda: len(driver.calls.watches) == 3)
    assert driver.calls.watches == [None, "7", None]


class Cut(Pushing):
    def watch(self, scope, cursor, known):
        self.calls.watches.append(cursor)
        raise TransportError("no")
        yield


def test_a_stream_that_never_gets_on_is_replaced_by_polling():
    driver = Cut()
    with watching(driver, "a") as (hub, a):
        (pump,) = hub._pumps.values()
        until(lambda: pump._again_at > time.monotonic())
        tried = len(driver.calls.watches)
        driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True)]
        until(lambda: a.record.terminal)
    assert tried >= hub_module.GIVE_UP
    assert len(driver.calls.watches) == tried


def test_an_engine_that_is_away_costs_no_stream():
    driver = Cut()
    driver.failures = [TransportError("away") for _ in range(1000)]
    with watching(driver, "a") as (hub, _):
        (pump,) = hub._pumps.values()
        until(lambda: len(driver.calls.watches) > 10 * hub_module.GIVE_UP)
        assert pump._again_at < time.monotonic()


def test_a_failing_snapshot_does_not_end_the_watch():
    driver = Pushing()
    driver.failures = [TransportError("no") for _ in range(50)]
    with watching(driver, "a") as (_, a):
        until(lambda: len(driver.calls.snapshots) >= 2)
        driver.stream.put(Batch((Seen("a", S.SUCCEEDED, final=True),), "1"))
        until(lambda: a.record.terminal)
    assert len(driver.calls.watches) == 1


def test_a_provisional_ending_settles_and_the_engine_is_told(monkeypatch):
    monkeypatch.setattr("batchbridge.states.SETTLE", 0.2)
    driver = Fake()
    driver.said["a"] = [Seen("a", S.FAILED, exit_code=4)]
    with watching(driver, "a") as (_, a):
        until(lambda: a.record.terminal)
        until(lambda: driver.calls.cancels)
    assert a.record.exit_status == 4
    assert driver.calls.reasons == ["EXIT_CODE"]


class Rerunning(Fake):
    capabilities = Capabilities()


def test_the_first_end_of_an_attempt_is_the_jobs_where_it_may_run_but_once():
    driver = Rerunning()
    with watching(driver, "a") as (_, a):
        a.ledger.police(a, Policy(once=True))
        driver.said["a"] = [Seen("a", S.FAILED, seq=(1,), again=True, cause=Cause.PREEMPTED)]
        until(lambda: a.record.terminal)
    assert driver.calls.cancels == [("a",)]
    assert (a.record.state, a.record.cause) == (S.FAILED, Cause.PREEMPTED)


def test_a_second_attempt_ends_a_job_that_may_run_but_once_though_no_end_was_told():
    driver = Rerunning()
    driver.said["a"] = [Seen("a", S.RUNNING, attempt=1)]
    with watching(driver, "a") as (_, a):
        a.ledger.police(a, Policy(once=True))
        until(lambda: a.record.state is S.RUNNING)
        driver.said["a"] = [Seen("a", S.RUNNING, attempt=2)]
        until(lambda: a.record.terminal)
    assert driver.calls.cancels == [("a",)]
    assert a.record.state is S.FAILED


class Releasing(Fake):
    def release(self, refs):
        self.calls.reasons.append(f"release {[ref.id for ref in refs]}")


def test_a_driver_learns_that_a_job_is_over():
    driver = Releasing()
    driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True)]
    with watching(driver, "a"):
        until(lambda: driver.calls.reasons == ["release ['a']"])


@pytest.mark.parametrize(
    ("policy", "said", "cause"),
    [
        (Policy(timeout=0.05), S.RUNNING, Cause.TIMEOUT),
        (Policy(queue_timeout=0.05), S.QUEUED, Cause.UNSCHEDULABLE),
        (Policy(queue_timeout=0.05), S.PENDING, Cause.UNSCHEDULABLE),
        (Policy(start_timeout=0.05), S.PENDING, Cause.START_ERROR),
    ],
)
def test_a_waiting_client_enforces_the_timeouts_that_the_engine_lacks(policy, said, cause):
    driver = Fake()
    driver.said["a"] = [Seen("a", said)]
    driver.cancel_failures = [TransportError("not now")]
    with watching(driver, "a") as (_, a):
        a.ledger.police(a, policy)
        until(lambda: a.record.terminal)
    status = 1 if cause is Cause.START_ERROR else 124
    assert (a.record.state, a.record.cause, a.record.exit_status) == (S.FAILED, cause, status)


def test_a_start_timeout_counts_from_the_place_and_not_from_the_submit():
    driver = Fake()
    driver.said["a"] = [Seen("a", S.QUEUED)]
    with watching(driver, "a") as (_, a):
        a.ledger.police(a, Policy(start_timeout=0.2, queue_timeout=60))
        until(lambda: a.record.state is S.QUEUED)
        queued = a.events[-1].observed_at
        until(lambda: time.time() - queued > 0.4)
        assert a.record.intent is None
        driver.said["a"] = [Seen("a", S.PENDING)]
        until(lambda: a.record.terminal)
        assert a.record.cause is Cause.START_ERROR


@pytest.mark.parametrize("explains", [True, False])
def test_what_did_not_start_in_time_is_told_in_the_engines_words(explains):
    class Explaining(Fake):
        def explain(self, ref):
            if not explains:
                raise TransportError("not now")
            return Explanation("no place: memory exhausted on 3 nodes")

    driver = Explaining()
    driver.cancelled = "stopped before it started"
    driver.said["a"] = [Seen("a", S.PENDING, message="pulling the image")]
    with watching(driver, "a") as (_, a):
        a.ledger.police(a, Policy(start_timeout=0.05))
        until(lambda: a.record.terminal)
    words = "no place: memory exhausted on 3 nodes" if explains else "pulling the image"
    assert a.record.message == words


def test_what_was_asked_of_the_engine_names_the_cause():
    driver = Fake()
    with watching(driver, "a") as (_, a):
        a.ledger.intend("a", Intent(Cause.CANCELLED, 1.0, message="enough"))
        driver.said["a"] = [Seen("a", S.CANCELLED, final=True)]
        until(lambda: a.record.terminal)
    assert (a.record.state, a.record.message) == (S.CANCELLED, "enough")


def test_callbacks_run_once_outside_the_lock_and_a_bad_one_stops_nothing(caplog):
    driver = Fake()
    called: list[str] = []
    with watching(driver, "a") as (_, a):
        a.callbacks.append(lambda: 1 / 0)
        a.callbacks.append(lambda: called.append(_locked_elsewhere(a)))
        driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True)]
        until(lambda: called)
    assert called == ["free"]
    assert "ZeroDivisionError" in caplog.text


def _locked_elsewhere(watched: Watched) -> str:
    answer: list[str] = []

    def take() -> None:
        with watched.ledger.changed:
            answer.append("free")

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(5)
    return "".join(answer)


def test_a_scope_has_one_thread_and_scopes_beyond_the_bound_share_one(monkeypatch):
    monkeypatch.setattr(hub_module, "STREAMS", 2)
    driver = Pushing()
    before = set(threading.enumerate())
    hub = Hub(driver)
    try:
        for number in range(6):
            scope = (str(number),)
            for job in range(100):
                hub.ledger(scope).follow(JobRef("fake", "p", scope, f"{number}-{job}"))
            hub.pump(scope)
        assert len(set(threading.enumerate()) - before) == 3
    finally:
        hub.close()


def test_a_thread_ends_when_nobody_waits_and_comes_back_for_the_next_job(monkeypatch):
    monkeypatch.setattr(hub_module, "LINGER", 0.05)
    driver = Fake()
    driver.said = {job_id: [Seen(job_id, S.SUCCEEDED, final=True)] for job_id in "ab"}
    with watching(driver, "a") as (hub, a):
        until(lambda: a.record.terminal)
        until(lambda: not hub._pumps)
        b = hub.ledger(()).follow(JobRef("fake", "p", (), "b"))
        hub.pump(())
        until(lambda: b.record.terminal)


def test_a_limit_on_the_wait_says_nothing_of_a_job_that_has_run():
    driver = Fake()
    driver.said["a"] = [Seen("a", S.RUNNING, attempt=1)]
    with watching(driver, "a") as (_, a):
        until(lambda: a.record.state is S.RUNNING)
        a.ledger.police(a, Policy(queue_timeout=0.05))
        driver.said["a"] = [Seen("a", S.QUEUED, attempt=2)]
        until(lambda: a.record.attempt == 2)
        looks = len(driver.calls.snapshots)
        until(lambda: len(driver.calls.snapshots) > looks + 5)
    assert driver.calls.cancels == []


def test_what_cannot_be_ended_does_not_keep_us_from_looking(caplog):
    driver = Fake()
    driver.cancel_failures = [AuthError("you may not") for _ in range(10_000)]
    driver.said = {"a": [Seen("a", S.RUNNING)], "b": [Seen("b", S.RUNNING)]}
    with watching(driver, "a", "b") as (_, a, b):
        a.ledger.police(a, Policy(timeout=0.01))
        until(lambda: "does not hear" in caplog.text)
        driver.said["b"] = [Seen("b", S.SUCCEEDED, final=True, exit_code=0)]
        until(lambda: b.record.terminal)
        assert b.error() is None
        assert not a.record.terminal
        driver.cancel_failures.clear()
        until(lambda: driver.calls.cancels == [("a",)])


def test_an_intent_that_stands_does_not_let_a_job_run_again():
    driver = Fake()
    driver.said["a"] = [Seen("a", S.RUNNING)]
    with watching(driver, "a") as (_, a):
        a.ledger.police(a, Policy(once=True))
        until(lambda: a.record.state is S.RUNNING)
        a.ledger.intend("a", Intent(Cause.CANCELLED, time.time()))
        a.ledger.observe([Seen("a", S.FAILED, exit_code=3, seq=(5,), again=True)])
        until(lambda: driver.calls.cancels == [("a",)])


class Holding(Fake):
    """Lets go of what its jobs held; once there is a `gate`, only when that opens."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.let_go: list[str] = []
        self.refusals: list[Exception] = []

    def release(self, refs):
        self.begun.set()
        if self.refusals:
            raise self.refusals.pop(0)
        assert self.gate.wait(20)
        self.let_go += [ref.id for ref in refs]


def test_a_release_that_fails_is_asked_for_again():
    driver = Holding()
    driver.gate.set()
    driver.refusals = [TransportError("down") for _ in range(3)]
    driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True)]
    with watching(driver, "a"):
        until(lambda: driver.let_go == ["a"])


def test_whoever_closes_waits_for_a_release_that_is_under_way():
    driver = Holding()
    driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True)]
    with watching(driver, "a"):
        assert driver.begun.wait(20)
        threading.Timer(0.1, driver.gate.set).start()
    assert driver.let_go == ["a"]


def test_waiting_after_the_close_is_refused():
    with watching(Fake()) as (hub, *_):
        pass
    with pytest.raises(UsageError, match="closed"):
        hub.pump(())
