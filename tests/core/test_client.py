from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from batchbridge import aio, registry, submit
from batchbridge.client import Client
from batchbridge.driver import Capabilities
from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    ConfigError,
    JobFailed,
    NoSuchJob,
    OutcomeUnknown,
    Rejected,
    SpecError,
    TransportError,
    Unsupported,
    WaitTimeout,
)
from batchbridge.jobs import Job, as_completed, cancel, describe
from batchbridge.journal import Journal
from batchbridge.model import (
    Absent,
    Cause,
    JobRef,
    JobSpec,
    JobState,
    Listed,
    LogPage,
    Receipt,
    Seen,
)
from batchbridge.states import Record
from batchbridge.submit import user_name

from .fakes import Fake

S = JobState
FULL = Capabilities(
    idempotency="exact", no_reruns=True, cpu="enforced", labels=True, list="all", gang=True
)


class Engine(Fake):
    """Ends every job at once, as its command says: ``["exit", "3"]``."""

    capabilities = FULL

    def submit(self, submissions):
        self.calls.submits.append(tuple(s.key for s in submissions))
        for submission in submissions:
            if self.submit_failures:
                raise self.submit_failures.pop(0)
            yield self.accept(submission)

    def accept(self, submission):
        verb, *rest = submission.spec.command
        if verb == "refuse":
            return Receipt(submission.key, error=Rejected("no such thing"))
        self.said[submission.key] = list(self.history(submission.key, verb, rest))
        return Receipt(submission.key, id=submission.key, created=True)

    def history(self, key, verb, rest):
        if verb == "exit":
            code = int(rest[0])
            state = S.FAILED if code else S.SUCCEEDED
            yield Seen(key, state, final=True, exit_code=code)
        else:
            yield Seen(key, S.RUNNING)

    def list(self, job_set, user):
        for key, said in self.said.items():
            yield Listed((), f"name of {key}", "set", "me", said[-1], submitted_at=5.0)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHBRIDGE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(submit, "delays", lambda: iter([0.0] * 100))
    monkeypatch.setattr("batchbridge.backoff.delays", lambda: iter([0.0] * 10_000))
    monkeypatch.setattr("batchbridge.ledger.POLL", (0.02, 0.1))


@pytest.fixture
def client(config):
    with registry.registered(Engine), Client("fake") as client:
        yield client


def test_a_job_is_submitted_waited_for_and_its_end_is_told(client):
    job = client.submit(["exit", "0"], name="first", job_set="mine", cpu=2)
    record = job.wait(20)
    assert record.terminal
    assert job.done()
    assert (job.name, job.job_set, str(job.ref)) == ("first", "mine", f"fake://fake/{job.ref.id}")
    assert [event.record.state for event in job.events()][-1] is S.SUCCEEDED
    assert job.to_json()["state"] == "SUCCEEDED"
    assert job.result() == record


def test_a_failure_says_cause_exit_code_and_the_end_of_the_log(client):
    client.driver.pages = [LogPage(b"boom\n", "5", eof=True), LogPage(b"", "0", eof=True)]
    with pytest.raises(JobFailed, match="exit code 3") as failure:
        client.submit(["exit", "3"]).result(20)
    assert failure.value.exit_code == 3
    assert failure.value.log_tail == "boom\n"


def test_the_end_of_a_log_is_bounded_however_long_its_lines_are(client):
    pages = [LogPage(b"x" * 1_000_000, str(number)) for number in range(3)]
    client.driver.pages = [*pages, LogPage(b"end\n", "4", eof=True), LogPage(b"", "0", eof=True)]
    with pytest.raises(JobFailed) as failure:
        client.submit(["exit", "3"]).result(20)
    assert failure.value.log_tail.endswith("xend\n")
    assert len(failure.value.log_tail) <= 100_000


def test_a_failure_does_not_wait_for_a_log_that_never_ends(client, monkeypatch):
    monkeypatch.setattr("batchbridge.jobs.PATIENCE", 0.0)
    client.driver.pages = [LogPage(b"boom\n", "5"), *[LogPage(b"", "5")] * 100]
    with pytest.raises(JobFailed) as failure:
        client.submit(["exit", "3"]).result(20)
    assert failure.value.log_tail == "boom\n"
    assert client.driver.pages


