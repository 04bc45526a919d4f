"""What becomes of a job: its end, its output, its environment, its working directory."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from batchbridge.errors import KeyConflict, NoSuchJob, Rejected, SpecError
from batchbridge.model import Absent, Cause, JobSpec, JobState, Submission
from batchbridge.uploads import deliver, pack
from tests.drivers.local.rig import Rig, eventually, folded, ref, refs, shell, submission


def test_a_job_ends_as_its_command_does(rig: Rig) -> None:
    good, bad, shot = rig.submit(shell("exit 0"), shell("exit 3"), shell("kill -9 $$"))
    assert rig.end(good).state is JobState.SUCCEEDED
    failed = rig.end(bad)
    assert (failed.state, failed.cause, failed.exit_code) == ("FAILED", Cause.EXIT_CODE, 3)
    killed = rig.end(shot)
    assert (killed.state, killed.cause, killed.signal) == ("FAILED", Cause.SIGNAL, 9)


def test_the_history_is_told_to_whoever_comes_later(rig: Rig) -> None:
    id = rig.one(shell("true"))
    record = rig.end(id)
    assert record.attempt == 1
    assert record.node == os.uname().nodename
    assert record.submitted_at <= record.started_at <= record.finished_at
    states = [seen.state for seen in rig.driver().snapshot((), [id]).observations]
    assert states == ["SUBMITTED", "QUEUED", "RUNNING", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (submission("no-such-command-here"), "command not found: no-such-command-here"),
        (submission("/etc/passwd"), "/etc/passwd cannot be started: Permission denied"),
        (submission("true", workdir="/no/such"), "directory /no/such cannot be entered"),
    ],
)
def test_what_cannot_start_says_why(rig: Rig, job: Submission, said: str) -> None:
    record = rig.run(job)
    assert (record.state, record.cause) == ("FAILED", Cause.START_ERROR)
    assert said in record.message
    assert record.started_at is None


def test_the_same_key_is_the_same_job(rig: Rig) -> None:
    first, again = (shell("true", key="k") for _ in range(2))
    driver = rig.driver()
    (made,), (found,) = (list(driver.submit([job])) for job in (first, again))
    assert (made.id, made.created) == (found.id, not found.created)
    (other,) = driver.submit([shell("false", key="k")])
    assert isinstance(other.error, KeyConflict)
    assert other.id is None


def test_a_job_that_can_never_fit_is_refused_with_the_remedy(rig: Rig) -> None:
    for job in (shell("true", cpu=9.0), shell("true", memory=1 << 60)):
        error = rig.refused(job).error
        assert isinstance(error, Rejected)
        assert "max_cpu" in error.remedy
    assert rig.spool.ids() == []


def test_the_environment_is_exactly_the_base_and_what_is_named(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHERS_OWN", "canary")
    id = rig.one(submission("env", env={"MINE": "1"}, secrets={"TOKEN": "s3cret"}))
    lines = dict(line.split("=", 1) for line in rig.output(id).decode().splitlines())
    assert set(lines) == {
        *("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "USER"),
        *("MINE", "TOKEN"),
    }
    assert (lines["MINE"], lines["TOKEN"]) == ("1", "s3cret")


def test_the_supervisor_has_nothing_of_the_launcher(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHERS_OWN", "canary")
    rig.running(rig.one(shell("sleep 60")))
    environment = Path(f"/proc/{rig.supervisor()}/environ")
    if not environment.exists():
        pytest.skip("no /proc here to look into")
    assert b"canary" not in environment.read_bytes()


def test_the_command_looked_for_is_that_of_the_job_s_path(rig: Rig, tmp_path: Path) -> None:
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    id = rig.one(submission("my-tool", env={"PATH": f"{tmp_path}:/usr/bin:/bin"}))
    assert rig.output(id) == b"mine\n"


def test_the_working_directory_is_where_it_was_submitted(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    here, below = rig.submit(shell("pwd"), shell("pwd", workdir="sub"))
    assert rig.output(here).decode().strip() == str(tmp_path)
    assert rig.output(below).decode().strip() == str(tmp_path / "sub")


def test_a_submitter_whose_directory_is_gone_is_told(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SpecError, match="current directory is gone"):
        list(rig.driver().submit([shell("true")]))


def test_uploaded_files_are_in_a_writable_directory_of_the_job(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "only-here.sh").write_text("echo found > result; cat result; pwd\n")
    archive = pack(["only-here.sh"], root=tmp_path)
    files = deliver(archive, limit=rig.driver().capabilities.upload, store=None)
    id = rig.one(submission("sh", "only-here.sh", files=files))
    said, directory = rig.output(id).decode().split()
    assert said == "found"
    assert directory == str(rig.spool.jobs / id / "work")


def test_signals_ignored_by_the_launcher_are_not_ignored_by_the_command(rig: Rig) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        id = rig.one(shell("kill -INT $$; echo survived"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert rig.end(id).signal == signal.SIGINT


def test_what_a_command_leaves_in_its_group_ends_with_it(rig: Rig, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    id = rig.one(shell(f"sleep 300 & echo $! > {mark}"))
    assert rig.end(id).state is JobState.SUCCEEDED
    eventually(lambda: not Path(f"/proc/{mark.read_text().strip()}/exe").exists())


# -- logs ------------------------------------------------------------------------------------


def test_logs_are_resumed_by_offset_and_end(rig: Rig) -> None:
    id = rig.one(shell("printf abcdef; printf err >&2"))
    rig.end(id)
    page = rig.driver().read_logs(ref(id), 1, "stdout", "2", ended=True, wait=0)
    assert (page.data, page.cursor, page.eof, page.truncated) == (b"cdef", "6", True, False)
    assert rig.output(id, "stderr") == b"err"
    after = rig.driver().read_logs(ref(id), 1, "stdout", page.cursor, ended=True, wait=0)
    assert (after.data, after.cursor, after.eof) == (b"", "6", True)


def test_logs_are_followed_while_the_command_writes(rig: Rig, tmp_path: Path) -> None:
    go = tmp_path / "go"
    id = rig.one(shell(f"echo one; while ! [ -e {go} ]; do sleep 0.01; done; echo two"))
    first = rig.driver().read_logs(ref(id), 1, "stdout", None, ended=False, wait=20)
    assert (first.data, first.eof) == (b"one\n", False)
    nothing = rig.driver().read_logs(ref(id), 1, "stdout", first.cursor, ended=False, wait=0)
    assert (nothing.data, nothing.eof) == (b"", False)
    go.touch()
    rest = rig.driver().read_logs(ref(id), 1, "stdout", first.cursor, ended=False, wait=20)
    assert rest.data == b"two\n"


def test_a_line_of_100_megabytes_comes_whole_in_bounded_pages(rig: Rig) -> None:
    size = 100 << 20
    id = rig.one(shell(f"head -c {size} /dev/zero | tr '\\0' x; echo"))
    rig.end(id)
    total, cursor, largest = 0, None, 0
    while True:
        page = rig.driver().read_logs(ref(id), 1, "stdout", cursor, ended=True, wait=0)
        total, cursor = total + len(page.data), page.cursor
        largest = max(largest, len(page.data))
        if page.eof:
            break
    assert total == size + 1
    assert largest <= 1 << 20


def test_output_that_is_no_text_is_kept_as_it_is(rig: Rig) -> None:
    assert rig.output(rig.one(shell("printf '\\377\\000\\376'"))) == b"\xff\x00\xfe"


def test_logs_of_a_job_that_is_not_there(rig: Rig) -> None:
    id = rig.one(shell("echo x"))
    rig.end(id)
    rig.spool.remove_job(id)
    driver = rig.driver()
    page = driver.read_logs(ref(id), 1, "stdout", "1", ended=True, wait=0)
    assert (page.data, page.eof, page.truncated) == (b"", True, True)
    for missing in (id, "../../../etc", "nonsense"):
        with pytest.raises(NoSuchJob):
            driver.read_logs(ref(missing), 1, "stdout", None, ended=False, wait=0)


# -- absence, listing, showing ---------------------------------------------------------------


def test_ids_that_are_not_there_are_denied(rig: Rig) -> None:
    observations = rig.driver().snapshot((), ["0" * 24, "../..", ""]).observations
    assert [type(one) for one in observations] == [Absent] * 3


def test_jobs_are_listed_by_their_set_with_their_labels(rig: Rig) -> None:
    mine = rig.one(shell("true", name="n", labels={"a": "b"}))
    rig.one(Submission("other", JobSpec(command=("true",)), "another set", "someone"))
    (listed,) = rig.driver().list("a set", None)
    assert (listed.seen.id, listed.name, listed.user) == (mine, "n", "someone")
    assert listed.labels == {"a": "b"}
    assert len(list(rig.driver().list(None, None))) == 2


def test_the_dry_run_is_what_is_written_and_shows_no_secret(rig: Rig) -> None:
    job = shell("true", key="k", secrets={"TOKEN": "s3cret"})
    shown = rig.driver().render(job)
    assert not rig.root.exists()
    assert "s3cret" not in repr(shown)
    rig.one(job)
    view = rig.spool.view(str(shown["id"]))
    assert view is not None
    same = {**view.job._asdict(), "submitted_at": shown["submitted_at"]}
    assert same == shown


# -- watching --------------------------------------------------------------------------------


def test_a_watch_tells_every_change_from_its_cursor_on(rig: Rig) -> None:
    driver = rig.driver()
    watch = driver.watch((), None, lambda: ())
    start = next(watch)
    assert start.observations == ()
    id = rig.one(shell("exit 3"))
    batches = [start]
    while not folded(id, *batches).terminal:
        batches.append(next(watch))
    watch.close()
    again = driver.watch((), start.cursor, lambda: ())
    resumed = [next(again), next(again)]
    again.close()
    for told in (batches, resumed):
        states = [seen.state for batch in told for seen in batch.observations]
        assert states == ["SUBMITTED", "QUEUED", "RUNNING", "FAILED"]
    assert folded(id, *batches) == rig.record(id)


def test_a_silent_watch_yields_at_least_once_a_second(rig: Rig) -> None:
    watch = rig.driver().watch((), None, lambda: ())
    first = next(watch)
    began = time.monotonic()
    assert [next(watch).observations for _ in range(2)] == [(), ()]
    assert time.monotonic() - began < 10
    assert next(watch).cursor == first.cursor
    watch.close()


def test_a_watch_revives_a_supervisor_that_a_known_job_misses(rig: Rig) -> None:
    id = rig.one(shell("sleep 60"))
    rig.running(id)
    rig.kill_supervisor()
    watch = rig.driver().watch((), None, lambda: [id])
    eventually(lambda: next(watch) and rig.supervisor())
    watch.close()


def test_many_jobs_all_end(rig: Rig) -> None:
    ids = rig.submit(*(shell("exit 0") for _ in range(60)))
    driver = rig.driver()
    eventually(lambda: len([s for s in driver.snapshot((), ids).observations if s.final]) == 60)


def test_cancel_of_what_is_unknown_or_over_is_fine(rig: Rig) -> None:
    id = rig.one(shell("true"))
    before = rig.end(id)
    rig.driver().cancel(refs([id, "0" * 24, "../../etc"]), reason="late")
    assert rig.record(id) == before


def test_the_program_is_the_one_that_the_submitters_shell_would_find(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "my-tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho $PATH\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    found = rig.one(submission("my-tool"))
    assert rig.end(found).state is JobState.SUCCEEDED
    assert str(tool.parent) not in rig.output(found).decode()
    named = rig.one(submission("my-tool", env={"PATH": "/usr/bin:/bin"}))
    assert rig.end(named).cause is Cause.START_ERROR
