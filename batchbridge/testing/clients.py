"""The driver under the real client: submit, wait, result, logs, cancel, reattach, and faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from batchbridge import ledger
from batchbridge.client import Client
from batchbridge.errors import JobFailed, NoSuchJob, WaitTimeout
from batchbridge.jobs import Job, as_completed
from batchbridge.model import Cause, JobRef, JobState, Stream
from batchbridge.states import ORDER
from batchbridge.testing.faults import Fault, Faulty
from batchbridge.testing.needs import needs
from batchbridge.testing.probes import Command, Probes
from batchbridge.testing.rig import TIDYING, Driver, poll

TEXT = "naïve café ☕ 😀\n".encode() * 20

T = TypeVar("T")
Open = Callable[..., "Session"]


def within(patience: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises; the test fails when it takes longer."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(patience)


class Session:
    """A client around the driver, or around the driver with faults, and what it submitted."""

    def __init__(self, driver: Driver, fields: Mapping[str, Any], patience: float) -> None:
        self.driver = driver
        self.client = Client(driver=driver, journal=False)
        self.fields = {"job_set": f"kit-{uuid4().hex}", **fields}
        self.patience = patience
        self.jobs: list[Job] = []

    def submit(self, command: Command, **fields: Any) -> Job:
        """Submit one job that must be accepted."""
        self.jobs.append(self.client.submit(list(command), **{**self.fields, **fields}))
        return self.jobs[-1]

    def log(self, job: Job, stream: Stream = "stdout") -> bytes:
        """All that it writes, to its end."""
        return within(
            self.patience, lambda: b"".join(chunk.data for chunk in job.logs(streams=(stream,)))
        )

    def running(self, job: Job) -> None:
        """Wait until its command runs."""
        for _ in poll(self.patience):
            with suppress(WaitTimeout):
                job.wait(0.05)
            if job.record.state is JobState.RUNNING:
                return
        pytest.fail(f"the job is {job.record.state} after {self.patience:g} s, not RUNNING")

    def close(self) -> None:
        """Leave nothing running."""
        going = [job for job in self.jobs if not job.done()]
        self.client.cancel(going, reason=TIDYING)
        self.client.close()


class ThroughClient:
    """What a user does, on this driver."""

    @pytest.fixture
    def pace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The core's minutes are seconds here, so that a gap in a stream is filled soon."""
        monkeypatch.setattr(ledger, "FULL", 0.5)
        monkeypatch.setattr(ledger, "POLL", (0.1, 0.5))
        monkeypatch.setattr(ledger, "FRESH", 0.1)

    @pytest.fixture
    def session(
        self, driver: Driver, job_fields: Mapping[str, Any], patience: float, pace: None
    ) -> Iterator[Open]:
        """Opens clients around the driver, with or without faults."""
        opened: list[Session] = []

        def open_session(*faults: Fault) -> Session:
            around = Faulty(driver, *faults) if faults else driver
            opened.append(Session(around, job_fields, patience))
            return opened[-1]

        yield open_session
        for one in opened:
            one.close()

    def test_client_success(self, session: Open, probes: Probes) -> None:
        """Submit, wait, result; the events tell a whole life, the log is whole."""
        user = session()
        job = user.submit(probes.says(TEXT))
        record = job.result(user.patience)
        assert (record.state, record.exit_status) == (JobState.SUCCEEDED, 0)
        _tells_a_life(job)
        assert user.log(job) == TEXT

    def test_client_failure(self, session: Open, probes: Probes) -> None:
        """A job that fails raises with its exit code and the end of its log."""
        user = session()
        with pytest.raises(JobFailed) as caught:
            user.submit((*probes.exits(3),)).result(user.patience)
        assert caught.value.exit_code == 3

    def test_client_follows_the_log(self, session: Open, probes: Probes, moment: float) -> None:
        """A log that is followed from before the start comes whole, and ends with the job."""
        user = session()
        job = user.submit(probes.says(TEXT, after=moment))
        assert user.log(job) == TEXT
        assert job.wait(user.patience).state is JobState.SUCCEEDED

    def test_client_cancel(self, session: Open, probes: Probes) -> None:
        """A job that is cancelled while somebody waits for it is CANCELLED."""
        user = session()
        job = user.submit(probes.sleeps(600))
        user.running(job)
        job.cancel(reason="the kit asked")
        record = job.wait(user.patience)
        assert (record.state, record.cause) == (JobState.CANCELLED, Cause.CANCELLED)

    def test_client_detaches_and_attaches(
        self, session: Open, probes: Probes, moment: float
    ) -> None:
        """The end of a client cancels nothing, and a reference is all that another needs."""
        first, second = session(), session()
        ref = str(first.submit(probes.says(TEXT, after=moment)).ref)
        first.jobs.clear()
        first.client.close()
        job = second.client.attach(ref)
        assert job.wait(second.patience).state is JobState.SUCCEEDED
        assert second.log(job) == TEXT

    def test_client_many(self, session: Open, probes: Probes) -> None:
        """Many jobs at once, each with its own end."""
        user = session()
        jobs = {user.submit(probes.exits(code)): code for code in range(10)}
        ended = {job: job.record.exit_code for job in as_completed(jobs, user.patience)}
        assert {job: code or 0 for job, code in ended.items()} == jobs

    @needs("absence")
    def test_client_unknown_job(self, session: Open, probes: Probes, unknown_id: str) -> None:
        """A reference of a job that never was is NoSuchJob, not LOST."""
        user = session()
        known = user.submit(probes.exits(0)).ref
        unknown = user.client.attach(JobRef(known.backend, known.profile, known.scope, unknown_id))
        with pytest.raises(NoSuchJob):
            unknown.wait(user.patience)