def test_a_reason_that_reads_as_a_cause_is_told_as_words(client):
    for reason in ("TIMEOUT", "enough"):
        client.submit(["run"]).cancel(reason=reason)
    assert client.driver.calls.reasons == [f"cancelled by {user_name()}: TIMEOUT", "enough"]


def test_a_refused_one_among_many_is_raised_by_whoever_awaits_them(client):
    outcomes = client.submit_many([{"command": ["exit", "0"]}, {"command": ["true"], "cpu": -1}])
    with pytest.raises(SpecError, match="cpu"):
        list(as_completed(outcomes))

    async def main() -> None:
        with pytest.raises(SpecError, match="cpu"):
            _ = [job async for job in aio.as_completed(outcomes)]

    asyncio.run(main())


def test_a_wait_that_is_over_leaves_the_job_alone(client):
    job = client.submit(["run"])
    with pytest.raises(WaitTimeout, match=r"after 0\.1 s"):
        job.wait(0.1)
    with pytest.raises(TimeoutError):
        list(as_completed([job], timeout=0.1))
    assert client.driver.calls.cancels == []


def test_the_end_of_the_block_detaches_and_never_cancels(config):
    with registry.registered(Engine):
        with Client("fake") as client:
            client.submit(["run"])
        assert client.driver.calls.cancels == []


def test_cancelling_is_one_call_and_is_observed(client):
    jobs = [client.submit(["run"]) for _ in range(3)]
    done = client.submit(["exit", "0"])
    done.wait(20)
    cancel([*jobs, done], reason="enough")
    assert client.driver.calls.cancels == [tuple(job.ref.id for job in jobs)]
    assert {job.wait(20).state for job in jobs} == {S.CANCELLED}
    assert jobs[0].record.message == "enough"


def test_refused_jobs_do_not_stop_the_others(client):
    told: list[int] = []
    outcomes = client.submit_many(
        [
            JobSpec(command=("exit", "0")),
            {"command": ["refuse"]},
            {"command": ["exit", "0"], "memory": "4G"},
            {"command": []},
            {"command": ["exit", "0"]},
        ],
        on_each=lambda index, _: told.append(index),
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Job, Rejected, Unsupported, SpecError, Job]
    assert sorted(told) == [0, 1, 2, 3, 4]


def test_a_lost_answer_is_asked_for_again_where_a_key_is_one_job(client):
    client.driver.submit_failures = [TransportError("cut"), TransportError("cut")]
    job = client.submit(["exit", "0"], key="mine")
    assert client.driver.calls.submits == [("mine",)] * 3
    assert job.wait(20).terminal


class Forgetful(Engine):
    capabilities = Capabilities(no_reruns=True)


def test_a_lost_answer_is_an_unknown_outcome_elsewhere_and_the_journal_knows(config):
    with registry.registered(Forgetful), Client("fake") as client:
        client.driver.submit_failures = [TransportError("cut")]
        with pytest.raises(OutcomeUnknown, match="mine"):
            client.submit(["exit", "0"], key="mine")
        assert client.driver.calls.submits == [("mine",)]
    (entry,) = Journal().entries()
    assert entry.unknown


def test_a_refused_call_is_no_unknown_outcome(client):
    client.driver.submit_failures = [AuthError("who are you")]
    with pytest.raises(AuthError):
        client.submit(["exit", "0"])
    (entry,) = Journal().entries()
    assert entry.error == "who are you"


def test_what_the_engine_lacks_is_refused_before_it_is_asked(client):
    for field, value in {"memory": 1, "image": "x", "secrets": {"A": "env:HOME"}}.items():
        with pytest.raises(Unsupported) as refused:
            client.submit(["exit", "0"], **{field: value})
        assert refused.value.path == field
    with pytest.raises(Unsupported, match="timeout of its own"):
        client.submit(["exit", "0"], timeout="1h", detach=True)
    assert client.driver.calls.submits == []


