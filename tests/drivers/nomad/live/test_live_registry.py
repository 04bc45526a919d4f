"""An image behind a login: Nomad pulls it with a password that stands in no job."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from batchbridge import Cause, Client, JobState
from localdev.common import free_port
from localdev.nomad_agent import admin_of
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.images import KEEP, Keeper, need_busybox, shell_root
from tests.drivers.nomad.live.cluster import eventually
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of

pytestmark = LIVE
USER, PASSWORD = "ci", "hidden-password"
HASHED = "$2y$05$abcdefghijklmnopqrstuu4hGQvs0vDCt67WHag1MU8WWi6/aHllq"
"""That password as a registry keeps it."""


@pytest.fixture(scope="module")
def agent(start: Start) -> Agent:
    made = start(config=KEEP)
    if not made.features.docker:
        pytest.skip("docker info does not succeed")
    return made


@pytest.fixture(scope="module")
def image(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of an image that is in the registry, and no longer on this machine."""
    need_busybox()
    place = tmp_path_factory.mktemp("registry")
    with registry(place) as address:
        name, keeper = f"{address}/team/app:1", Keeper()
        known = Keeper(("docker", f"--config={place}"))
        keeper.add(name, shell_root())
        login = ("login", f"--username={USER}", "--password-stdin", address)
        assert known.run(*login, data=PASSWORD.encode()).returncode == 0
        pushed = known.run("push", name)
        assert pushed.returncode == 0, pushed.stderr
        keeper.remove(name)
        yield name
        keeper.remove(name)


@contextmanager
def registry(place: Path) -> Iterator[str]:
    """Where it listens; it knows one user."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("there is no docker-registry on PATH")
    address = f"127.0.0.1:{free_port()}"
    (place / "users").write_text(f"{USER}:{HASHED}\n")
    said = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(place / "images")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "tests", "path": str(place / "users")}},
    }
    (place / "config.yml").write_text(json.dumps(said))  # which is YAML too
    with (place / "log").open("wb") as log:
        served = subprocess.Popen(
            [program, "serve", str(place / "config.yml")], stdout=log, stderr=log
        )
    try:
        eventually(lambda: asked(address) == 401, "the registry answers")
        yield address
    finally:
        served.terminate()
        served.wait()


def asked(address: str) -> int:
    """What it answers to one whom it does not know; 0: nothing."""
    try:
        return requests.get(f"http://{address}/v2/", timeout=5).status_code
    except requests.ConnectionError:
        return 0


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    with client_of(settings(agent)) as made:
        yield made


def logged_in(password: str) -> dict[str, Any]:
    """Fields of a job that has that password as a secret."""
    auth = {"username": USER, "password": "${REGISTRY_PASSWORD}"}
    return {"secrets": {"REGISTRY_PASSWORD": password}, "options": {"config": {"auth": auth}}}


@pytest.fixture(autouse=True)
def passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHT", PASSWORD)
    monkeypatch.setenv("WRONG", "another-password")


@pytest.mark.parametrize("fields", [{}, logged_in("env:WRONG")], ids=["none", "a wrong one"])
def test_an_image_that_is_not_given_to_whoever_asks(client: Client, image: str, fields):
    end = client.submit("true", image=image, **fields).wait(90)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.IMAGE)
    assert image in end.message


def test_an_image_that_is_pulled_with_a_password(client: Client, agent: Agent, image: str):
    job = client.submit("busybox | head -1", image=image, **logged_in("env:RIGHT"))
    assert job.result(90).state is JobState.SUCCEEDED
    assert b"".join(chunk.data for chunk in job.logs()).startswith(b"BusyBox")
    assert PASSWORD not in json.dumps(admin_of(agent).ask("GET", f"job/{job.ref.id}"))
