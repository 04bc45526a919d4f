"""What the supervisor does beside running jobs: pruning, sweeping, ending when idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchbridge.errors import CursorExpired
from batchbridge.model import Absent
from batchbridge_local import launch
from batchbridge_local.driver import LocalDriver
from batchbridge_local.retention import Keep
from tests.drivers.local.rig import Rig, eventually, shell, submission


@pytest.mark.parametrize("keep", [{"keep_for": 0.001}, {"keep_size": 0}])
def test_old_jobs_are_removed_and_unfinished_ones_never(rig: Rig, keep: dict[str, float]) -> None:
    old = rig.one(shell("true"))
    rig.end(old)
    unfinished = rig.one(shell("sleep 60"))
    rig.running(unfinished)
    rig.kill_supervisor()
    rig.submit(shell("true"), **keep)
    eventually(lambda: rig.spool.view(old) is None)
    assert rig.spool.view(unfinished) is not None
    absent, *_ = rig.driver().snapshot((), [old]).observations
    assert isinstance(absent, Absent)


def test_what_is_young_and_small_is_kept(rig: Rig) -> None:
    old = rig.one(shell("true"))
    rig.end(old)
    rig.kill_supervisor()
    rig.end(rig.one(shell("true")))
    assert rig.spool.view(old) is not None


def test_an_idle_supervisor_ends_and_the_next_verb_starts_another(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = f"import batchbridge_local.supervisor as s; s.IDLE = 0.2; {launch._MAIN}"
    rig.spool.open()
    launch.start(rig.spool, Keep(1e6, 1 << 30), hurried)
    rig.end(rig.one(shell("true")))
    eventually(lambda: not rig.supervisor())
    assert not rig.spool.wake()
    rig.end(rig.one(shell("true")))


def test_no_job_is_left_alone_by_a_supervisor_that_is_leaving(rig: Rig) -> None:
    hurried = f"import batchbridge_local.supervisor as s; s.IDLE = 0.0; {launch._MAIN}"
    rig.spool.open()
    for n in range(20):
        if not rig.spool.wake():
            launch.start(rig.spool, Keep(1e6, 1 << 30), hurried)
        id = rig.one(shell("true", key=str(n)))
        eventually(lambda id=id: rig.spool.ended(id))


def test_a_supervisor_whose_spool_is_removed_ends(rig: Rig, tmp_path: Path) -> None:
    rig.end(rig.one(shell("true")))
    pid = rig.supervisor()
    rig.root.rename(tmp_path / "elsewhere")
    rig.root = tmp_path / "elsewhere"
    eventually(lambda: rig.supervisor() != pid)


def test_a_watch_of_a_log_begun_anew_must_start_over(rig: Rig) -> None:
    driver = rig.driver()
    watch = driver.watch((), None, lambda: ())
    cursor = next(watch).cursor
    aside = rig.root / "aside"
    aside.write_text("another generation\n")
    aside.rename(rig.spool.changes)
    with pytest.raises(CursorExpired):
        next(watch)
    with pytest.raises(CursorExpired):
        next(driver.watch((), cursor, lambda: ()))


@pytest.mark.parametrize(
    "bad", [{"max_cpu": 0.0}, {"max_memory": 0}, {"keep_for": 0.0}, {"grace": -1.0}]
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        LocalDriver.Settings(root="x", **bad)


def test_making_a_driver_does_no_io(rig: Rig) -> None:
    driver = rig.driver()
    assert driver.hints is not None
    driver.close()
    assert not rig.root.exists()


def test_a_secret_is_in_the_command_s_environment_and_nowhere_else(
    rig: Rig, tmp_path: Path
) -> None:
    go, mark = tmp_path / "go", tmp_path / "mark"
    right = 'test "$TOKEN" = canary-$((4700 + 11))'
    script = f"touch {mark}; while ! [ -e {go} ]; do sleep 0.01; done; {right}"
    id = rig.one(submission("sh", "-c", script, secrets={"TOKEN": "canary-4711"}))
    eventually(mark.exists)
    held = [p for p in rig.root.rglob("*") if p.is_file() and b"canary-4711" in p.read_bytes()]
    assert held == []
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        assert b"canary-4711" not in _read(arguments)
    go.touch()
    assert rig.end(id).exit_code == 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