def test_a_waiting_client_ends_what_runs_too_long(client):
    job = client.submit(["run"], timeout=0.05)
    assert job.wait(20).exit_status == 124
    assert job.record.cause is Cause.TIMEOUT


def test_a_gang_ends_with_its_first_failure(client):
    gang = client.submit_many([{"command": ["run"]}, {"command": ["exit", "3"]}], gang=True)
    assert [job.wait(20).state for job in gang] == [S.CANCELLED, S.FAILED]


def test_a_gang_with_a_refused_member_is_cancelled(client):
    job, error = client.submit_many([{"command": ["run"]}, {"command": ["refuse"]}], gang=True)
    assert isinstance(error, Rejected)
    assert job.wait(20).state is S.CANCELLED


def test_a_gang_with_a_member_that_cannot_be_is_not_submitted_at_all(client):
    refused = client.submit_many([{"command": ["run"]}, {"command": []}], gang=True)
    assert [type(error) for error in refused] == [SpecError, SpecError]
    assert client.driver.calls.submits == []


def test_keys_are_as_many_as_jobs_and_all_different(client):
    for keys in (["a"], ["a", "a"]):
        with pytest.raises(SpecError, match="keys"):
            client.submit_many([{"command": ["run"]}] * 2, keys=keys)


def test_a_reference_is_all_it_takes(client):
    ref = str(client.submit(["exit", "0"]).ref)
    assert client.attach(ref).wait(20).terminal
    with pytest.raises(ConfigError, match="nowhere"):
        client.attach("fake://nowhere/abc")
    client.driver.said["gone"] = [Absent("gone", 1.0)]
    with pytest.raises(NoSuchJob):
        client.attach("fake://fake/gone").wait(20)


def test_the_engine_lists_what_it_knows(client):
    client.driver.said["a"] = [Seen("a", S.SUCCEEDED, final=True)]
    (job,) = client.list()
    assert (job.name, job.record.state, job.record.submitted_at) == ("name of a", S.SUCCEEDED, 5.0)


def test_thousands_at_once_complete_through_one_thread(client):
    before = threading.active_count()
    jobs = client.submit_many([{"command": ["exit", "0"]}] * 2000)
    assert all(isinstance(job, Job) for job in jobs)
    assert len(list(as_completed(jobs, timeout=60))) == 2000
    assert threading.active_count() <= before + 1


def test_one_client_serves_several_threads(client):
    ended: list[S] = []

    def work() -> None:
        ended.append(client.submit(["exit", "0"]).wait(30).state)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [S.SUCCEEDED] * 8


def test_callbacks_come_once_and_at_once_for_what_is_over(client):
    told: list[Job] = []
    job = client.submit(["exit", "0"])
    job.wait(20)
    job.add_done_callback(told.append)
    assert told == [job]


def test_an_engine_that_refuses_is_told_to_whoever_waits(client):
    job = client.submit(["run"])
    client.driver.failures = [AuthError("expired") for _ in range(50)]
    with pytest.raises(AuthError):
        job.wait(20)
    with pytest.raises(BatchBridgeError):
        job.refresh()
    assert job.record.state is S.SUBMITTED


def test_from_asyncio_the_same_jobs_are_awaited(client):
    async def main() -> list[S]:
        job = await aio.call(client.submit, ["exit", "0"])
        others = [await aio.call(client.submit, ["exit", "3"]) for _ in range(3)]
        events = [event.record.state async for event in aio.iterate(job.events())]
        ended = [done.record.state async for done in aio.as_completed([job, *others])]
        with pytest.raises(WaitTimeout):
            await aio.wait(client.submit(["run"]), timeout=0.1)
        return [events[-1], *sorted(ended)]

    assert asyncio.run(main()) == [S.SUCCEEDED, *[S.FAILED] * 3, S.SUCCEEDED]


