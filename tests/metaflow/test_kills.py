"""A job never outlives its run, and no attempt starts before the end of the last one's job.

Each test ends processes for real, in one of the ways that they are ended in life.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from datetime import UTC, datetime

import psutil
import pytest

from batchbridge import Client, JobState
from batchbridge.client import Job

from .conftest import DEADLINE, FLOWS, Place, a_driver, eventually

pytestmark = pytest.mark.timeout(300)  # whole flows, of several processes each

GRACE = {"BATCHBRIDGE_LOCAL_GRACE": "1"}
RETRY = ("--with", "retry:times=1,minutes_between_retries=0")


def started(place: Place, *words: str, parts: str = "linger") -> subprocess.Popen[str]:
    """A run whose every part has begun."""
    names = ["run", "--place", str(place.root), "--parts", parts, *words]
    process = place.start("kill_flow.py", *names, env=GRACE)
    eventually(
        lambda: len(place.marks()) == len(parts.split(",")) or process.poll() is not None,
        "every part begins",
    )
    return process


def per_task_processes(place: Place) -> list[psutil.Process]:
    """The processes that Metaflow started for attempts."""
    return [p for p in place.processes() if {"local_batch", "--spec"} <= set(_words(p))]


def guards(place: Place) -> list[psutil.Process]:
    name = "metaflow_extensions.batchbridge.plugins.guard"
    return [p for p in place.processes() if name in _words(p)]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def kill(process: psutil.Process | subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)


def jobs(place: Place) -> list[Job]:
    """All jobs of the place's flows."""
    with Client("local", settings={"root": str(place.spool)}, journal=False) as client:
        names = {listed.job_set for listed in client.driver.list(None, None)}
        return [job for name in names for job in client.list(name)]


def check_nothing_is_left(place: Place) -> None:
    """Every process of the run ends, every job has ended, and nothing is remembered of it."""
    eventually(place.no_process_left, lambda: f"no process is left: {place.told()}")
    assert jobs(place)
    assert all(job.done() for job in jobs(place))
    assert not list(place.root.glob("state/metaflow/*"))


def wait_for_words(process: subprocess.Popen[str], words: str = "the last words of linger") -> None:
    """Read what the run prints until those words, the task's if none are named, are among it."""
    assert process.stdout is not None
    assert any(words in line for line in process.stdout)


def finished(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=DEADLINE)
    return out


def test_a_siblings_failure_ends_the_others(place: Place) -> None:
    process = started(place, parts="linger,fail")
    out = finished(process)
    assert process.returncode == 1
    assert "it fails while the others go on" in out
    check_nothing_is_left(place)


def test_ctrl_c_ends_the_jobs(place: Place) -> None:
    process = started(place, parts="linger,stubborn")
    os.killpg(process.pid, signal.SIGINT)
    check_interrupted(place, process)


def test_another_ctrl_c_while_the_tasks_are_ended_ends_the_jobs_too(place: Place) -> None:
    process = started(place, parts="linger,stubborn")
    os.killpg(process.pid, signal.SIGINT)
    wait_for_words(process, "Terminating 2 active tasks")
    os.killpg(process.pid, signal.SIGINT)
    check_interrupted(place, process)


def check_interrupted(place: Place, process: subprocess.Popen[str]) -> None:
    finished(process)
    assert process.returncode != 0
    check_nothing_is_left(place)
    assert {job.record.state for job in jobs(place)} == {JobState.CANCELLED}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_the_launcher_alone_ends_the_jobs(place: Place, number: int) -> None:
    process = started(place)
    wait_for_words(process)  # they are shown while the task goes on
    process.send_signal(number)
    finished(process)
    check_nothing_is_left(place)


def test_a_kill_of_the_process_of_a_task_ends_the_run_and_the_job(place: Place) -> None:
    process = started(place)
    kill(per_task_processes(place)[0])
    finished(process)
    assert process.returncode == 1
    check_nothing_is_left(place)


def test_after_such_a_kill_a_retry_waits_for_the_jobs_end(place: Place) -> None:
    process = started(place, *RETRY, parts="stubborn")
    kill(per_task_processes(place)[0])
    out = finished(process)
    assert process.returncode == 0, out
    marks = place.marks()
    assert sorted(name.split(".")[1] for name in marks) == ["0", "1"]
    assert set(marks.values()) == {"True"}
    check_nothing_is_left(place)


