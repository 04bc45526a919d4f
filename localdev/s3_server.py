"""S3 for development, on this machine's loopback: LocalStack, or where it cannot be had, moto.

``up`` is idempotent and prints, for ``eval``, the environment that boto3 and Metaflow need; what
is for people goes to stderr.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import localstack_client.session
import msgspec
import platformdirs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from localdev.common import (
    Failed,
    alone,
    check_free,
    check_ours,
    free_port,
    print_exports,
    runs,
    say,
)
from localdev.processes import ServerProcess

IMAGE = "localstack/localstack:4.4.0"
PINS = Path(__file__).with_name("localstack.txt")
READY_WITHIN = 60.0  # seconds
STATE = platformdirs.user_state_path("batchbridge") / "localdev" / "s3"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started, as ``server.json`` keeps it."""

    flavour: str
    endpoint: str
    bucket: str
    process: ServerProcess


# -- what can serve S3 -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flavour:
    """One way to serve S3 in the foreground of one process."""

    name: str
    installed: Callable[[], bool]
    install: Callable[[], None]  #: raises Failed
    command: Callable[[int], list[str]]
    env: Callable[[int, Path], Mapping[str, str]]


def _docker_command(port: int) -> list[str]:
    publish = f"127.0.0.1:{port}:4566"
    return ["docker", "run", "--rm", "--publish", publish, "--env", "SERVICES=s3", IMAGE]


def _pull() -> None:
    if not runs("docker", "pull", "--quiet", IMAGE):
        raise Failed(f"docker cannot pull {IMAGE}")


def _host_venv() -> Path:
    """Named by what it holds, so that new pins or another Python make a new one."""
    content = PINS.read_bytes() + sys.version.encode()
    name = f"localstack-{hashlib.sha256(content).hexdigest()[:12]}"
    return platformdirs.user_cache_path("batchbridge") / name


def _install_on_host() -> None:
    venv = _host_venv()
    shutil.rmtree(venv, ignore_errors=True)
    python = str(venv / "bin" / "python")
    steps = (
        [sys.executable, "-m", "venv", str(venv)],
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(PINS)],
        [python, "-c", "import localstack.runtime.main, localstack.services.s3.provider"],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(venv, ignore_errors=True)
            raise Failed(f"LocalStack cannot be installed: {done.stderr.strip()[-500:]}")
    (venv / "installed").touch()


def _host_env(port: int, state: Path) -> Mapping[str, str]:
    return {
        "SERVICES": "s3",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_SERVER": "hypercorn",  # the default one listens on every interface
        "DNS_ADDRESS": "0",
        "OVERRIDE_IN_DOCKER": "0",
        "FILESYSTEM_ROOT": str(state / "data"),
        "XDG_CACHE_HOME": str(state / "cache"),
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
    }


DOCKER = Flavour(
    name="LocalStack in Docker",
    installed=lambda: runs("docker", "image", "inspect", IMAGE),
    install=_pull,
    command=_docker_command,
    env=lambda port, state: {},
)
HOST = Flavour(
    name="LocalStack",
    installed=lambda: (_host_venv() / "installed").exists(),
    install=_install_on_host,
    command=lambda port: [str(_host_venv() / "bin/python"), "-m", "localstack.runtime.main"],
    env=_host_env,
)
MOTO = Flavour(
    name="moto's server",
    installed=lambda: True,
    install=lambda: None,
    command=lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
    env=lambda port, state: {},
)


def choose(*, install: bool) -> Flavour:
    """LocalStack, in Docker where its daemon answers; moto's server where it is not to be had."""
    wanted = [DOCKER, HOST] if runs("docker", "info") else [HOST]
    there = next((flavour for flavour in wanted if flavour.installed()), None)
    if there:
        return there
    if not install:
        say(f"LocalStack is not installed (localdev/s3 install); using {MOTO.name}")
        return MOTO
    return next((flavour for flavour in wanted if _installs(flavour)), MOTO)


def _installs(flavour: Flavour) -> bool:
    say(f"installing {flavour.name}, once")
    try:
        flavour.install()
    except Failed as error:
        say(f"{error.message}; going on without {flavour.name}")
        return False
    return True


# -- up and down -----------------------------------------------------------------------------


