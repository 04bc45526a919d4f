"""The pure parts: records, the queue, retention, translation; and the log of changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbridge.model import Cause, JobSpec, JobState, Submission
from batchbridge_local import health, jobspec, processes, retention, translate
from batchbridge_local.changes import Tail
from batchbridge_local.records import RESERVE, Claim, Corrupt, End, Job, seal, unseal
from batchbridge_local.schedule import Need, Queue, Waiting, fits, in_use
from batchbridge_local.spool import LOG_SIZE, Spool, View, is_id

ACCOUNT = jobspec.Account("ann", "/home/ann", "/bin/sh")


def job(**fields: object) -> Job:
    spec = JobSpec(command=("true",), **fields)
    return jobspec.job_of(
        Submission("k", spec, "set", "ann"),
        account=ACCOUNT,
        bounds=jobspec.Bounds(4.0, 1000),
        program="/bin/true",
        directory=Path("/here"),
        grace=1.0,
        at=10.0,
        boot="b",
    )


# -- records ---------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=30)
ends = st.builds(
    End,
    state=st.sampled_from(["SUCCEEDED", "FAILED", "CANCELLED"]),
    at=st.floats(0, 1e10),
    cause=st.none() | texts,
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    message=texts,
)
claims = st.builds(
    Claim,
    pid=st.integers(1),
    identity=texts,
    boot=texts,
    node=texts,
    at=st.floats(0, 1e10),
    end=st.none() | ends,
)


@given(ends | claims)
def test_a_record_comes_back_as_it_was_padded_or_not(record: End | Claim) -> None:
    sealed = seal(record)
    assert unseal(type(record), sealed) == record
    assert unseal(type(record), sealed.ljust(RESERVE, b"\n")) == record


@given(ends, st.data())
def test_a_record_cut_short_or_damaged_is_none(record: End, data: st.DataObject) -> None:
    whole = seal(record)
    cut = data.draw(st.integers(0, len(whole) - 2))
    with pytest.raises(Corrupt):
        unseal(End, whole[:cut].ljust(RESERVE, b"\n"))
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(whole)
    damaged[at] ^= 1 << bit
    with pytest.raises(Corrupt):
        unseal(End, bytes(damaged))


def test_a_whole_record_of_another_kind_is_none() -> None:
    for kind, other in ((End, job()), (Job, End("FAILED", 1.0))):
        with pytest.raises(Corrupt):
            unseal(kind, seal(other))


# -- the queue -------------------------------------------------------------------------------

needs = st.builds(Need, cpu=st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.0]), memory=st.integers(0, 100))


BOUND = Need(4.0, 100)


def waiting(n: int, need: Need, bound: Need = BOUND) -> Waiting:
    return Waiting(float(n), f"{n:024x}", need, bound, None)


@given(st.lists(needs, max_size=12), st.randoms())
def test_jobs_start_in_order_within_the_bound_and_all_of_them(jobs: list[Need], luck) -> None:
    queue, running, started = Queue(), dict[str, Need](), []
    arrivals = [waiting(n, need) for n, need in enumerate(jobs)]
    luck.shuffle(arrivals)
    for arrival in arrivals:
        queue.add(arrival)
        queue.add(arrival)
    while len(queue) or running:
        while (head := queue.head()) and fits(head, running.values()):
            queue.remove(head.id)
            started.append(head.id)
            running[head.id] = head.need
            used = in_use(running.values())
            assert used.cpu <= 4.0 + 1e-6
            assert used.memory <= 100
        assert running  # somebody runs as long as somebody waits
        del running[luck.choice(sorted(running))]
    assert started == sorted(started)
    assert len(started) == len(jobs)


def test_an_idle_machine_starts_whatever_comes() -> None:
    assert fits(waiting(1, Need(9.0, 0)), [])
    assert not fits(waiting(1, Need(9.0, 0)), [Need(0.1, 0)])


def test_ten_tenths_fill_one_core() -> None:
    tenth, bound = Need(0.1, 0), Need(1.0, 0)
    assert fits(waiting(1, tenth, bound), [tenth] * 9)
    assert not fits(waiting(1, tenth, bound), [tenth] * 10)


def test_queue_timeouts_come_due_once_and_only_for_those_that_wait() -> None:
    queue = Queue()
    for n, deadline in enumerate((5.0, 6.0, 7.0)):
        queue.add(waiting(n, Need(1, 0))._replace(deadline=deadline))
    ids = list(queue)
    queue.remove(ids[0])
    assert queue.next_deadline() == 5.0
    assert queue.overdue(6.5) == [ids[1]]
    assert queue.overdue(6.5) == []
    queue.defer(ids[1], 6.6)
    assert queue.overdue(8.0) == [ids[1], ids[2]]
    assert queue.next_deadline() is None


# -- retention -------------------------------------------------------------------------------


@given(
    st.lists(st.builds(retention.Finished, st.floats(0, 100), texts, st.integers(0, 50))),
    st.floats(0, 100),
    st.integers(0, 500),
)
def test_what_is_kept_is_young_and_small_and_the_newest(
    jobs: list[retention.Finished], seconds: float, size: int
) -> None:
    ordered = sorted(jobs)
    gone = retention.expired(jobs, retention.Keep(seconds, size), 100.0)
    assert gone == [one.id for one in ordered[: len(gone)]]
    kept = ordered[len(gone) :]
    assert sum(one.size for one in kept) <= size
    assert all(100.0 - one.ended_at <= seconds for one in kept)
    if gone:
        last = ordered[len(gone) - 1]
        too_big = last.size + sum(one.size for one in kept) > size
        assert 100.0 - last.ended_at > seconds or too_big


# -- jobspec and translation -----------------------------------------------------------------


def test_a_job_record_says_all_that_the_runner_needs() -> None:
    record = job(env={"A": "1", "PATH": "/mine"}, workdir="below", cpu=0.5, timeout=3.0)
    assert record.id == jobspec.id_of("k")
    assert is_id(record.id)
    assert record.env == {**jobspec.base(ACCOUNT), "A": "1", "PATH": "/mine"}
    assert record.workdir == "/here/below"
    assert (record.cpu, record.memory, record.timeout) == (0.5, 0, 3.0)
    assert (job().cpu, job(workdir="/there").workdir) == (1.0, "/there")


def test_only_what_can_never_fit_is_refused() -> None:
    assert jobspec.refusal(job(cpu=4.0, memory=1000)) is None
    for never in (job(cpu=4.1), job(memory=1001)):
        error = jobspec.refusal(never)
        assert error is not None
        assert error.remedy


@pytest.mark.parametrize(
    ("end", "state", "cause"),
    [
        (End("SUCCEEDED", 3.0, exit_code=0), JobState.SUCCEEDED, None),
        (End("FAILED", 3.0, exit_code=3), JobState.FAILED, Cause.EXIT_CODE),
        (End("FAILED", 3.0, signal=9), JobState.FAILED, Cause.SIGNAL),
        (End("FAILED", 3.0, cause="OOM", signal=9), JobState.FAILED, Cause.OOM),
        (End("CANCELLED", 3.0, cause="CANCELLED", signal=15), JobState.CANCELLED, Cause.CANCELLED),
        (
            End("CANCELLED", 3.0, cause="CANCELLED", message="TIMEOUT"),
            JobState.CANCELLED,
            Cause.TIMEOUT,
        ),
    ],
)
def test_ends_are_final_facts_whoever_tells_them(end: End, state: JobState, cause: Cause) -> None:
    claim = Claim(1, "i", "b", "n", 2.0)
    told = translate.history("x", View(job(), claim, end))[-1]
    assert (told.state, told.cause, told.final, told.attempt, told.at) == (state, cause, True, 1, 3)
    said = {k: v for k, v in end._asdict().items() if v not in (None, "")}
    assert translate.change({"id": "x", **said}) == (told,)


def test_a_job_that_nobody_ran_is_not_told_as_running() -> None:
    never = End("CANCELLED", 3.0, cause="CANCELLED")
    failed = End("FAILED", 3.0, cause="START_ERROR")
    claim = Claim(1, "i", "b", "n", 2.0)
    for view in (View(job(), claim._replace(end=never), never), View(job(), claim, failed)):
        states = [seen.state for seen in translate.history("x", view)]
        assert JobState.RUNNING not in states
    assert translate.change({"id": "x", "state": "CANCELLING", "at": 1.0}) == ()


def test_a_job_about_to_start_is_explained() -> None:
    said = health.explanation("x", {"x": View(job())})
    assert said is not None
    assert said.summary == "it is about to start"


def test_what_a_job_waits_for_is_told_in_cores_and_mebibytes() -> None:
    big = job()._replace(memory=1 << 30, memory_bound=8 << 30)
    there = {id: View(big._replace(name=id), Claim(1, "i", "b", "n", 2.0)) for id in "abcd"}
    said = health.explanation("x", {"x": View(big), **there})
    assert said is not None
    cores, memory = "1 core (4 of 4 are in use)", "1024 MiB (4096 of 8192 MiB are in use)"
    assert said.summary == f"waits for {cores} and {memory}; running: a, b, c and 1 more"


# -- OOM -------------------------------------------------------------------------------------


def test_oom_kills_are_read_where_the_system_counts_them(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 3\noom_kill 2\noom_group_kill 7\n")
    assert processes.oom_kills(counter) == 2
    assert processes.oom_kills(None) == 0
    assert processes.oom_kills(tmp_path / "gone") == 0


def test_both_versions_of_cgroups_are_looked_at() -> None:
    (two,) = processes._counters([""], "/a/b")
    (one,) = processes._counters(["memory"], "/a/b")
    assert str(two) == "/sys/fs/cgroup/a/b/memory.events"
    assert str(one) == "/sys/fs/cgroup/memory/a/b/memory.oom_control"


# -- the log of changes ----------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.open()
    return spool


def test_the_log_is_read_from_a_cursor_on(spool: Spool) -> None:
    first = Tail(spool.changes)
    assert first.read() == []
    spool.tell("a", "QUEUED", 1.0)
    middle = Tail(spool.changes).cursor
    spool.tell("b", "QUEUED", 2.0)
    assert [c["id"] for c in first.read() or ()] == ["a", "b"]
    assert [c["id"] for c in Tail(spool.changes, middle).read() or ()] == ["b"]
    assert first.cursor == Tail(spool.changes).cursor


def test_a_line_is_told_only_once_it_is_whole(spool: Spool) -> None:
    tail = Tail(spool.changes)
    line = b"\n" + json.dumps({"id": "a", "state": "QUEUED", "at": 1.0}).encode() + b"\n"
    with spool.changes.open("ab", buffering=0) as log:
        for byte in line[:-1]:
            log.write(bytes([byte]))
            assert tail.read() == []
        log.write(line[-1:])
    assert [c["id"] for c in tail.read() or ()] == ["a"]


def test_a_log_begun_anew_ends_every_cursor(spool: Spool) -> None:
    assert not spool.shorten_log()
    tail = Tail(spool.changes)
    with spool.changes.open("ab") as log:
        log.truncate(LOG_SIZE)
    old = tail.cursor
    spool.tell("a", "QUEUED", 1.0)
    assert spool.shorten_log()
    spool.tell("b", "QUEUED", 1.0)
    seen = []
    while (changes := tail.read()) is not None:
        seen += [change["id"] for change in changes]
    assert seen == ["a"]  # what was written before is still told
    for gone in (old, "nonsense", "", Tail(spool.changes).generation + ":999999"):
        with pytest.raises(LookupError):
            Tail(spool.changes, gone)


def test_what_is_no_id_is_no_path() -> None:
    assert not any(map(is_id, ("", "..", "../" * 8, "0" * 23, "G" * 24, "0" * 25, "A" * 24)))