class UnderFaults:
    """The same jobs, whatever goes wrong on the way: right ends, nothing doubled, exact logs."""

    def _holds(self, user: Session, probes: Probes, fault: Fault) -> None:
        """All is well with the jobs, also of those during which the fault has struck."""
        assert isinstance(user.driver, Faulty)
        for _ in poll(user.patience):
            self._three_jobs(user, probes)
            if user.driver.struck[fault]:
                return
        pytest.fail(f"it never happened that {fault}")

    def _three_jobs(self, user: Session, probes: Probes) -> None:
        """Three jobs, one of them cancelled, and what must be true of them."""
        talks = user.submit(probes.says(TEXT, after=0.2))
        fails = user.submit(probes.exits(3))
        hangs = user.submit(probes.sleeps(600))
        user.running(hangs)
        hangs.cancel(reason="the kit asked")
        ends = [job.wait(user.patience) for job in (talks, fails, hangs)]
        assert [end.state for end in ends] == [
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
        ]
        assert [end.exit_status for end in ends][:2] == [0, 3]
        assert user.log(talks) == TEXT
        for job in (talks, fails, hangs):
            _tells_a_life(job)
        assert len({job.ref for job in (talks, fails, hangs)}) == 3
        _none_doubled(user)

    @needs("idempotency")
    def test_lost_acknowledgement(self, session: Open, probes: Probes) -> None:
        """Jobs that were accepted without our hearing of it are not doubled."""
        self._holds(session(Fault.LOST_ACKNOWLEDGEMENT), probes, Fault.LOST_ACKNOWLEDGEMENT)

    @needs("push")
    def test_cut_stream(self, session: Open, probes: Probes) -> None:
        """A stream that breaks is resumed, and nothing is missed."""
        self._holds(session(Fault.CUT_STREAM), probes, Fault.CUT_STREAM)

    @needs("push")
    def test_expired_cursor(self, session: Open, probes: Probes) -> None:
        """A cursor that leads nowhere: the watch begins anew, and a snapshot fills the gap."""
        self._holds(session(Fault.EXPIRED_CURSOR), probes, Fault.EXPIRED_CURSOR)

    @needs("push")
    def test_silence(self, session: Open, probes: Probes) -> None:
        """A stream that says nothing is no reason to know nothing: snapshots tell."""
        self._holds(session(Fault.SILENCE), probes, Fault.SILENCE)

    def test_duplicates(self, session: Open, probes: Probes) -> None:
        """What is told again, and again later, happens once."""
        self._holds(session(Fault.DUPLICATES), probes, Fault.DUPLICATES)

    def test_reordering(self, session: Open, probes: Probes) -> None:
        """What is told backwards ends the same."""
        self._holds(session(Fault.REORDERING), probes, Fault.REORDERING)

    def test_split_characters(self, session: Open, probes: Probes) -> None:
        """Pages that end inside characters, and cursors inside pages, lose no byte."""
        self._holds(session(Fault.SPLIT_CHARACTERS), probes, Fault.SPLIT_CHARACTERS)

    def test_double_cancel(self, session: Open, probes: Probes) -> None:
        """A cancel that arrives twice is one."""
        self._holds(session(Fault.DOUBLE_CANCEL), probes, Fault.DOUBLE_CANCEL)

    def test_failing_snapshot(self, session: Open, probes: Probes) -> None:
        """A snapshot that fails changes no job."""
        self._holds(session(Fault.FAILING_SNAPSHOT), probes, Fault.FAILING_SNAPSHOT)

    def test_everything_at_once(self, session: Open, probes: Probes) -> None:
        """All of it together, as far as it does not make the engine mute."""
        faults = set(Fault) - {Fault.SILENCE, Fault.LOST_ACKNOWLEDGEMENT}
        self._holds(session(*faults), probes, Fault.DUPLICATES)


def _tells_a_life(job: Job) -> None:
    """The events go from SUBMITTED to one terminal record; no state is told twice."""
    events = list(job.events())
    steps = [(e.record.attempt, ORDER[e.record.state]) for e in events if e.record.state]
    assert steps == sorted(steps)
    assert events[0].record.state is JobState.SUBMITTED
    assert [event.record.terminal for event in events] == [False] * (len(events) - 1) + [True]
    states = [(event.record.attempt, event.record.state) for event in events[:-1]]
    assert len(states) == len(set(states))


def _none_doubled(user: Session) -> None:
    """The engine holds the jobs that were submitted, and no other of that set."""
    if user.driver.capabilities.list != "absent":
        held = [listed.seen.id for listed in user.driver.list(user.fields["job_set"], None)]
        assert sorted(held) == sorted(job.ref.id for job in user.jobs)