def load(state: Path) -> Running | None:
    """The server that was started for `state` and still runs."""
    try:
        running = msgspec.json.decode((state / "server.json").read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return running if running.process.find() else None


def up(state: Path, *, port: int, bucket: str, install: bool) -> Running:
    """The server of `state`, started unless it runs, answering, with `bucket` in it."""
    with alone(state):
        check_ours(state, "server.json")
        running = load(state)
        if running is None:
            running = _start(choose(install=install), state, port or free_port(), bucket)
        running = replace(running, bucket=bucket)
        _wait_for_bucket(running, state)
    return running


def down(state: Path) -> bool:
    """Stop the server of `state` and remove all it kept; False if none ran."""
    with alone(state):
        check_ours(state, "server.json")
        running = load(state)
        if running:
            running.process.stop()
        shutil.rmtree(state, ignore_errors=True)
    return running is not None


def _start(flavour: Flavour, state: Path, port: int, bucket: str) -> Running:
    check_free(port)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700)
    command, env = flavour.command(port), {**os.environ, **flavour.env(port, state)}
    process = ServerProcess.start(command, env, state / "log")
    running = Running(flavour.name, f"http://127.0.0.1:{port}", bucket, process)
    (state / "server.json").write_bytes(msgspec.json.encode(running))
    return running


def _wait_for_bucket(running: Running, state: Path) -> None:
    client, deadline = s3_client(running), time.monotonic() + READY_WITHIN
    while True:
        try:
            client.create_bucket(Bucket=running.bucket)  # fine if it is there: it is ours
            return
        except (BotoCoreError, ClientError) as error:
            if running.process.find() is None or time.monotonic() > deadline:
                running.process.stop()
                tail = (state / "log").read_text(errors="replace")[-2000:]
                raise Failed(f"{running.flavour} did not start: {error}\n{tail}") from error
        time.sleep(0.1)


def s3_client(running: Running) -> Any:
    """A boto3 client of that server."""
    session = localstack_client.session.Session(
        aws_access_key_id="test",
        aws_secret_access_key="test",
        aws_session_token=None,
        localstack_host=running.endpoint.removeprefix("http://"),
    )
    once = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1})
    return session.client("s3", config=once)


def environment(running: Running) -> dict[str, str]:
    """What boto3 and Metaflow need to use it."""
    return {
        "AWS_ENDPOINT_URL_S3": running.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{running.bucket}/metaflow",
        "METAFLOW_S3_ENDPOINT_URL": running.endpoint,
    }


# -- the command -----------------------------------------------------------------------------


@click.group(help=__doc__)
@click.option("--state", type=click.Path(path_type=Path), default=STATE, help="Where it is kept.")
@click.pass_context
def main(context: click.Context, state: Path) -> None:
    os.environ.pop("AWS_ENDPOINT_URL", None)  # localstack-client would prefer it
    context.obj = state.absolute()


@main.command("up")
@click.option("--port", default=4566, show_default=True, help="0: any free one.")
@click.option("--bucket", default="batchbridge", show_default=True)
@click.option("--no-install", is_flag=True, help="moto's server where LocalStack is not installed.")
@click.pass_obj
def up_command(state: Path, port: int, bucket: str, no_install: bool) -> None:
    """Start it unless it runs, wait until it answers, print the environment to use."""
    running = up(state, port=port, bucket=bucket, install=not no_install)
    say(f"{running.flavour} serves {running.endpoint}, bucket {running.bucket}")
    print_exports(environment(running))


@main.command("down")
@click.pass_obj
def down_command(state: Path) -> None:
    """Stop it and remove all it kept."""
    say("stopped" if down(state) else "was not running")


@main.command("status")
@click.pass_obj
def status_command(state: Path) -> None:
    """Which server runs, and where; exit code 1 if none does."""
    running = load(state)
    if running is None:
        raise Failed("not running")
    click.echo(f"{running.flavour} serves {running.endpoint}, bucket {running.bucket}")


@main.command("install")
def install_command() -> None:
    """Have LocalStack ready, as ``up`` does when it is first used."""
    say(f"{choose(install=True).name} will be used")


if __name__ == "__main__":
    main(prog_name="localdev/s3")
