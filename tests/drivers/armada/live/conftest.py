"""A real Armada: the one that ``localdev/armada up`` has started, and said so in the environment.

What only one kind of it can show is skipped on the other, with the kind in the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from batchbridge import Client
from batchbridge.client import Job
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.settings import ArmadaSettings
from localdev.armada_ready import STATE_VARIABLE, settings_of
from localdev.armada_state import Stack, load
from tests.drivers.armada.live.kubernetes import Kubernetes

REPO = Path(__file__).parents[4]
MODEST = {"image": "busybox", "cpu": 0.1, "memory": "64M"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory is live, and takes as long as an engine does."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def state() -> Path:
    """Where ``localdev/armada`` keeps what it has started."""
    named = os.environ.get(STATE_VARIABLE, "")
    if not named:
        pytest.skip(f'{STATE_VARIABLE} names no Armada: eval "$(localdev/armada up …)"')
    return Path(named)


@pytest.fixture(scope="session")
def stack(state: Path) -> Stack:
    """What runs."""
    there = load(state)
    assert there is not None, f"{state} has no Armada: localdev/armada up"
    assert not there.dead()
    return there


@pytest.fixture(scope="session")
def restart(state: Path, stack: Stack) -> Callable[[str], None]:
    """``restart("server")``: end one of its processes, and start it again."""

    def restart(name: str) -> None:
        command = [sys.executable, "-m", "localdev.armada_server", "--state", str(state)]
        done = subprocess.run([*command, "restart", name], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return restart


@pytest.fixture(scope="session")
def fake(stack: Stack) -> Stack:
    """One whose pods are only waited for."""
    if stack.kind != "fake-executor":
        pytest.skip(f"only a fakeexecutor shows it; this is {stack.kind}")
    return stack


@pytest.fixture(scope="session")
def real(stack: Stack) -> Stack:
    """One with Armada's executor and Binoculars, which runs commands."""
    if stack.kind == "fake-executor":
        pytest.skip("only a real executor shows it; this is a fakeexecutor")
    return stack


@pytest.fixture(scope="session")
def containers(real: Stack) -> Stack:
    """One whose pods are containers."""
    if real.kind == "processes":
        pytest.skip("only containers show it; this is processes")
    return real


@pytest.fixture(scope="session")
def kubernetes(real: Stack) -> Kubernetes:
    """Where its pods are."""
    if not real.kubeconfig or shutil.which("kubectl") is None:
        pytest.skip("its Kubernetes is not known, or there is no kubectl on PATH to ask it")
    return Kubernetes(real.kubeconfig)


@pytest.fixture(scope="session")
def most(kubernetes: Kubernetes) -> float:
    """More than half of the cores of the one node."""
    cores = kubernetes.cores()
    if len(cores) != 1:
        pytest.skip(f"only one node can be filled; there are {len(cores)}")
    return cores[0] * 0.6


@pytest.fixture
def shared(real: Stack, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The options of a job that sees this test's own directory."""
    if real.kind == "processes":
        return {}
    if not request.getfixturevalue("kubernetes").is_here():
        pytest.skip("its nodes are not this machine, whose directory they should see")
    here = str(tmp_path)
    return {"volumes": [{"path": here, "source": {"hostPath": {"path": here}}}]}


@pytest.fixture
def settings(stack: Stack) -> ArmadaSettings:
    """How it is reached."""
    return settings_of(stack)


@pytest.fixture
def client(settings: ArmadaSettings) -> Iterator[Client]:
    """A client of it that keeps no journal."""
    with Client(driver=ArmadaDriver(settings), journal=False) as client:
        yield client


class Submit:
    """Submits one job after another to one client, into one job set; cancels what goes on."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.job_set = f"live-{uuid4().hex}"
        self.jobs: list[Job] = []

    def __call__(self, command: Any = "true", **fields: Any) -> Job:
        form = {**MODEST, "job_set": self.job_set, **fields}
        self.jobs.append(self.client.submit(command, **form))
        return self.jobs[-1]


@pytest.fixture
def submit(client: Client) -> Iterator[Submit]:
    """``submit("exit 3", timeout=5)``: a job that the test need not cancel."""
    submit = Submit(client)
    yield submit
    client.cancel([job for job in submit.jobs if not job.done()], reason="the test is over")
