"""What is wrong with the spool is named with its remedy; no job is lost or doubled by it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbridge.errors import AuthError, BatchBridgeError, StoreError
from batchbridge.model import JobState
from batchbridge_local import jobspec, processes
from batchbridge_local.records import Claim
from tests.drivers.local.rig import Rig, eventually, refs, shell

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this to a directory")


def refusal(rig: Rig) -> BatchBridgeError:
    with pytest.raises(BatchBridgeError) as caught:
        list(rig.driver().submit([shell("true")]))
    assert caught.value.exit_code == 125
    assert caught.value.remedy
    (check,) = rig.driver().probe()
    assert (check.ok, check.detail) == (False, str(caught.value))
    return caught.value


# -- the directory ---------------------------------------------------------------------------


def test_the_spool_is_ours_alone(rig: Rig) -> None:
    rig.end(rig.one(shell("true")))
    assert rig.root.stat().st_mode & 0o777 == 0o700
    below = [p for p in rig.root.rglob("*") if not p.is_symlink()]
    exposed = [p for p in below if p.stat().st_mode & 0o077 and p.name != "supervisor.log"]
    assert exposed == []


@needs_root
def test_a_spool_of_another_user_is_refused(rig: Rig) -> None:
    rig.spool.open()
    os.chown(rig.root, 12345, -1)
    error = refusal(rig)
    assert isinstance(error, AuthError)
    assert "uid 12345" in str(error)
    os.chown(rig.root, os.geteuid(), -1)


def test_a_spool_that_others_can_read_is_refused(rig: Rig) -> None:
    rig.spool.open()
    rig.root.chmod(0o755)
    error = refusal(rig)
    assert f"chmod 700 {rig.root}" in error.remedy
    rig.root.chmod(0o700)


def test_a_spool_of_a_newer_version_is_refused_naming_both(rig: Rig) -> None:
    rig.spool.open()
    (rig.root / "version").write_text("2\n")
    error = refusal(rig)
    assert "version 2" in str(error)
    assert "version 1" in str(error)


def test_a_directory_that_is_no_spool_is_left_alone(rig: Rig) -> None:
    rig.root.mkdir(mode=0o700)
    (rig.root / "thesis.tex").touch()
    for mode in (0o700, 0o755):  # one that is open to others is not to be closed for our sake
        rig.root.chmod(mode)
        assert "no spool" in str(refusal(rig))
    assert [p.name for p in rig.root.iterdir()] == ["thesis.tex"]


def test_a_root_that_cannot_be_made_is_named(rig: Rig) -> None:
    rig.root.write_text("a file")
    assert str(rig.root) in str(refusal(rig))


# -- records ---------------------------------------------------------------------------------


def warned(caplog: pytest.LogCaptureFixture, path: Path) -> bool:
    return any(str(path) in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"id": "x"}\n00000000\n', b"\xff" * 100])
@pytest.mark.parametrize("record", ["job.json", "claim.json", "end.json"])
def test_a_damaged_record_is_named_and_no_state_and_stops_nobody(
    rig: Rig, caplog: pytest.LogCaptureFixture, record: str, damage: bytes
) -> None:
    id = rig.one(shell("true", key="damaged"))
    rig.end(id)
    rig.kill_supervisor()
    file = rig.spool.jobs / id / record
    file.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert rig.driver().snapshot((), [id]).observations == ()
    assert warned(caplog, file)
    assert any(str(file) in check.detail for check in rig.driver().probe() if not check.ok)
    assert rig.run(shell("exit 0")).state is JobState.SUCCEEDED
    assert all(listed.seen.id != id for listed in rig.driver().list(None, None))
    error = rig.refused(shell("true", key="damaged")).error
    assert isinstance(error, StoreError)
    assert str(file) in str(error)


def test_a_damaged_queued_job_is_never_run_and_stops_nobody(rig: Rig, tmp_path: Path) -> None:
    rig.settings = {"max_cpu": 1.0}
    go, mark = tmp_path / "go", tmp_path / "ran"
    rig.submit(shell(f"while ! [ -e {go} ]; do sleep 0.01; done"))
    damaged = rig.one(shell(f"touch {mark}"))
    last = rig.one(shell("true"))
    (rig.spool.jobs / damaged / "job.json").write_bytes(b"{}")
    go.touch()
    assert rig.end(last).state is JobState.SUCCEEDED
    assert not mark.exists()
    assert damaged in rig.spool.supervisor_log.read_text()


def test_a_record_of_another_job_is_foreign(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    one, other = rig.submit(shell("true"), shell("true"))
    rig.end(one)
    shutil.copy(rig.spool.jobs / other / "job.json", rig.spool.jobs / one / "job.json")
    assert rig.driver().snapshot((), [one]).observations == ()
    assert warned(caplog, rig.spool.jobs / one)


def test_what_lies_among_the_jobs_and_is_none_is_named(rig: Rig) -> None:
    rig.spool.open()
    (rig.spool.jobs / "notes").mkdir()
    (rig.spool.jobs / jobspec.id_of("k")).write_text("a file in the place of a job")
    assert rig.run(shell("exit 0")).state is JobState.SUCCEEDED
    (bad,) = [check for check in rig.driver().probe() if not check.ok]
    assert "notes" in bad.detail
    assert jobspec.id_of("k") in bad.detail
    assert isinstance(rig.refused(shell("true", key="k")).error, StoreError)


def test_all_is_well_in_a_spool_in_use(rig: Rig) -> None:
    rig.end(rig.one(shell("true")))
    checks = {check.name: check for check in rig.driver().probe()}
    assert all(check.ok for check in checks.values())
    assert set(checks) == {"spool", "supervisor", "disk", "records"}


def test_a_missing_supervisor_is_told_while_jobs_are_unfinished(rig: Rig) -> None:
    rig.running(rig.one(shell("sleep 60")))
    rig.kill_supervisor()
    (bad,) = [check for check in rig.driver().probe() if not check.ok]
    assert bad.name == "supervisor"
    assert bad.remedy


# -- a full disk -----------------------------------------------------------------------------


class Disk:
    """A small disk of its own, that can be filled and freed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"

    def fill(self) -> None:
        with self.ballast.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk to fill, and not everywhere")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def small(rig: Rig, disk: Disk) -> Rig:
    """A spool on the small disk."""
    rig.root = disk.path / "spool"
    rig.settings = {"max_cpu": 1.0, "grace": 1.0}
    return rig


