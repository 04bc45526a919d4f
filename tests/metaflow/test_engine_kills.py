"""A job of an engine elsewhere never outlives its run either, whoever is killed here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from batchbridge import Client, Job

from .conftest import FLOWS, Place, eventually
from .engines import ENGINES, There, settings_of

pytestmark = pytest.mark.timeout(600)  # whole flows, of several processes each

RETRY = ("--with", "retry:times=1,minutes_between_retries=0")
LONG = 300.0


@dataclass
class Running:
    """A run whose every part has begun."""

    place: Place
    there: There
    process: subprocess.Popen[str]

    def processes_of_tasks(self) -> list[psutil.Process]:
        """The processes that Metaflow started for attempts."""
        wanted = {self.there.name, "--spec"}
        return [p for p in self.place.processes() if wanted <= set(_words(p))]

    def finish(self) -> str:
        out, _ = self.process.communicate(timeout=LONG)
        return out

    def check_nothing_is_left(self, console: str) -> list[Job]:
        """No process, no job that goes on, nothing remembered; the jobs."""
        eventually(self.place.no_process_left, "no process is left", LONG)
        (run_id,) = set(re.findall(r"run-id (\d+)", console))
        with Client(self.there.name, settings=settings_of(self.there), journal=False) as client:
            jobs = client.list(f"mf.KillFlow.{run_id}")
            assert jobs
            assert all(job.refresh().terminal for job in jobs)
        assert not list(self.place.root.glob("state/metaflow/*"))
        return jobs


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module", params=ENGINES)
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    with request.param() as found:
        yield found


def started(place: Place, there: There, parts: str, *words: str, grace: int = 1) -> Running:
    text = (FLOWS / "kill_flow.py").read_text().replace("local_batch", there.name)
    if there.name == "armada":  # which says that a job is over before its pod has gone
        options = f"{{'grace': {grace}, 'priority_class': 'armada-preemptible'}}"
        text = text.replace("(cpu=0.1)", f"(cpu=0.1, options={options})")
    flow = place.root / "kill_flow.py"
    flow.write_text(text)
    words = ("run", "--place", str(place.root), "--parts", parts, *words)
    process = place.start(flow, *words, env=there.env)
    count = len(parts.split(","))
    eventually(
        lambda: len(place.marks()) == count or process.poll() is not None, "every part begins", LONG
    )
    assert len(place.marks()) == count, process.communicate()[0]
    return Running(place, there, process)


def test_a_siblings_failure_ends_the_others(place: Place, there: There) -> None:
    run = started(place, there, "linger,fail")
    console = run.finish()
    assert run.process.returncode == 1
    assert "it fails while the others go on" in console
    run.check_nothing_is_left(console)


def test_ctrl_c_ends_the_jobs(place: Place, there: There) -> None:
    run = started(place, there, "linger,stubborn")
    os.killpg(run.process.pid, signal.SIGINT)
    jobs = run.check_nothing_is_left(run.finish())
    assert {job.record.state for job in jobs} == {"CANCELLED"}


def test_a_kill_of_the_launcher_and_its_processes_at_once_ends_the_jobs(
    place: Place, there: There
) -> None:
    run = started(place, there, "linger,stubborn")
    os.killpg(run.process.pid, signal.SIGKILL)
    run.check_nothing_is_left(run.finish())


def test_after_a_kill_of_a_tasks_process_a_retry_waits_for_the_jobs_end(
    place: Place, there: There
) -> None:
    run = started(place, there, "stubborn", *RETRY)
    run.processes_of_tasks()[0].kill()
    console = run.finish()
    assert run.process.returncode == 0, console
    marks = place.marks()
    assert sorted(name.split(".")[1] for name in marks) == ["0", "1"]
    assert set(marks.values()) == {"True"}
    run.check_nothing_is_left(console)


def test_after_a_preemption_a_retry_waits_until_no_process_is_left(
    place: Place, there: There
) -> None:
    if there.name == "nomad":
        pytest.skip("Nomad preempts for others alone")
    run = started(place, there, "stubborn", *RETRY, grace=8)
    listed = place.flow(place.root / "kill_flow.py", there.name, "list", env=there.env)
    (run_id,) = set(re.findall(r"mf\.KillFlow\.(\d+)", listed))
    with Client(there.name, settings=settings_of(there), journal=False) as client:
        client.preempt(client.list(f"mf.KillFlow.{run_id}"), reason="test")
    console = run.finish()
    assert run.process.returncode == 0, console
    assert "FAILED: PREEMPTED" in console
    marks = place.marks()
    assert sorted(name.split(".")[1] for name in marks) == ["0", "1"]
    assert set(marks.values()) == {"True"}
    run.check_nothing_is_left(console)


def test_a_job_that_is_killed_from_the_command_line_is_not_retried(
    place: Place, there: There
) -> None:
    """With --purge the output stays where ``flow.py logs`` looks, whoever saved it."""
    run = started(place, there, "linger", *RETRY)
    kill = (there.name, "kill", *(["--purge"] if there.name == "nomad" else []))
    place.flow(place.root / "kill_flow.py", *kill, env=there.env, within=LONG)
    console = run.finish()
    assert run.process.returncode == 1
    assert len(place.marks()) == 1
    (run_id,) = set(re.findall(r"run-id (\d+)", console))
    kept = place.flow(place.root / "kill_flow.py", "logs", f"{run_id}/work", env=there.env)
    assert kept.count("the last words of linger") == 1


def test_the_jobs_of_a_run_are_found_and_killed_by_each_option(place: Place, there: There) -> None:
    run = started(place, there, "linger")

    def asked(*words: str) -> list[str]:
        """The references in what the command line prints of that."""
        said = place.flow(place.root / "kill_flow.py", there.name, *words, env=there.env)
        return re.findall(rf"\b{there.name}://\S+", said)

    (ref,) = asked("list")
    assert asked("list", "--my-runs") == [ref]
    run_id = re.findall(r"KillFlow\W(\d+)", ref)[0]
    ours = {
        "--run-id": run_id,
        "--user": "tester",
        "--prefix": f"KillFlow.{run_id}",
        "--job-id": ref,
        "--job-set": f"mf.KillFlow.{run_id}",
    }
    for option, value in ours.items():
        assert asked("list", option, value) == [ref], option
        assert asked("list", option, value.replace(value[-3:], "no!")) == [], option
    assert ref in asked("kill", "--job-id", ref)
    run.finish()
    assert run.process.returncode == 1