def test_a_job_that_ends_after_its_loop_was_closed_troubles_nobody(client, caplog):
    job, told = client.submit(["run"]), threading.Event()
    with pytest.raises(WaitTimeout):
        asyncio.run(aio.wait(job, timeout=0.1))
    job.add_done_callback(lambda _: told.set())
    client.driver.said[job.ref.id].append(Seen(job.ref.id, S.SUCCEEDED, final=True, exit_code=0))
    assert told.wait(20)
    assert caplog.text == ""


@pytest.mark.parametrize("earlier", [[], [TransportError("reset")]])
def test_a_job_that_was_never_sent_is_not_in_doubt_unless_it_was_before(client, earlier):
    unsent = [TransportError("nobody listens", remedy="start it", sent=False)] * 10
    client.driver.submit_failures = [*earlier, *unsent]
    with pytest.raises(OutcomeUnknown if earlier else TransportError) as failure:
        client.submit(["exit", "0"])
    assert "nobody listens" in str(failure.value)
    assert failure.value.remedy.startswith("start it")


def test_of_several_one_that_was_never_sent_says_nothing_of_the_others(client):
    client.driver.submit_failures = [TransportError("nobody listens", sent=False)] * 10
    outcomes = client.submit_many([{"command": ["exit", "0"]}] * 2)
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)


# -- what few engines can do -----------------------------------------------------------------


class Obliging(Engine):
    capabilities = replace(FULL, purge=True, cancel_set=True, preempt=True, reprioritise=True)

    def __init__(self, settings=None):
        super().__init__(settings)
        self.asked = []

    def scope_of(self, submission):
        return ("queue", submission.job_set)

    def purge(self, refs):
        self.asked.append(("purge", [ref.id for ref in refs]))

    def cancel_set(self, scope, *, job_set, reason):
        self.asked.append(("cancel_set", scope, job_set, reason))

    def preempt(self, refs, *, reason):
        self.asked.append(("preempt", [ref.id for ref in refs], reason))

    def reprioritise(self, refs, priority):
        self.asked.append(("reprioritise", [ref.id for ref in refs], priority))


@pytest.fixture
def obliging(config):
    with registry.registered(Obliging), Client("fake") as client:
        yield client


def test_only_jobs_that_are_over_are_purged(obliging):
    over, going = obliging.submit(["exit", "0"]), obliging.submit(["stay"])
    over.wait(20)
    with pytest.raises(SpecError, match="is not over"):
        obliging.purge([over, going])
    obliging.purge([over])
    assert obliging.driver.asked == [("purge", [over.ref.id])]


@pytest.mark.parametrize(
    ("ended", "pause"),
    [(1000.0, 3.0), (999.0, 2.0), (900.0, 0.0), (1060.0, 3.0), (None, 3.0)],
    ids=["now", "a moment ago", "long ago", "by a clock that is fast", "unknown"],
)
def test_what_has_just_ended_is_not_purged_before_others_have_heard_of_it(
    obliging, monkeypatch, ended, pause
):
    engine, slept = obliging.engine, []
    job = engine.job(engine.ref((), "x"))
    job._watched.record = Record("x", S.SUCCEEDED, 1, terminal=True, finished_at=ended)
    clock = SimpleNamespace(time=lambda: 1000.0, sleep=slept.append)
    monkeypatch.setattr("batchbridge.client.time", clock)
    obliging.purge([job])
    assert slept == [pause]
    assert obliging.driver.asked == [("purge", ["x"])]


def test_a_job_set_is_cancelled_in_the_scope_of_its_jobs(obliging):
    obliging.cancel_set("night", reason="enough")
    assert obliging.driver.asked == [("cancel_set", ("queue", "night"), "night", "enough")]


def test_jobs_are_preempted_and_given_another_priority(obliging):
    job = obliging.submit(["stay"])
    obliging.preempt([job], reason="room")
    obliging.reprioritise([job], 7.0)
    id = job.ref.id
    assert obliging.driver.asked == [("preempt", [id], "room"), ("reprioritise", [id], 7.0)]


