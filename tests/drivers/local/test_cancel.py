"""Ending jobs: cancel with grace, run and queue timeouts, and the bound that makes them wait."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbridge.model import Cause, JobState
from batchbridge_local import jobspec, processes
from tests.drivers.local.rig import Rig, eventually, refs, shell

FOREVER = "while :; do sleep 0.05; done"


def cancel(rig: Rig, *ids: str, reason: str = "") -> None:
    rig.driver().cancel(refs(ids), reason=reason)


def started(rig: Rig, job_script: str, tmp_path: Path, **fields: object) -> str:
    """A job whose script has run as far as its ``ready``."""
    mark = tmp_path / os.urandom(4).hex()
    id = rig.one(shell(job_script.replace("ready", f"touch {mark}"), **fields))
    eventually(mark.exists)
    return id


def test_a_running_job_is_cancelled_by_sigterm(rig: Rig, tmp_path: Path) -> None:
    id = started(rig, f"ready; {FOREVER}", tmp_path)
    cancel(rig, id, reason="no longer needed")
    record = rig.end(id)
    assert (record.state, record.cause) == (JobState.CANCELLED, Cause.CANCELLED)
    assert record.signal == signal.SIGTERM
    assert record.message == "no longer needed"


def test_a_handler_that_exits_0_after_sigterm_is_still_cancelled(rig: Rig, tmp_path: Path) -> None:
    id = started(rig, f"trap 'echo saved; exit 0' TERM; ready; {FOREVER}", tmp_path)
    cancel(rig, id)
    record = rig.end(id)
    assert (record.state, record.exit_code) == (JobState.CANCELLED, 0)
    assert rig.output(id) == b"saved\n"


def test_what_ignores_sigterm_is_killed_after_the_grace(rig: Rig, tmp_path: Path) -> None:
    rig.settings = {**rig.settings, "grace": 0.2}
    id = started(rig, f"trap '' TERM; ready; {FOREVER}", tmp_path)
    cancel(rig, id)
    record = rig.end(id)
    assert (record.state, record.signal) == (JobState.CANCELLED, signal.SIGKILL)


def test_stragglers_of_the_session_are_killed_too(rig: Rig, tmp_path: Path) -> None:
    rig.settings = {**rig.settings, "grace": 0.2}
    mark = tmp_path / "straggler"
    # `set -m` puts it into a process group of its own: the group's SIGTERM does not reach it.
    script = f"set -m; sh -c 'trap \"\" TERM; {FOREVER}' & echo $! > {mark}; ready; wait"
    id = started(rig, script, tmp_path)
    straggler = int(mark.read_text())
    assert processes.identity(straggler)
    cancel(rig, id)
    assert rig.end(id).state is JobState.CANCELLED
    assert not processes.identity(straggler)


def test_children_have_the_grace_to_save_their_work(rig: Rig, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    child = f"trap 'sleep 0.3; touch {saved}; exit' TERM; touch {tmp_path}/in; {FOREVER}"
    id = started(
        rig,
        f'sh -c "{child}" & while ! [ -e {tmp_path}/in ]; do sleep 0.01; done; ready; wait',
        tmp_path,
    )
    cancel(rig, id)
    rig.end(id)
    assert saved.exists()


def test_a_queued_job_that_is_cancelled_never_starts(rig: Rig, tmp_path: Path) -> None:
    rig.settings = {**rig.settings, "max_cpu": 1.0}
    mark = tmp_path / "ran"
    first = rig.one(shell("sleep 60"))
    queued = rig.one(shell(f"touch {mark}", secrets={"TOKEN": "s3cret"}))
    rig.running(first)
    cancel(rig, first, queued)
    records = [rig.end(id) for id in (queued, first)]
    assert [record.state for record in records] == ["CANCELLED", "CANCELLED"]
    assert records[0].started_at is None
    assert not mark.exists()
    assert not (rig.spool.jobs / queued / "secrets").exists()


def test_the_first_reason_stands(rig: Rig, tmp_path: Path) -> None:
    id = started(rig, f"trap 'sleep 0.3; exit 1' TERM; ready; {FOREVER}", tmp_path)
    cancel(rig, id, reason="first")
    cancel(rig, id, reason="second")
    assert rig.end(id).message == "first"


def test_a_reason_that_names_a_cause_is_that_cause_to_everybody(rig: Rig, tmp_path: Path) -> None:
    id = started(rig, f"ready; {FOREVER}", tmp_path)
    cancel(rig, id, reason="TIMEOUT")
    record = rig.end(id)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.TIMEOUT)
    assert record.exit_status == 124


def test_a_job_that_runs_too_long_is_ended_with_nobody_watching(rig: Rig) -> None:
    id = rig.one(shell(FOREVER, timeout=0.2))
    rig.running(id)
    rig.kill_supervisor()
    eventually(lambda: rig.spool.ended(id))
    record = rig.end(id)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.TIMEOUT)
    assert record.exit_status == 124


def test_a_job_that_waits_too_long_is_ended_with_nobody_watching(rig: Rig, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    rig.submit(shell("sleep 60"), max_cpu=1.0)
    id = rig.one(shell(f"touch {mark}", queue_timeout=0.3), max_cpu=1.0)
    eventually(lambda: rig.spool.ended(id))
    record = rig.end(id)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.UNSCHEDULABLE)
    assert record.exit_status == 124
    assert not mark.exists()


# -- the bound -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("need", "bounds"),
    [({"cpu": 2.0}, {"max_cpu": 3.0}), ({"memory": 600}, {"max_memory": 1000, "max_cpu": 8.0})],
)
def test_jobs_wait_for_what_they_asked_for(
    rig: Rig, tmp_path: Path, need: dict[str, float], bounds: dict[str, float]
) -> None:
    rig.settings = bounds
    go = tmp_path / "go"
    first = rig.one(shell(f"while ! [ -e {go} ]; do sleep 0.01; done", name="first", **need))
    second = rig.one(shell("true", **need))
    rig.running(first)
    assert rig.record(second).state is JobState.QUEUED
    why = rig.driver().explain(refs([second])[0])
    assert why is not None
    assert why.summary.endswith(" are in use); running: first")
    assert why.remedy
    assert rig.driver().explain(refs([first])[0]) is None
    go.touch()
    assert rig.end(second).started_at >= rig.end(first).finished_at


def test_nobody_passes_a_large_job_that_waits(rig: Rig, tmp_path: Path) -> None:
    rig.settings = {"max_cpu": 2.0}
    go = tmp_path / "go"
    first = rig.one(shell(f"while ! [ -e {go} ]; do sleep 0.01; done"))
    large = rig.one(shell("true", cpu=2.0))
    small = rig.one(shell("true"))
    rig.running(first)
    why = rig.driver().explain(refs([small])[0])
    assert why is not None
    assert why.summary.startswith("one job submitted earlier comes first")
    go.touch()
    assert rig.end(small).started_at >= rig.end(large).finished_at


def test_the_bound_holds_across_a_new_supervisor(rig: Rig, tmp_path: Path) -> None:
    rig.settings = {"max_cpu": 1.0}
    go = tmp_path / "go"
    first = rig.one(shell(f"while ! [ -e {go} ]; do sleep 0.01; done"))
    rig.running(first)
    rig.kill_supervisor()
    second = rig.one(shell("true"))
    eventually(rig.supervisor)
    assert rig.record(second).state is JobState.QUEUED
    go.touch()
    assert rig.end(second).started_at >= rig.end(first).finished_at


def test_an_oom_kill_is_told_from_another_sigkill(rig: Rig, memory_group: Path) -> None:
    hog = "x = bytearray(1 << 29); print(len(x))"
    pid = os.fork()
    if pid == 0:
        try:
            (memory_group / "cgroup.procs").write_text(str(os.getpid()))
            rig.one(shell(f"exec {sys.executable} -c '{hog}'", key="hog"))
            rig.one(shell("kill -9 $$", key="shot"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    hogging, shot = (rig.end(jobspec.id_of(key)) for key in ("hog", "shot"))
    assert (hogging.state, hogging.cause, hogging.signal) == (JobState.FAILED, Cause.OOM, 9)
    assert (shot.state, shot.cause, shot.signal) == (JobState.FAILED, Cause.SIGNAL, 9)


@pytest.fixture
def memory_group(rig: Rig) -> Iterator[Path]:
    """A group of processes that may use 64 MiB together."""
    counter = processes.oom_counter()
    if counter is None:
        pytest.skip("this system does not count OOM kills for us")
    group = counter.parent / f"batchbridge-test-{os.getpid()}"
    limit = "memory.max" if counter.name == "memory.events" else "memory.limit_in_bytes"
    try:
        group.mkdir()
        (group / limit).write_text(str(64 << 20))
    except OSError as error:
        pytest.skip(f"no group of processes can be made here: {error}")
    yield group
    rig.clean()
    eventually(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()
