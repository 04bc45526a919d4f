"""What is kept about a run, and what the guard and the next launcher make of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from batchbridge import Client, JobState
from metaflow_extensions.batchbridge.plugins import guard, runs
from metaflow_extensions.batchbridge.plugins.runs import Run, Task
from metaflow_extensions.batchbridge.plugins.targets import Target

TARGETS = (
    Target("local_batch", "local"),
    Target("armada", "armada", told=(("address.host", "there"), ("address.port", 1)), job_set="s"),
    Target("batchbridge", None),
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BATCHBRIDGE_STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def run() -> Run:
    return runs.launched_here("MyFlow", "17", TARGETS)


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


def test_trouble_at_one_engine_keeps_no_other_s_jobs_alive(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHBRIDGE_LOCAL_ROOT", str(state / "spool"))
    monkeypatch.setattr(guard, "QUIET", 0.0)
    gone = replace(run, targets=(Target("batchbridge", "no-such-profile"), TARGETS[0]))
    runs.remember(gone)
    name = run.job_name(Task("train", "5", 0))
    with Client("local", journal=False) as client:
        job = client.submit(["sleep", "600"], name=name, job_set=run.job_set)
        guard.sweep(gone)
        assert job.wait(10).state is JobState.CANCELLED
    assert list(runs.remembered("MyFlow")) == [gone]  # what could not be asked may have some yet


def test_half_a_record_and_a_foreign_one_are_passed_over(run: Run, state: Path) -> None:
    (state / "metaflow").mkdir()
    for number, text in enumerate(("", "{", "[]", '{"flow": "MyFlow"}', '{"targets": 3}')):
        (state / "metaflow" / f"MyFlow.{number}.json").write_text(text)
    assert list(runs.abandoned("MyFlow")) == []


def test_references_are_kept_for_engines_that_do_not_list(run: Run) -> None:
    runs.remember(run)
    assert runs.remembered_jobs(run) == {}
    for number in (0, 1):
        runs.remember_job(run, Task("train", "5", number), f"tsp://here/{number}")
    assert runs.remembered_jobs(run) == {
        "tsp://here/0": "MyFlow.17.train.5.0",
        "tsp://here/1": "MyFlow.17.train.5.1",
    }
    runs.forget(run)
    assert runs.remembered_jobs(run) == {}


def test_a_key_is_one_attempts_of_one_launcher_over_one_datastore(run: Run) -> None:
    task, here = Task("train", "5", 0), {"launch": "a", "user": "me", "root": "s3://here"}
    key = runs.key(run, task, **here)
    assert key == runs.key(replace(run, pid=1), task, **here)
    assert key.startswith("mf-MyFlow-17-train-5-0-")
    others = [
        runs.key(run, replace(task, attempt=1), **here),
        runs.key(run, replace(task, task_id="6"), **here),
        runs.key(run, replace(task, step="test"), **here),
        runs.key(replace(run, run_id="18"), task, **here),
        *(runs.key(run, task, **{**here, name: "other"}) for name in here),
    ]
    assert len({key, *(other.rpartition("-")[2] for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("value", "label"),
    [("train", "train"), ("a b@c.d", "a_b_c.d"), ("-x-", "x"), ("y" * 80, "y" * 63)],
)
def test_a_label_is_what_every_engine_takes(value: str, label: str) -> None:
    assert runs.label(value) == label