def test_what_an_engine_does_not_declare_is_refused_before_it_is_asked(client):
    job = client.submit(["exit", "0"])
    job.wait(20)
    for ask in (
        lambda: client.purge([job]),
        lambda: client.preempt([job]),
        lambda: client.reprioritise([job], 1.0),
        lambda: client.cancel_set("night"),
        lambda: client.render({"command": ["exit", "0"]}),
    ):
        with pytest.raises(Unsupported, match="fake has no "):
            ask()


def test_an_engine_that_lists_one_set_is_not_asked_for_all(config):
    class OfOneSet(Engine):
        capabilities = replace(FULL, list="job_set")

    with registry.registered(OfOneSet), Client("fake") as client:
        client.submit(["exit", "0"]).wait(20)
        assert len(client.list("set")) == 1
        with pytest.raises(Unsupported, match="no jobs but those of a job set"):
            client.list()


def test_the_notes_of_a_submit_stay_with_the_job(config):
    class Noting(Engine):
        def accept(self, submission):
            return replace(super().accept(submission), notes=("the template's cpu gives way",))

    with registry.registered(Noting), Client("fake") as client:
        assert client.submit(["exit", "0"]).notes == ("the template's cpu gives way",)


def test_secrets_that_are_seen_by_others_are_let_through_to_the_driver(config, monkeypatch):
    class Plain(Engine):
        capabilities = replace(FULL, plain_secrets=True)

    monkeypatch.setenv("TOKEN", "x")
    with registry.registered(Plain), Client("fake") as client:
        client.submit(["exit", "0"], secrets={"TOKEN": "env:TOKEN"})


def test_more_than_a_slice_of_jobs_come_back_in_order_with_those_refused(client, monkeypatch):
    monkeypatch.setattr("batchbridge.client.FIRST", 3)
    monkeypatch.setattr("batchbridge.client.SLICE", 7)
    told = []
    specs = [{"command": ["refuse" if n % 5 == 3 else "exit", str(n % 3)]} for n in range(40)]
    specs[12] = {"command": []}
    keys = [f"k{n}" for n in range(40)]
    outcomes = client.submit_many(specs, keys=keys, on_each=lambda n, outcome: told.append(n))
    assert sorted(told) == list(range(40))
    for n, outcome in enumerate(outcomes):
        if n == 12:
            assert isinstance(outcome, SpecError)
        elif n % 5 == 3:
            assert isinstance(outcome, Rejected)
        else:
            assert outcome.ref.id == f"k{n}"
            assert outcome.wait(20).exit_code == n % 3
    assert sorted(len(call) for call in client.driver.calls.submits)[-2:] == [7, 7]


def test_later_jobs_are_prepared_while_the_first_are_on_their_way_and_not_before(
    config, monkeypatch
):
    monkeypatch.setattr("batchbridge.client.FIRST", 3)

    class Slow(Engine):
        """Its first call notes what was prepared before it, and goes on once there is a second."""

        prepared, second = None, threading.Event()

        def submit(self, submissions):
            if self.calls.submits:
                self.second.set()
            else:
                self.prepared = len(Journal().entries())
            for n, receipt in enumerate(super().submit(submissions)):
                yield receipt
                assert n or self.second.wait(20), "nothing else is handed over"

    with registry.registered(Slow), Client("fake") as client:
        jobs = client.submit_many([{"command": ["exit", "0"]}] * 10)
        assert all(job.wait(20).exit_code == 0 for job in jobs)
        assert client.driver.prepared == 3
        assert [len(call) for call in client.driver.calls.submits] == [3, 7]


def test_a_key_whose_job_was_purged_is_a_new_job(client):
    first = client.submit(["exit", "0"], key="k")
    assert first.wait(20).exit_code == 0
    second = client.submit(["exit", "3"], key="k")
    assert second.wait(20).exit_code == 3
    assert first.record.exit_code == 0


def test_a_job_that_was_not_there_can_be_submitted(client):
    unknown = client.attach("fake://fake/k")
    client.driver.said["k"] = [Absent("k", 1.0)]
    with pytest.raises(NoSuchJob):
        unknown.refresh()
    assert client.submit(["exit", "0"], key="k").wait(20).exit_code == 0


