"""kill -9 of the submitter, the supervisor and the runner, at every durable step.

Nothing is lost, no exit code is lost, nothing runs twice. The one thing that cannot be known is the
exit code of a command whose runner was killed before it wrote it down; then the job says so.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import batchbridge_local
from batchbridge.errors import TransportError
from batchbridge.model import Cause, JobState, Submission
from batchbridge_local import launch, processes
from batchbridge_local.records import Claim, End, seal
from batchbridge_local.spool import FAILPOINT
from tests.drivers.local.rig import Rig, eventually, kill, refs, shell

SUBMIT_STEPS = ("submit:prepared", "submit:admitted", "submit:told")
BEFORE_THE_RUN = ("supervisor:starting", "supervisor:started", "runner:forked")
AFTER_THE_END = ("end:written", "end:recorded")
RUNNER_STEPS = ("runner:claimed", "runner:spawned", "runner:ended")
UNSTARTED_STEPS = ("supervisor:claimed", *AFTER_THE_END)


def counting(tmp_path: Path, **fields: object) -> tuple[Submission, Path]:
    """A job that leaves a line for each time it is run, and ends with 3."""
    lines = tmp_path / "lines"
    lines.touch()
    return shell(f"echo ran >> {lines}; exit 3", **fields), lines


def dying_submitter(rig: Rig, job: Submission, step: str) -> None:
    """Submit in a process of its own, which is killed at that step."""
    pid = os.fork()
    if pid == 0:
        os.environ[FAILPOINT] = step
        try:
            list(rig.driver().submit([job]))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_every_step_has_its_kill_test() -> None:
    package = Path(batchbridge_local.__path__[0])
    steps = {
        s for f in package.glob("*.py") for s in re.findall(r'\bstep\("(.*?)"\)', f.read_text())
    }
    tested = {*SUBMIT_STEPS, *BEFORE_THE_RUN, *RUNNER_STEPS, *AFTER_THE_END, *UNSTARTED_STEPS}
    assert steps == tested


@pytest.mark.parametrize("step", SUBMIT_STEPS)
def test_a_killed_submitter_leaves_a_whole_job_or_none(rig: Rig, tmp_path: Path, step: str) -> None:
    job, lines = counting(tmp_path, key="k", secrets={"TOKEN": "s3cret"})
    rig.submit(shell("true"))  # a supervisor is there, and has no fail point
    dying_submitter(rig, job, step)
    if step == "submit:prepared":
        assert len(rig.spool.ids()) == 1
        eventually(lambda: not list(rig.spool.tmp.iterdir()), "the sweeping of what was half-made")
    (receipt,) = rig.driver().submit([job])
    assert receipt.created is (step == "submit:prepared")
    record = rig.end(str(receipt.id))
    assert (record.state, record.exit_code) == (JobState.FAILED, 3)
    assert lines.read_text() == "ran\n"


@pytest.mark.parametrize("step", SUBMIT_STEPS[1:])
def test_the_job_of_a_killed_submitter_runs_without_another_submit(
    rig: Rig, tmp_path: Path, step: str
) -> None:
    job, lines = counting(tmp_path)
    rig.submit(shell("true"))
    before = set(rig.spool.ids())
    dying_submitter(rig, job, step)
    (id,) = set(rig.spool.ids()) - before
    eventually(lambda: rig.spool.ended(id))
    assert rig.end(id).exit_code == 3
    assert lines.read_text() == "ran\n"


@pytest.mark.parametrize("step", [*BEFORE_THE_RUN, *AFTER_THE_END])
def test_a_kill_before_the_run_or_after_the_end_loses_nothing(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    job, lines = counting(tmp_path)
    monkeypatch.setenv(FAILPOINT, step)
    id = rig.one(job)
    if step == "runner:forked":
        rig.kill_supervisor()  # it would only fork runners that die there
    elif step == "end:recorded":
        eventually(lambda: rig.spool.ended(id))
    else:
        eventually(lambda: not rig.supervisor())
    monkeypatch.delenv(FAILPOINT)
    record = rig.end(id)
    assert (record.state, record.cause, record.exit_code) == ("FAILED", Cause.EXIT_CODE, 3)
    assert lines.read_text() == "ran\n"


@pytest.mark.parametrize("step", RUNNER_STEPS)
def test_a_killed_runner_fails_its_job_and_says_so(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    job, lines = counting(tmp_path, secrets={"TOKEN": "s3cret"})
    monkeypatch.setenv(FAILPOINT, step)
    id = rig.one(job)
    monkeypatch.delenv(FAILPOINT)
    record = rig.end(id)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.UNKNOWN)
    assert "runner" in record.message
    assert "was killed" in record.message
    assert len(lines.read_text().splitlines()) <= 1
    assert (step == "runner:ended") <= (lines.read_text() == "ran\n")
    assert not (rig.spool.jobs / id / "secrets").exists()


@pytest.mark.parametrize("step", UNSTARTED_STEPS)
def test_a_kill_while_a_queued_job_is_ended_neither_loses_the_end_nor_runs_it(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    rig.settings = {"max_cpu": 1.0}
    monkeypatch.setenv(FAILPOINT, step)
    job, lines = counting(tmp_path)
    blocker, id = rig.submit(shell("sleep 60"), job)
    rig.running(blocker)
    rig.driver().cancel(refs([id]), reason="enough")
    eventually(lambda: not rig.supervisor())
    monkeypatch.delenv(FAILPOINT)
    record = rig.end(id)
    assert (record.state, record.message) == (JobState.CANCELLED, "enough")
    assert lines.read_text() == ""


def test_a_killed_supervisor_loses_no_running_job_and_no_exit_code(
    rig: Rig, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = "while ! [ -e {go} ]; do sleep 0.01; done; echo ran >> {lines}; exit {code}"
    lines = tmp_path / "lines"
    rig.settings = {"max_cpu": 3.0}
    ids = rig.submit(*(shell(script.format(go=go, lines=lines, code=i)) for i in range(6)))
    for id in ids[:3]:
        rig.running(id)
    rig.kill_supervisor()
    go.touch()
    eventually(lambda: all(map(rig.spool.ended, ids[:3])))  # while there is no supervisor
    assert rig.supervisor() is None
    assert [rig.end(id).exit_code for id in ids] == list(range(6))
    assert lines.read_text() == "ran\n" * 6


def test_the_queue_goes_on_after_a_killed_supervisor_with_nobody_there(
    rig: Rig, tmp_path: Path
) -> None:
    rig.settings = {"max_cpu": 1.0}
    go = tmp_path / "go"
    first, *others = rig.submit(
        shell(f"while ! [ -e {go} ]; do sleep 0.01; done"), *(shell("exit 3") for _ in range(3))
    )
    rig.running(first)
    rig.kill_supervisor()
    go.touch()
    eventually(lambda: all(map(rig.spool.ended, others)))
    assert [rig.record(id).exit_code for id in others] == [3, 3, 3]


def test_a_running_job_is_cancelled_by_the_next_supervisor(rig: Rig) -> None:
    id = rig.one(shell("sleep 60"))
    rig.running(id)
    rig.kill_supervisor()
    rig.driver().cancel(refs([id]), reason="")
    assert rig.end(id).state is JobState.CANCELLED


def test_the_command_of_a_killed_runner_is_ended(rig: Rig, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    id = rig.one(shell(f"echo $$ > {mark}; sleep 300"))
    eventually(lambda: mark.exists() and mark.read_text().endswith("\n"))
    view = rig.spool.view(id)
    assert view is not None
    assert view.claim is not None
    kill(view.claim.pid)
    record = rig.end(id)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.UNKNOWN)
    assert f"its runner (pid {view.claim.pid}) was killed" in record.message
    assert not processes.identity(int(mark.read_text()))


def test_the_command_of_a_runner_killed_with_its_supervisor_is_ended(
    rig: Rig, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    id = rig.one(shell(f"echo $$ > {mark}; sleep 300"))
    eventually(lambda: mark.exists() and mark.read_text().endswith("\n"))
    view = rig.spool.view(id)
    assert view is not None
    assert view.claim is not None
    rig.kill_supervisor()
    kill(view.claim.pid)
    assert "was killed" in rig.end(id).message
    assert not processes.identity(int(mark.read_text()))


# -- identity, restarts ----------------------------------------------------------------------


def unserved(rig: Rig, job: Submission) -> str:
    """A job that waits in a spool without a supervisor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchbridge_local.driver.ensure", lambda *_, **__: None)
        return rig.one(job)


