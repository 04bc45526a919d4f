"""What a job runs first."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from metaflow_extensions.batchbridge.plugins import boot, boot_plan

SHOW = "import json, os, sys; print(json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]))"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A package with a user's file, a user's folder and a shared one."""
    source = tmp_path / "source"
    for name in ("flow.py", "lib/helper.py", ".mf_code/metaflow/__init__.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"# {name}\n")
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for entry in sorted(source.iterdir()):
            tar.add(entry, arcname=entry.name)
    return path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def plan_for(archive: Path, **changes: object) -> dict[str, object]:
    sha = hashlib.sha1(archive.read_bytes()).hexdigest()
    metadata = json.dumps({"version": 0, "archive_format": "tgz", "mfcontent_version": 1})
    package = boot_plan.Package(metadata, sha, str(archive))
    fetch = boot_plan.fetch_command(None, str(archive), "local")
    return {**boot_plan.plan(package, root=None, fetch=fetch, install=None), **changes}


def booted(
    tmp_path: Path, plan: dict[str, object], *words: str
) -> subprocess.CompletedProcess[str]:
    """Run the job's command as an engine would: in a directory and an environment of its own."""
    command = boot_plan.boot_command(sys.executable, plan, ["-c", SHOW, *words])
    (tmp_path / "tmp").mkdir(exist_ok=True)
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)


def test_the_step_starts_in_a_private_copy_of_the_package(tmp_path: Path, archive: Path) -> None:
    root = tmp_path / "datastore"
    root.mkdir()
    done = booted(tmp_path, plan_for(archive, link=str(root)), "a b", "$HOME", "it's")
    work, env, words = json.loads(done.stdout)
    assert words == ["a b", "$HOME", "it's"]
    assert (Path(work) / "lib/helper.py").read_text() == "# lib/helper.py\n"
    assert not (Path(work) / "flow.py").is_symlink()
    assert (Path(work) / ".mf_code").is_symlink()
    assert (Path(work) / ".metaflow").resolve() == root
    assert Path(work).stat().st_mode & 0o777 == 0o700
    assert env["PYTHONPATH"] == f"{work}/.mf_code"
    assert env["METAFLOW_EXTRACTED_ROOT"] == work
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_the_package_is_fetched_once_per_content(tmp_path: Path, archive: Path) -> None:
    plan = plan_for(archive)
    first, _, _ = json.loads(booted(tmp_path, plan).stdout)
    archive.unlink()
    second, _, _ = json.loads(booted(tmp_path, plan).stdout)
    assert first != second
    assert (Path(second) / "flow.py").exists()
    assert names(tmp_path / "cache/batchbridge/metaflow") == [plan["sha"]]


def test_a_stage_that_fails_says_which_and_what_it_said(tmp_path: Path, archive: Path) -> None:
    stages = [("fetching the package", "echo no route to host; exit 7")]
    done = booted(tmp_path, plan_for(archive, stages=stages))
    assert done.returncode == 1
    assert "fetching the package failed with exit code 7\nno route to host" in done.stderr


def test_of_two_that_unpack_at_once_the_second_uses_the_first(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    other_one = f"mkdir -p {cache}/sha && touch {cache}/sha/theirs"
    unpacked = boot.unpacked(str(cache), "sha", [("racing", f"touch mine; {other_one}")])
    assert names(Path(unpacked)) == ["theirs"]
    assert names(cache) == ["sha"]


def test_old_packages_are_removed_when_a_new_one_comes(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name, age in (("old", boot.KEEP + 60), ("used", 60)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (time.time() - age,) * 2)
    boot.unpacked(str(cache), "new", [("nothing", "true")])
    assert names(cache) == ["new", "used"]


def test_paths_are_prepended_and_the_rest_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.setenv("METAFLOW_EXTRACTED_ROOT", "/old")
    boot.prepend("PYTHONPATH", "/w/.mf_code")
    boot.prepend("METAFLOW_EXTRACTED_ROOT", "/w")
    assert os.environ["PYTHONPATH"] == "/w/.mf_code:/mine"
    assert os.environ["METAFLOW_EXTRACTED_ROOT"] == "/w"


def test_what_the_dead_left_is_removed_by_the_next_and_what_is_used_stays(
    tmp_path: Path, archive: Path
) -> None:
    temporary = tmp_path / "tmp"
    used, lock = boot.claimed(_made(temporary), "batchbridge-task")
    for name in ("batchbridge-task-dead", "batchbridge-task-new", "batchbridge-other", "theirs"):
        (temporary / name).mkdir()
    for entry in temporary.iterdir():
        if not entry.name.endswith("new"):
            os.utime(entry, (time.time() - boot.BEING_MADE - 1,) * 2)
    work, *_ = json.loads(booted(tmp_path, plan_for(archive)).stdout)
    left = {entry.name for entry in temporary.iterdir()}
    others = {"batchbridge-task-new", "batchbridge-other", "theirs"}
    assert left == {Path(used).name, Path(work).name, *others}
    os.close(lock)
    boot.remove_dead(_entry(Path(used)))
    assert not Path(used).exists()


def test_the_step_holds_its_directory_as_long_as_it_lives(tmp_path: Path, archive: Path) -> None:
    step = "import os, sys; print(os.getcwd(), flush=True); sys.stdin.read()"
    command = boot_plan.boot_command(sys.executable, plan_for(archive), ["-c", step])
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": _made(tmp_path / "tmp")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=env, text=True, **pipes) as process:
        assert process.stdout is not None
        work = Path(process.stdout.readline().strip())
        os.utime(work, (0, 0))
        boot.remove_dead(_entry(work))
        assert work.exists()
        process.kill()
    boot.remove_dead(_entry(work))
    assert not work.exists()


def _made(directory: Path) -> str:
    directory.mkdir(exist_ok=True)
    return str(directory)


def _entry(path: Path) -> os.DirEntry[str]:
    (entry,) = [entry for entry in os.scandir(path.parent) if entry.path == str(path)]
    return entry
