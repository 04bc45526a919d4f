"""Containers, in an image that is made here: there is no registry to pull from."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from batchbridge import Cause, Client, Job, JobState
from tests.drivers.nomad.live.conftest import LIVE

pytestmark = LIVE
EATS_MEMORY = "dd if=/dev/zero of=/dev/null bs=400M count=1"


def docker(*words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *words], input=data, capture_output=True)


@pytest.fixture(scope="session")
def image(agent) -> Iterator[str]:
    """An image with a shell and little else."""
    if not agent.features.docker:
        pytest.skip("docker info does not succeed")
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("there is no busybox on PATH to make an image of")
    name = f"batchbridge-test:{uuid4().hex}"
    made = docker("import", "-", name, data=root_of(Path(busybox)))
    assert made.returncode == 0, made.stderr
    if docker("run", "--rm", "--network=none", name, "true").returncode != 0:
        docker("rmi", name)
        pytest.skip("the busybox on PATH is not linked statically")
    kept = docker("create", name, "true").stdout.decode().strip()
    yield name  # which Nomad would remove three minutes after its last use, but for that container
    docker("rm", kept)
    docker("rmi", "--force", name)


def root_of(busybox: Path) -> bytes:
    """The root file system that consists of that program, and its many names."""
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in {*listed.stdout.split()} - {"busybox"}:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("tmp", "root"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(directory)
    return file.getvalue()


LINGER = "; sleep 1"
"""Of a container that ends at once Nomad itself can lose the output."""


def output(job: Job) -> str:
    return b"".join(chunk.data for chunk in job.logs(streams=["stdout"])).decode()


def test_a_command_runs_in_an_image(client: Client, image: str):
    job = client.submit(f"busybox | head -1{LINGER}; exit 3", image=image)
    assert output(job).startswith("BusyBox")
    end = job.wait(60)
    assert (end.state, end.cause, end.exit_code) == (JobState.FAILED, Cause.EXIT_CODE, 3)


def test_the_environment_and_the_directory_reach_the_container(client: Client, image: str):
    job = client.submit(
        'echo "$X"; pwd' + LINGER, image=image, env={"X": "a ${b} c"}, workdir="/tmp"
    )
    assert output(job) == "a ${b} c\n/tmp\n"


def test_uploads_reach_the_container(client: Client, image: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello").write_text("from a file\n")
    job = client.submit(f"cat hello && echo more > made{LINGER}", image=image, upload=["hello"])
    assert output(job) == "from a file\n"
    assert job.result(60).state is JobState.SUCCEEDED


def test_an_init_is_the_first_process(client: Client, image: str):
    assert "init" in output(client.submit("cat /proc/1/comm" + LINGER, image=image))


def test_the_size_of_shared_memory(client: Client, image: str):
    asked = {"image": image, "options": {"shm_size": "96M"}}
    job = client.submit("df -k /dev/shm | tail -1" + LINGER, **asked)
    assert output(job).split()[1] == str(96 << 10)


def test_a_container_that_eats_too_much_memory(client: Client, image: str):
    end = client.submit(EATS_MEMORY, image=image, memory="64M").wait(60)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.OOM)


def test_a_chroot_that_eats_too_much_memory(client: Client):
    """The task driver ``exec``."""
    end = client.submit(EATS_MEMORY, memory="64M", options={"driver": "exec"}).wait(90)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.OOM)


def test_an_image_that_cannot_be_pulled(client: Client, image: str):
    """At once, not after ever more tries, and in the words of Docker."""
    job = client.submit("true", image="127.0.0.1:9/no/such:1")
    end = job.wait(60)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.IMAGE)
    assert "127.0.0.1:9" in end.message


def test_a_command_that_the_image_lacks(client: Client, image: str):
    end = client.submit(["/no/such/program"], image=image).wait(60)
    assert end.state is JobState.FAILED
    assert (end.cause, end.exit_code) == (Cause.EXIT_CODE, 127)


def test_a_container_that_is_cancelled_hears_of_it(client: Client, image: str):
    job = client.submit(
        'trap "echo heard; exit 0" TERM; echo ready; while :; do sleep 1; done', image=image
    )
    said = ""
    for chunk in job.logs(streams=["stdout"]):
        said += chunk.data.decode()
        if said == "ready\n":
            job.cancel()
    assert said == "ready\nheard\n"
    assert job.wait(60).state is JobState.CANCELLED


def test_a_container_that_runs_too_long(client: Client, image: str):
    end = client.submit(["sleep", "600"], image=image, timeout=2).wait(60)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.TIMEOUT)


def test_secrets_reach_the_container(client: Client, image: str, monkeypatch):
    monkeypatch.setenv("HIDDEN_HERE", "hidden")
    job = client.submit(
        'echo "got $HIDDEN"' + LINGER, image=image, secrets={"HIDDEN": "env:HIDDEN_HERE"}
    )
    assert output(job) == "got hidden\n"