def test_a_submit_to_a_full_disk_is_refused_with_nothing_half_made(small: Rig, disk: Disk) -> None:
    small.spool.open()
    disk.fill()
    with pytest.raises(StoreError, match="No space left") as caught:
        list(small.driver().submit([shell("true", key="k")]))
    assert "free some space" in caught.value.remedy
    assert small.spool.ids() == []
    assert list(small.spool.tmp.iterdir()) == []
    disk.free()
    assert small.run(shell("true", key="k")).state is JobState.SUCCEEDED
    small.clean()


def test_no_end_is_lost_on_a_full_disk(small: Rig, disk: Disk, tmp_path: Path) -> None:
    go = tmp_path / "go"
    id = small.one(shell(f"while ! [ -e {go} ]; do sleep 0.01; done; exit 3"))
    small.running(id)
    disk.fill()
    go.touch()
    assert small.end(id).exit_code == 3
    small.clean()


def test_jobs_are_cancelled_on_a_full_disk(small: Rig, disk: Disk) -> None:
    id = small.one(shell("sleep 60"))
    small.running(id)
    disk.fill()
    small.driver().cancel(refs([id]), reason="it fills the disk")
    assert small.end(id).state is JobState.CANCELLED
    small.clean()


def test_a_queued_job_waits_until_there_is_room_and_runs_once(
    small: Rig, disk: Disk, tmp_path: Path
) -> None:
    go, lines = tmp_path / "go", tmp_path / "lines"
    first = small.one(shell(f"while ! [ -e {go} ]; do sleep 0.01; done"))
    queued = small.one(shell(f"echo ran >> {lines}"))
    small.running(first)
    disk.fill()
    go.touch()
    small.end(first)
    assert small.record(queued).state is JobState.QUEUED
    disk.free()
    assert small.end(queued).state is JobState.SUCCEEDED
    assert lines.read_text() == "ran\n"
    small.clean()


def test_a_claim_that_names_a_dead_process_is_ended_on_a_full_disk(small: Rig, disk: Disk) -> None:
    id = small.one(shell("sleep 60"))
    small.running(id)
    view = small.spool.view(id)
    assert view is not None
    assert isinstance(view.claim, Claim)
    small.kill_supervisor()
    disk.fill()
    processes.kill_session(view.claim.pid, view.claim.identity)
    os.kill(view.claim.pid, 9)
    assert small.end(id).state is JobState.FAILED
    small.clean()


def test_half_a_line_in_the_log_of_changes_spoils_no_other(rig: Rig) -> None:
    watch = rig.driver().watch((), None, lambda: ())
    next(watch)
    with rig.spool.changes.open("ab") as log:
        log.write(b'{"id": "cut sh')
    id = rig.one(shell("true"))
    eventually(lambda: any(seen.final and seen.id == id for seen in next(watch).observations))
    watch.close()
