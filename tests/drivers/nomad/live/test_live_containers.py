"""Containers of Docker and of Podman, in an image that is made here: nothing is pulled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from batchbridge import Cause, Client, Job, JobState
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.images import KEEP, Keeper, need_busybox, shell_root
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of
from tests.drivers.nomad.live.podman import podman

pytestmark = LIVE
EATS_MEMORY = "dd if=/dev/zero of=/dev/null bs=400M count=1"


@dataclass(frozen=True)
class Containers:
    """An agent that runs containers, and an image with a shell and little else."""

    driver: str
    client: Client
    image: str

    def submit(self, command: str | list[str], **fields: Any) -> Job:
        """Submit a job to it, in that image unless another is named."""
        options = {"driver": self.driver, **fields.pop("options", {})}
        return self.client.submit(command, **{"image": self.image, **fields, "options": options})


@pytest.fixture(scope="module", params=["docker", "podman"])
def containers(request: pytest.FixtureRequest, start: Start) -> Iterator[Containers]:
    need_busybox()
    of = {"docker": of_docker, "podman": of_podman}[request.param]
    with (
        of(start) as (keeper, agent),
        keeper.image(shell_root()) as image,
        client_of(settings(agent)) as client,
    ):
        yield Containers(request.param, client, image)


@contextmanager
def of_docker(start: Start) -> Iterator[tuple[Keeper, Agent]]:
    agent = start(config=KEEP)
    if not agent.features.docker:
        pytest.skip("docker info does not succeed")
    yield Keeper(), agent


@contextmanager
def of_podman(start: Start) -> Iterator[tuple[Keeper, Agent]]:
    with podman() as (keeper, config):
        yield keeper, start(config=config)


def output(job: Job, stream: str = "stdout") -> str:
    return b"".join(chunk.data for chunk in job.logs(streams=[stream])).decode()


def test_a_command_runs_in_an_image(containers: Containers):
    job = containers.submit("busybox | head -1; exit 3")
    assert output(job).startswith("BusyBox")
    end = job.wait(60)
    assert (end.state, end.cause, end.exit_code) == (JobState.FAILED, Cause.EXIT_CODE, 3)


def test_both_outputs_are_kept_apart(containers: Containers):
    job = containers.submit("echo out; echo err >&2; printf rest")
    assert (output(job), output(job, "stderr")) == ("out\nrest", "err\n")


def test_the_environment_and_the_directory_reach_the_container(containers: Containers):
    job = containers.submit('echo "$X"; pwd', env={"X": "a ${b} c"}, workdir="/tmp")
    assert output(job) == "a ${b} c\n/tmp\n"


def test_uploads_reach_the_container(containers: Containers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello").write_text("from a file\n")
    job = containers.submit("cat hello && echo more > made", upload=["hello"])
    assert output(job) == "from a file\n"
    assert job.result(60).state is JobState.SUCCEEDED


def test_an_init_is_the_first_process(containers: Containers):
    assert "init" in output(containers.submit("cat /proc/1/comm"))


def test_the_size_of_shared_memory(containers: Containers):
    asked = {"options": {"shm_size": "96M"}}
    job = containers.submit("df -k /dev/shm | tail -1", **asked)
    assert output(job).split()[1] == str(96 << 10)


def test_a_container_that_eats_too_much_memory(containers: Containers):
    """Podman tells of it only where its conmon hears of it, which cgroups of old do not grant."""
    end = containers.submit(EATS_MEMORY, memory="64M").wait(60)
    assert (end.state, end.exit_code) == (JobState.FAILED, 137)
    assert end.cause is Cause.OOM or containers.driver == "podman"


def test_a_chroot_that_eats_too_much_memory(client: Client):
    """The task driver ``exec``."""
    end = client.submit(EATS_MEMORY, memory="64M", options={"driver": "exec"}).wait(90)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.OOM)


def test_an_image_that_cannot_be_pulled(containers: Containers):
    """At once, not after ever more tries, and in the words of who pulls it."""
    job = containers.submit("true", image="127.0.0.1:9/no/such:1")
    end = job.wait(60)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.IMAGE)
    assert "127.0.0.1:9" in end.message


def test_a_command_that_the_image_lacks(containers: Containers):
    end = containers.submit(["/no/such/program"]).wait(60)
    assert end.state is JobState.FAILED
    assert (end.cause, end.exit_code) == (Cause.EXIT_CODE, 127)


def test_a_container_that_is_cancelled_hears_of_it(containers: Containers):
    job = containers.submit('trap "echo heard; exit 0" TERM; echo ready; while :; do sleep 1; done')
    said = ""
    for chunk in job.logs(streams=["stdout"]):
        said += chunk.data.decode()
        if said == "ready\n":
            job.cancel()
    assert said == "ready\nheard\n"
    assert job.wait(60).state is JobState.CANCELLED


def test_a_container_that_runs_too_long(containers: Containers):
    end = containers.submit(["sleep", "600"], timeout=2).wait(60)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.TIMEOUT)


def test_secrets_reach_the_container(containers: Containers, monkeypatch):
    monkeypatch.setenv("HIDDEN_HERE", "hidden")
    job = containers.submit('echo "got $HIDDEN"', secrets={"HIDDEN": "env:HIDDEN_HERE"})
    assert output(job) == "got hidden\n"
