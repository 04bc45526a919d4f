"""What a step's process says of its job while it waits, runs and ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchbridge import Client, Job, JobSpec
from batchbridge.errors import ConfigError, OutcomeUnknown, TransportError
from batchbridge.model import Explanation
from metaflow_extensions.batchbridge.plugins import launcher, telling
from metaflow_extensions.batchbridge.plugins.job import summary
from metaflow_extensions.batchbridge.plugins.telling import Telling
from tests.drivers.armada.server import Armada
from tests.drivers.nomad.agent import Agent, node

from .conftest import eventually

UNTIL = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "WAITED", 0.1)


@pytest.fixture
def armada() -> Iterator[Armada]:
    server = Armada(cpu=1)
    server.cluster.queues.add("q")
    yield server
    server.close()


def finished(job: Job) -> None:
    telling.submitted(job, "cpu 1 core")
    with Telling(job):
        record = job.wait(60)
    telling.ended(job, record, job.details())


def test_each_state_of_a_job_is_said_as_it_comes(
    armada: Armada, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {"address": armada.address, "queue": "q", "tls": "off"}
    with Client("armada", settings=settings, journal=False) as client:
        go = [sys.executable, "-c", UNTIL, str(tmp_path / "go")]
        first = client.submit(go, image="any", cpu=1, job_set="one")
        second = client.submit(["true"], image="any", cpu=1, job_set="two")
        telling.submitted(second, "cpu 1 core")
        with Telling(second):
            eventually(lambda: second.record.state == "QUEUED", "it waits")
            (tmp_path / "go").touch()
            record = second.wait(60)
        telling.ended(second, record, second.details())
        first.wait(60)
    said = [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()]
    told = [
        line.split()[0].rstrip(":") for line in said if not line.startswith(("logs:", "it waits:"))
    ]
    assert told == ["Job", "queued", "leased", "pending", "running", "succeeded"]
    assert "running on node-1" in said


def test_the_engines_reason_is_said_once_for_a_job_that_waits(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Agent(nodes=[node("small", memory=100)]) as agent:
        settings = {"address": agent.address}
        with Client("nomad", settings=settings, journal=False) as client:
            options = {"driver": "raw_exec"}
            job = client.submit(["true"], memory="1G", options=options, queue_timeout="3s")
            finished(job)
    said = capfd.readouterr().err
    assert said.count("it waits: ") == 1
    assert "memory" in said.partition("it waits: ")[2].splitlines()[0]
    assert said.splitlines()[-1].startswith(f"[{job.ref} FAILED: UNSCHEDULABLE")


def test_of_a_failure_the_engines_names_and_the_command_are_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with (
        Agent() as agent,
        Client("nomad", settings={"address": agent.address}, journal=False) as client,
    ):
        finished(client.submit(["sh", "-c", "exit 3"], options={"driver": "raw_exec"}))
    said = capfd.readouterr().err
    assert "allocation: " in said
    assert "nomad alloc logs " in said
    assert "FAILED: EXIT_CODE, exit code 3" in said.splitlines()[-1]


def test_of_a_job_on_this_machine_only_what_goes_wrong_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Client("local", settings={"root": str(tmp_path / "s")}, journal=False) as client:
        job = client.submit(["true"])
        finished(job)
    assert capfd.readouterr().err == f"[{job.ref}] Job is submitted: cpu 1 core.\n"


@pytest.mark.parametrize(
    ("remedy", "shown"),
    [("pip install 'batchbridge[x]'", "\n→ pip install 'batchbridge[x]'"), ("", "")],
)
def test_a_command_that_mends_an_error_can_be_copied(remedy: str, shown: str) -> None:
    error = ConfigError("it cannot be imported", remedy=remedy)
    assert telling.explained(error) == f"it cannot be imported{shown}"
    assert str(launcher.refusal("@x", error)).endswith(f"@x: it cannot be imported{shown}")


def test_no_key_of_a_run_s_own_is_offered() -> None:
    """No command of the user's could use it."""
    error = OutcomeUnknown("no answer", remedy="check it; then submit it again with --key mf-1")
    error.__cause__ = TransportError("it is down", remedy="check it")
    assert telling.explained(error) == "no answer\n→ check it"


@pytest.mark.parametrize(("cpu", "asked"), [(1, "cpu 1 core"), (0.5, "cpu 0.5 cores"), (None, "")])
def test_what_is_asked_for_is_told_in_words(cpu: float | None, asked: str) -> None:
    resolved = Client("local").engine.resolved
    assert summary(JobSpec(command=("true",), cpu=cpu), resolved) == asked


def test_of_what_was_told_already_only_the_remedy_is_told() -> None:
    job: Any = SimpleNamespace(explain=lambda: Explanation("it is too large", "ask for less"))
    assert telling.reason(job) == "it is too large; ask for less"
    assert telling.reason(job, "pool a: it is too large") == "ask for less"