def test_a_refused_job_among_the_first_harms_no_other(client, monkeypatch):
    monkeypatch.setattr("batchbridge.client.FIRST", 3)
    checked = submit.checked

    def slowly(*words):
        time.sleep(0.002)
        return checked(*words)

    monkeypatch.setattr(submit, "checked", slowly)
    specs = [{"command": []}, *[{"command": ["exit", "0"]}] * 40]
    refused, *jobs = client.submit_many(specs)
    assert isinstance(refused, SpecError)
    assert all(isinstance(job, Job) for job in jobs)


@pytest.mark.parametrize("amount", [3, 200])
def test_nothing_more_is_submitted_once_on_each_has_raised(client, amount):
    def refuse(index, outcome):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        client.submit_many([{"command": ["exit", "0"]}] * amount, on_each=refuse)
    accepted = len(client.driver.said)
    time.sleep(0.1)
    assert len(client.driver.said) == accepted < 200


def test_what_has_no_scope_is_refused_alone(config):
    class Particular(Engine):
        def scope_of(self, submission):
            if submission.spec.command[1] == "7":
                raise SpecError("it needs a queue", path="options.queue")
            return super().scope_of(submission)

    with registry.registered(Particular), Client("fake") as client:
        specs = [{"command": ["exit", str(n)]} for n in (0, 7, 1)]
        first, refused, last = client.submit_many(specs)
        assert isinstance(refused, SpecError)
        assert [job.wait(20).exit_code for job in (first, last)] == [0, 1]


def test_an_empty_key_is_refused(client):
    with pytest.raises(SpecError, match="key is empty"):
        client.submit(["exit", "0"], key="")


@pytest.mark.parametrize(
    ("refusal", "state", "stands"),
    [
        (AuthError("you may not"), S.LOST, False),
        (TransportError("cut off", sent=True), S.CANCELLED, True),
    ],
)
def test_a_cancel_that_was_surely_not_heard_explains_no_end(client, refusal, state, stands):
    job = client.submit(["sleep"])
    job.refresh()
    client.driver.cancel_failures = [refusal]
    with pytest.raises(type(refusal)):
        job.cancel()
    assert (job.record.intent is not None) is stands
    job._watched.ledger.observe([Absent(job.ref.id, at) for at in (0.0, 31.0, 62.0)])
    assert job.record.state is state


def test_many_threads_have_one_engine(config):
    with registry.registered(Engine), Client("fake") as client:
        ready, found = threading.Barrier(8), []

        def ask():
            ready.wait(20)
            found.append(client.engine)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1


def test_what_is_only_listed_is_not_let_go(config):
    class Holding(Engine):
        def release(self, refs):
            raise AssertionError("nobody asked for it")

    with registry.registered(Holding), Client("fake") as client:
        client.driver.said["old"] = [Seen("old", S.SUCCEEDED, final=True)]
        assert [job.record.state for job in client.list()] == [S.SUCCEEDED]
        ledger = client.list()[0]._watched.ledger
        assert not ledger.busy


def test_a_reason_that_is_no_text_is_refused_before_anything_is_asked(client):
    job = client.submit(["sleep"])
    with pytest.raises(SpecError, match="reason holds what is not UTF-8"):
        job.cancel(reason="\udcff")
    assert client.driver.calls.cancels == []
    assert job.record.intent is None


def test_a_priority_is_a_number(client):
    with pytest.raises(SpecError, match="priority nan"):
        client.reprioritise([client.submit(["sleep"])], float("nan"))


def test_a_cancelled_job_is_not_called_so_twice():
    ref = JobRef("fake", "p", (), "a")
    ended = Record("a", state=S.CANCELLED, cause=Cause.CANCELLED, message="by me")
    assert describe(ref, ended) == f"{ref} CANCELLED: by me"
    late = Record("a", state=S.FAILED, cause=Cause.TIMEOUT)
    assert describe(ref, late) == f"{ref} FAILED: TIMEOUT"
