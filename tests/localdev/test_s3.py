"""``localdev/s3``, run as a developer runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from localdev.processes import ServerProcess
from localdev.s3_server import HOST, Running, load, s3_client

SCRIPT = Path(__file__).parents[2] / "localdev" / "s3"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["LocalStack", "moto's server"])
def flavour(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    if request.param == "LocalStack" and not HOST.installed():
        pytest.skip("LocalStack is not installed: localdev/s3 install")
    if request.param != "LocalStack":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
        monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    no_docker = tmp_path / "docker"
    no_docker.write_text("#!/bin/sh\nexit 1\n")
    no_docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return str(request.param)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Run]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPT), "--state", str(tmp_path / "state" / "s3"), *arguments]
        env = {**os.environ, "PYTHON": sys.executable}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)

    yield run
    run("down")


def running(tmp_path: Path) -> Running:
    found = load(tmp_path / "state" / "s3")
    assert found is not None
    return found


def test_up_serves_a_bucket_and_down_leaves_nothing(s3, flavour, tmp_path):
    up = s3("up", "--port", "0", "--bucket", "mine", "--no-install")
    assert up.returncode == 0, up.stderr
    server = running(tmp_path)
    assert (server.flavour, server.bucket) == (flavour, "mine")
    assert f"{flavour} serves {server.endpoint}, bucket mine" in up.stderr
    assert s3_client(server).list_buckets()["Buckets"][0]["Name"] == "mine"
    assert s3("status").stdout == f"{flavour} serves {server.endpoint}, bucket mine\n"

    assert s3("down").returncode == 0
    assert not psutil.pid_exists(server.process.pid)
    assert list((tmp_path / "state").iterdir()) == []
    assert s3("status").returncode == 1


def test_up_listens_on_the_loopback_only(s3, flavour, tmp_path):
    s3("up", "--port", "0", "--no-install")
    process = running(tmp_path).process.find()
    assert process is not None
    family = [process, *process.children(recursive=True)]
    listening = {c.laddr.ip for p in family for c in p.net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


with_moto = pytest.mark.parametrize("flavour", ["moto's server"], indirect=True)
"""For what is the same whichever is started: this one starts sooner."""


@with_moto
@pytest.mark.usefixtures("flavour")
def test_up_again_finds_the_same_server(s3, tmp_path):
    first = s3("up", "--port", "0", "--no-install")
    server = running(tmp_path)
    assert s3("up", "--port", "0", "--no-install").stdout == first.stdout
    assert running(tmp_path) == server


@with_moto
@pytest.mark.usefixtures("flavour")
def test_what_up_prints_is_for_the_shell(s3, tmp_path):
    exports = s3("up", "--port", "0", "--bucket", "mine", "--no-install").stdout
    asked = 'echo "$AWS_ENDPOINT_URL_S3 $METAFLOW_S3_ENDPOINT_URL $METAFLOW_DATASTORE_SYSROOT_S3"'
    told = subprocess.run(["sh"], input=exports + asked, capture_output=True, text=True).stdout
    endpoint = running(tmp_path).endpoint
    assert told == f"{endpoint} {endpoint} s3://mine/metaflow\n"


@with_moto
@pytest.mark.usefixtures("flavour")
def test_a_directory_with_other_things_is_left_as_it_is(s3, tmp_path):
    kept = tmp_path / "state" / "s3" / "thesis.tex"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    for words in (("up", "--port", "0", "--no-install"), ("down",)):
        refused = s3(*words)
        assert refused.returncode == 1
        assert "choose another --state" in refused.stderr
        assert kept.read_text() == "mine"


def test_a_taken_port_is_said(s3):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = s3("up", "--port", port, "--no-install")
    assert refused.returncode == 1
    assert f"port {port} is taken" in refused.stderr


@with_moto
@pytest.mark.usefixtures("flavour")
def test_a_pid_that_was_given_to_another_process_is_left_alone(s3, tmp_path):
    other = subprocess.Popen(["sleep", "100"])
    try:
        stale = Running("gone", "http://127.0.0.1:1", "x", ServerProcess(other.pid, started=1.0))
        (tmp_path / "state" / "s3").mkdir(parents=True)
        (tmp_path / "state" / "s3" / "server.json").write_bytes(msgspec.json.encode(stale))
        assert s3("status").returncode == 1
        assert "was not running" in s3("down").stderr
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


DOCKER = """#!/bin/sh
case $1 in
  run) exec %s -m moto.server -H 127.0.0.1 -p "$(echo "$4" | cut -d: -f2)" ;;
  info | image) exit 0 ;;
  *) exit 1 ;;
esac
"""


def test_docker_is_used_where_its_daemon_answers(s3, tmp_path, monkeypatch):
    """A stand-in for docker: it has the image, and runs a server at the port to be published."""
    (tmp_path / "docker").write_text(DOCKER % sys.executable)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    up = s3("up", "--port", "0")
    assert up.returncode == 0, up.stderr
    assert running(tmp_path).flavour == "LocalStack in Docker"
    assert s3("down").returncode == 0