def test_after_such_a_kill_the_fallback_of_catch_waits_for_the_jobs_end(place: Place) -> None:
    process = place.start("caught_flow.py", "run", "--place", str(place.root), env=GRACE)
    eventually(place.marks, "the task begins")
    kill(per_task_processes(place)[0])
    out = finished(process)
    assert process.returncode == 0, out
    (line,) = [line for line in out.splitlines() if "Task fallback is starting" in line]
    began = datetime.fromisoformat(re.split(r" \[", line)[0]).replace(tzinfo=UTC)
    (job,) = jobs(place)
    assert "caught: True" in out
    assert job.record.finished_at is not None
    assert job.record.finished_at <= began.timestamp() + 0.001
    check_nothing_is_left(place)


def test_a_kill_of_the_launcher_and_its_processes_at_once_ends_the_jobs(place: Place) -> None:
    process = started(place, parts="linger,stubborn")
    victims = per_task_processes(place)
    assert len(victims) == 2
    os.killpg(process.pid, signal.SIGKILL)
    finished(process)
    check_nothing_is_left(place)


def test_a_kill_of_everything_here_is_named_and_mended_by_the_next(place: Place) -> None:
    process = started(place)
    for victim in (process, *guards(place), *per_task_processes(place)):
        kill(victim)
    finished(process)
    (orphan,) = jobs(place)
    assert not orphan.done()
    listed = place.flow("kill_flow.py", "local_batch", "list", "--my-runs")
    assert f"{orphan.ref.id} RUNNING {orphan.name}" in listed
    assert f"{orphan.ref.id} of run" in listed
    assert f"{orphan.ref.id} of run" in place.batchbridge("doctor", code=125)
    flow = ("kill_flow.py", "run", "--place", str(place.root), "--parts", "fail")
    assert "outlived its launcher" in place.flow(*flow, code=1)
    run_id = orphan.job_set.rpartition(".")[2]
    place.flow("kill_flow.py", "local_batch", "kill", "--run-id", run_id)
    assert (
        place.flow("kill_flow.py", "local_batch", "list", "--run-id", run_id).count("local://") == 0
    )
    check_nothing_is_left(place)


FORGETFUL = """
from dataclasses import replace

from batchbridge_local import LocalDriver

class Driver(LocalDriver):
    name = "theirs"
    capabilities = replace(LocalDriver.capabilities, list="absent", labels=False)
"""


@pytest.mark.parametrize("victims", ["all", "per task"])
def test_an_engine_that_cannot_list_is_swept_by_what_was_written_down(
    place: Place, victims: str
) -> None:
    env = GRACE | a_driver(place, "forgetful", FORGETFUL)
    env |= {"BATCHBRIDGE_THEIRS_ROOT": str(place.spool), "BATCHBRIDGE_THEIRS_GRACE": "1"}
    text = (FLOWS / "kill_flow.py").read_text().replace("local_batch", "batchbridge")
    flow = place.root / "kill_flow.py"
    flow.write_text(text.replace("(cpu=0.1)", '(backend="theirs")'))
    process = place.start(flow, "run", "--place", str(place.root), *RETRY, env=env)
    eventually(place.marks, "the task begins")
    if victims == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        kill(next(p for p in place.processes() if {"batchbridge", "--spec"} <= set(_words(p))))
    finished(process)
    assert set(place.marks().values()) == {"True"}
    assert len(place.marks()) == (1 if victims == "all" else 2)
    check_nothing_is_left(place)


def test_a_task_that_kills_its_whole_group_leaves_its_last_words(place: Place) -> None:
    process = started(place, parts="die")
    out = finished(process)
    assert process.returncode == 1
    assert out.count("the last words of die") == 1
    assert "signal 9" in out
    (run_id,) = {job.job_set.rpartition(".")[2] for job in jobs(place)}
    kept = place.flow("kill_flow.py", "logs", f"{run_id}/work")
    assert kept.count("the last words of die") == 1


def test_a_job_that_is_cancelled_elsewhere_is_not_retried(place: Place) -> None:
    process = started(place, *RETRY)
    place.flow("kill_flow.py", "local_batch", "kill", "--my-runs")
    finished(process)
    assert process.returncode == 1
    assert len(place.marks()) == 1
    check_nothing_is_left(place)