def claimed(rig: Rig, job: Submission, claim: Claim) -> str:
    """A job that some process has claimed, as a supervisor of another time left it."""
    id = unserved(rig, job)
    assert rig.spool.claim(id, claim)
    return id


def test_a_pid_that_is_another_process_now_is_neither_the_runner_nor_killed(rig: Rig) -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        before = Claim(bystander.pid, f"{processes.boot()}/1", processes.boot(), "here", 1.0)
        record = rig.end(claimed(rig, shell("true"), before))
        assert (record.state, record.cause) == (JobState.FAILED, Cause.UNKNOWN)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_after_a_restart_of_the_machine_running_jobs_are_ended_with_that_evidence(
    rig: Rig,
) -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        before = Claim(bystander.pid, "earlier/1", "earlier", "here", 1.0)
        record = rig.end(claimed(rig, shell("true"), before))
        assert (record.state, record.cause) == (JobState.FAILED, Cause.UNKNOWN)
        assert "restarted" in record.message
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_after_a_restart_of_the_machine_queued_jobs_are_ended_and_not_run(
    rig: Rig, tmp_path: Path
) -> None:
    job, lines = counting(tmp_path)
    id = unserved(rig, job)
    view = rig.spool.view(id)
    assert view is not None
    (rig.spool.jobs / id / "job.json").write_bytes(seal(view.job._replace(boot="earlier")))
    record = rig.end(id)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.UNKNOWN)
    assert "restarted" in record.message
    assert lines.read_text() == ""


