"""Nomad for development: a dev agent on this machine's loopback.

``up`` is idempotent and prints, for ``eval``, the environment that ``nomad``, batchbridge and
Metaflow need; what is for people goes to stderr.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import platformdirs
import psutil
from requests import RequestException

from batchbridge import BatchBridgeError, Client, WaitTimeout
from batchbridge.layers import Layers
from batchbridge.settings import Config
from batchbridge_nomad import NomadDriver
from localdev import nomad_config
from localdev.common import (
    Failed,
    alone,
    check_free,
    check_ours,
    free_port,
    is_free,
    print_exports,
    print_unset,
    runs,
    say,
)
from localdev.nomad_admin import POLICY, Admin
from localdev.nomad_config import CONFIG, Agent, Features, Place, settings
from localdev.processes import ServerProcess, end_all_in

READY_WITHIN = 120.0  # seconds
STOPPED_WITHIN = 40.0
"""Seconds: a dev agent ends its jobs first, each within its own kill_timeout."""

USUAL_PORT = 4646
STATE = platformdirs.user_state_path("batchbridge") / "localdev" / "nomad"


# -- up and down -----------------------------------------------------------------------------


def load(state: Path) -> Agent | None:
    """The agent that was started for `state` and still runs."""
    try:
        agent = msgspec.json.decode(Place(state).record.read_bytes(), type=Agent)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return agent if agent.process.find() else None


def up(
    state: Path,
    *,
    nomad: str = "nomad",
    port: int | None = None,
    acl: bool = False,
    tls: bool = False,
    more: Sequence[Path] = (),
) -> Agent:
    """The agent of `state`, started unless it runs; a job has run there to its end.

    `port` None: the usual one, or any where that is taken. `more`: further files of Nomad's own
    configuration.
    """
    with alone(state):
        check_ours(state, *nomad_config.MARKS)
        agent = load(state)
        if agent is None:
            features = Features(acl, tls, docker=runs("docker", "info"))
            try:
                agent = _start(Place(state), _program(nomad), _port(port), features, more)
                _settle(agent)
            except KeyboardInterrupt:  # nobody was told of it
                remove(state)
                raise
        elif (agent.features.acl, agent.features.tls) != (acl, tls):
            raise Failed(f"there is {agent}, which is another kind: localdev/nomad down first")
        elif not agent.place.profile.exists():
            _settle(agent)
    return agent


def down(state: Path) -> bool:
    """Stop the agent of `state` and its jobs, and remove all it kept; False if none ran."""
    with alone(state):
        check_ours(state, *nomad_config.MARKS)
        agent = load(state)
        if agent:
            agent.process.stop(within=STOPPED_WITHIN)
        remove(state)
    return agent is not None


def _program(nomad: str) -> str:
    found = shutil.which(nomad)
    if found is None:
        raise Failed(f"there is no program {nomad!r}: install Nomad, or name it with --nomad PATH")
    return found


def _port(asked: int | None) -> int:
    if asked:
        check_free(asked)
        return asked
    return USUAL_PORT if asked is None and is_free(USUAL_PORT) else free_port()


def _start(place: Place, nomad: str, port: int, features: Features, more: Sequence[Path]) -> Agent:
    remove(place.root)
    for directory in (place.root, place.datastore, place.tls):
        directory.mkdir(mode=0o700)
    if features.tls:
        _make_certificates(nomad, place.tls)
    config = place.root / "nomad.json"
    ports = {"http": port, "rpc": free_port(), "serf": free_port()}
    config.write_bytes(msgspec.json.encode(nomad_config.configuration(place, features, **ports)))
    command = [nomad, "agent", "-dev", *(f"-config={path}" for path in (config, *more))]
    version = _output(nomad, "version").partition("\n")[0]
    process = ServerProcess.start(command, nomad_config.inherited(os.environ), place.log)
    address = f"{'https' if features.tls else 'http'}://127.0.0.1:{port}"
    agent = Agent(str(place.root), address, version, features, process)
    place.record.write_bytes(msgspec.json.encode(agent))
    return agent


def _make_certificates(nomad: str, directory: Path) -> None:
    """A CA, a certificate of a server, and one of a client of the API."""
    for words in ("ca create", "cert create -server", "cert create -cli"):
        _output(nomad, "tls", *words.split(), cwd=directory)


def _output(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def remove(state: Path) -> None:
    """Remove it all; where an agent was killed, its jobs and what it had mounted too."""
    if not state.exists():
        return
    end_all_in(state)
    mounted = [disk.mountpoint for disk in psutil.disk_partitions(all=True)]
    for mountpoint in sorted(mounted, reverse=True):
        if Path(mountpoint).is_relative_to(state):
            subprocess.run(["umount", mountpoint], check=False)
    shutil.rmtree(state, ignore_errors=True)


# -- ready -----------------------------------------------------------------------------------


def _settle(agent: Agent) -> None:
    """Make it usable, and see that it is; Failed, with the end of its log, where it is not."""
    try:
        _wait_for_leader(agent)
        if agent.features.acl:
            _write_tokens(agent)
        _run_a_job(agent)
    except (BatchBridgeError, RequestException) as error:
        agent.process.stop(within=STOPPED_WITHIN)
        tail = agent.place.log.read_text(errors="replace")[-2000:]
        raise Failed(f"the agent does not become ready: {error}\n{tail}") from error
    _write(agent.place.profile, nomad_config.profile(agent))


def _wait_for_leader(agent: Agent) -> None:
    admin, deadline = Admin.of(settings(agent)), time.monotonic() + READY_WITHIN
    while not admin.has_leader():
        if agent.process.find() is None:
            raise WaitTimeout("it has ended")
        if time.monotonic() > deadline:
            raise WaitTimeout(f"it has not answered within {READY_WITHIN:g} s")
        time.sleep(0.1)


def _write_tokens(agent: Agent) -> None:
    place = agent.place
    _write(place.management, Admin.of(settings(agent)).bootstrap())
    _write(place.token, admin_of(agent).token_with("batchbridge", POLICY.read_text()))


def admin_of(agent: Agent) -> Admin:
    """Who may do everything there."""
    token = agent.place.management.read_text() if agent.features.acl else ""
    return Admin.of(settings(agent), token)


def _run_a_job(agent: Agent) -> None:
    """What an agent that is ready can do, whatever the user's files say; nothing of it is left."""
    driver, config = NomadDriver(settings(agent)), Config(Layers((), {}))
    with Client(driver=driver, config=config, journal=False) as client:
        job = client.submit("true", name="localdev", options={"driver": "raw_exec"})
        job.result(READY_WITHIN)
    admin_of(agent).ask("DELETE", f"job/{job.ref.id}?purge=true")


