"""What is kept about a run, and what the guard and the next launcher make of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from metaflow_extensions.batchbridge.plugins import runs
from metaflow_extensions.batchbridge.plugins.runs import Run, Task


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BATCHBRIDGE_STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def run() -> Run:
    return runs.launched_here("MyFlow", "17", ("local", None))


def test_a_jobs_name_tells_its_attempt(run: Run) -> None:
    task = Task("train", "5", 2)
    assert run.job_name(task) == "MyFlow.17.train.5.2"
    assert runs.task_of(run.job_name(task)) == task


@pytest.mark.parametrize("name", ["", "train", "a.b.c.d", "a.b.c.d.e", "a.b.c.d.1.2"])
def test_other_names_tell_none(name: str) -> None:
    assert runs.task_of(name) is None


def test_a_run_whose_launcher_lives_is_not_abandoned(run: Run) -> None:
    runs.remember(run)
    assert list(runs.abandoned("MyFlow")) == []


def test_a_launcher_is_known_by_its_id_and_its_start(run: Run) -> None:
    assert not run.launcher_gone()
    assert replace(run, started=run.started - 10).launcher_gone()
    ended = psutil.Popen(["true"])
    ended.wait()
    assert replace(run, pid=ended.pid).launcher_gone()
    assert not replace(run, pid=ended.pid, host="elsewhere").launcher_gone()


def test_an_abandoned_run_is_found_until_it_is_forgotten(run: Run, state: Path) -> None:
    gone = replace(run, started=0.0)
    runs.remember(gone)
    assert list(runs.abandoned("MyFlow")) == [gone]
    assert list(runs.abandoned("*")) == [gone]
    assert list(runs.abandoned("Other")) == []
    runs.forget(gone)
    runs.forget(gone)
    assert list(runs.abandoned("MyFlow")) == []


def test_half_a_record_and_a_foreign_one_are_passed_over(run: Run, state: Path) -> None:
    (state / "metaflow").mkdir()
    for number, text in enumerate(("", "{", "[]", '{"flow": "MyFlow"}', '{"profiles": 3}')):
        (state / "metaflow" / f"MyFlow.{number}.json").write_text(text)
    assert list(runs.abandoned("MyFlow")) == []


def test_references_are_kept_for_engines_that_do_not_list(run: Run) -> None:
    runs.remember(run)
    assert runs.remembered_jobs(run) == []
    for number in (0, 1):
        runs.remember_job(run, Task("train", "5", number), f"tsp://here/{number}")
    assert runs.remembered_jobs(run) == [
        ("MyFlow.17.train.5.0", "tsp://here/0"),
        ("MyFlow.17.train.5.1", "tsp://here/1"),
    ]
    runs.forget(run)
    assert runs.remembered_jobs(run) == []