def test_a_claim_is_taken_once(rig: Rig) -> None:
    me = Claim(1, "x", "y", "z", 1.0, End("CANCELLED", 1.0))
    id = claimed(rig, shell("true"), me)
    assert not rig.spool.claim(id, me._replace(pid=2))
    view = rig.spool.view(id)
    assert view is not None
    assert view.claim == me


def test_it_works_without_proc(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "/no/proc/here"
    monkeypatch.setattr(processes, "PROC", Path(nowhere))
    processes.boot.cache_clear()
    blind = f"from pathlib import Path; p.PROC = Path({nowhere!r})"
    main = f"import batchbridge_local.processes as p; {blind}; {launch._MAIN}"
    try:
        rig.spool.open()
        launch.start(rig.spool, rig.driver()._keep, main)
        done, endless = rig.submit(shell("exit 3"), shell("sleep 300"))
        assert rig.end(done).exit_code == 3
        rig.running(endless)
        view = rig.spool.view(endless)
        assert view is not None
        assert view.claim is not None
        assert "/" not in view.claim.identity
        rig.kill_supervisor()
        launch.start(rig.spool, rig.driver()._keep, main)
        assert rig.record(endless).state is JobState.RUNNING
        kill(view.claim.pid)
        assert "was killed" in rig.end(endless).message
        rig.clean()
    finally:
        monkeypatch.undo()
        processes.boot.cache_clear()


# -- many at once ----------------------------------------------------------------------------


def _submit_all(rig: Rig, lines: str, start: object) -> list[bool]:
    start.wait()  # type: ignore[attr-defined]
    jobs = [shell(f"echo {n} >> {lines}", key=f"key {n}") for n in range(20)]
    return [bool(receipt.created) for receipt in rig.driver().submit(jobs)]


def test_many_submitters_with_the_same_keys_make_each_job_once(rig: Rig, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(6) as pool:
        start = manager.Barrier(6)
        made = pool.starmap(_submit_all, [(rig, str(lines), start)] * 6, chunksize=1)
    assert [sum(column) for column in zip(*made, strict=True)] == [1] * 20
    ids = rig.spool.ids()
    assert len(ids) == 20
    for id in ids:
        assert rig.end(id).state is JobState.SUCCEEDED
    assert sorted(map(int, lines.read_text().split())) == list(range(20))


def test_only_one_supervisor_serves_a_spool(rig: Rig) -> None:
    rig.submit(shell("true"))
    first = rig.supervisor()
    for _ in range(3):
        launch.start(rig.spool, rig.driver()._keep)
    assert rig.supervisor() == first
    eventually(lambda: _of(rig) == [first], "the end of every other process of this spool")


def _of(rig: Rig) -> list[int]:
    """The processes whose arguments name this spool."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(rig.root) in (process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def test_a_supervisor_that_cannot_start_says_where_to_look(rig: Rig) -> None:
    rig.spool.open()
    with pytest.raises(TransportError, match="did not start") as caught:
        launch.start(rig.spool, rig.driver()._keep, "raise SystemExit('no')")
    assert str(rig.spool.supervisor_log) in caught.value.remedy


def test_the_supervisor_starts_without_heavy_imports() -> None:
    code = f"{launch._MAIN.split(';')[0]}; import sys; print(*sys.modules)"
    path = str(Path(batchbridge_local.__path__[0]).parent)
    boot = f"import sys; sys.path.append({path!r}); {code}"
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", boot], capture_output=True, check=True
    )
    loaded = set(found.stdout.decode().split())
    assert not loaded & {"batchbridge", "msgspec", "dataclasses", "subprocess", "click", "psutil"}