def _write(path: Path, text: str) -> None:
    """Write a file that nobody else may read, whole or not at all."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.rename(path)


# -- the command -----------------------------------------------------------------------------


@click.group(help=__doc__)
@click.option("--state", type=click.Path(path_type=Path), default=STATE, help="Where it is kept.")
@click.pass_context
def main(context: click.Context, state: Path) -> None:
    context.obj = state.absolute()


@main.command("up")
@click.option("--nomad", default="nomad", show_default=True, help="The program.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="0: any free one. Default: 4646, or any free one."
)
@click.option("--acl", is_flag=True, help="With ACLs, the least policy, and a token that has it.")
@click.option("--tls", is_flag=True, help="With TLS, and certificates of both sides.")
@click.option(
    "--config",
    "more",
    type=click.Path(exists=True, path_type=Path, resolve_path=True),
    multiple=True,
    help="A further file of Nomad's own configuration.",
)
@click.pass_obj
def up_command(state: Path, /, **asked: Any) -> None:
    """Start it unless it runs, wait until a job has run, print the environment to use."""
    agent = up(state, **asked)
    say(f"{agent}\nbatchbridge submit --profile {nomad_config.PROFILE} --follow -- echo hello")
    print_exports(nomad_config.environment(agent, os.environ.get(CONFIG, "")))


@main.command("down")
@click.pass_obj
def down_command(state: Path) -> None:
    """Stop it and its jobs, and remove all it kept, the datastore too; print what forgets it."""
    say("stopped" if down(state) else "was not running")
    changed, unset = nomad_config.forgotten(Place(state), os.environ.get(CONFIG, ""))
    print_exports(changed)
    print_unset(unset)


@main.command("status")
@click.pass_obj
def status_command(state: Path) -> None:
    """Which agent runs, and where; exit code 1 if none does."""
    agent = load(state)
    if agent is None:
        ended = Place(state).log.exists()
        raise Failed("it ended by itself; localdev/nomad logs says why" if ended else "not running")
    click.echo(str(agent))


@main.command("logs")
@click.option("--follow", "-f", is_flag=True, help="Go on as it writes.")
@click.pass_obj
def logs_command(state: Path, follow: bool) -> None:
    """What the agent writes, or wrote before it ended by itself."""
    log = Place(state).log
    if not log.exists():
        raise Failed("not running")
    command = ["tail", "-n", "+1", *(["-f"] if follow else []), str(log)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(prog_name="localdev/nomad")
