"""Armada for development: from a checkout with mage, or from programs already built.

``up`` is idempotent and prints, for ``eval``, the environment that batchbridge and Metaflow need,
``down`` what takes it back; what is for people goes to stderr.

\b
KIND is one of
  fake-executor  pods are only waited for: nothing runs, nothing is written (the default)
  processes      with --bin: pods are processes of this machine, with exit codes and logs
  no-auth        a Kubernetes: kind's, or with --bin the one of --kubeconfig
  full, minimal  all in Docker, as that checkout has it
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import platformdirs

from localdev import armada_mage, armada_programs, armada_ready, armada_stores
from localdev.armada_programs import Built, Executor, Ports
from localdev.armada_state import MARKS, Keeper, Stack, load
from localdev.armada_stores import Named
from localdev.common import (
    Failed,
    alone,
    check_free,
    check_ours,
    free_port,
    print_exports,
    print_unset,
    say,
)
from localdev.processes import ServerProcess

READY_WITHIN = 120.0  # seconds, of programs that are built
BUILT_WITHIN = 1800.0  # seconds, of programs that mage builds first
STATE = platformdirs.user_state_path("batchbridge") / "localdev" / "armada"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What ``up`` was asked for."""

    kind: str
    checkout: Path
    bin: Path | None
    queue: str
    port: int
    binoculars_port: int
    named: Named
    kubeconfig: Path | None


# -- up and down -----------------------------------------------------------------------------


def up(state: Path, wanted: Wanted) -> Stack:
    """The Armada of `state`, started unless it runs, with its queue, and a probe job accepted."""
    with alone(state):
        check_ours(state, *MARKS)
        there = load(state)
        if there and there.whole():
            _check_same(there, wanted)
            return there
        if there:
            say("what was begun, or is no longer whole, is taken down first")
            _take_down(there, state)
        return _start(state, wanted)


def down(state: Path) -> Stack | None:
    """End the Armada of `state` and remove all it kept; what there was."""
    with alone(state):
        there = load(state)
        if there:
            _take_down(there, state)
        return there


def restart(state: Path, name: str) -> None:
    """End that process, and start it again as it was."""
    with alone(state):
        there = load(state)
        if there is None or name not in there.processes:
            raise Failed(f"no {name} runs")
        process = there.processes[name]
        running = process.find()
        if running is None:
            raise Failed(f"{name} has ended; localdev/armada up starts all anew")
        words, env, cwd = running.cmdline(), running.environ(), Path(running.cwd())
        process.stop()
        Keeper(state, there).start(name, words, env, cwd=cwd)


def _check_same(there: Stack, wanted: Wanted) -> None:
    if there.kind != wanted.kind:
        raise Failed(f"there is {there}, which is another kind: localdev/armada down first")


def _start(state: Path, wanted: Wanted) -> Stack:
    run = _by_programs if wanted.bin else _by_mage
    stack = Stack(wanted.kind, _version(wanted.checkout), "", "", wanted.queue)
    keeper = Keeper.new(state, stack)
    try:
        within = run(wanted, keeper)
        armada_ready.await_ready(keeper.stack, within=within, alive=lambda: _check_alive(keeper))
    except BaseException:
        if keeper.stack.processes or keeper.stack.endings:
            say("it did not become ready: it is taken down")
        _take_down(keeper.stack, state)
        raise
    (state / armada_ready.PROFILES).write_text(armada_ready.profile(keeper.stack))
    keeper.update(ready=True)
    return keeper.stack


def _by_programs(wanted: Wanted, keeper: Keeper) -> float:
    if wanted.kind not in armada_programs.BESIDE:
        raise Failed(f"{wanted.kind} is mage's: leave --bin out")
    if wanted.kind == "no-auth" and wanted.kubeconfig is None:
        raise Failed("no-auth of built programs needs a Kubernetes: --kubeconfig FILE")
    executor: Executor = wanted.kind  # type: ignore[assignment]
    built = Built(wanted.bin or Path(), wanted.checkout)
    built.check(executor)
    ports = _ports(wanted)
    stores = armada_stores.provide(wanted.named, keeper)
    logs = "" if executor == "fake-executor" else f"localhost:{ports.binoculars}"
    keeper.update(address=f"localhost:{ports.server}", binoculars=logs)
    armada_programs.start_all(built, executor, stores, ports, keeper, wanted.kubeconfig)
    return READY_WITHIN


def _by_mage(wanted: Wanted, keeper: Keeper) -> float:
    if wanted.kind == "processes":
        raise Failed("processes is of programs already built: name them with --bin DIR")
    plan = armada_mage.plan(wanted.checkout, wanted.kind)
    server, logs = armada_mage.addresses(wanted.checkout, plan)
    check_free(int(server.rpartition(":")[2]), "this Armada would listen there: end what does")
    keeper.update(address=server, binoculars=logs)
    armada_mage.start(wanted.checkout, plan, keeper)
    return BUILT_WITHIN


def _check_alive(keeper: Keeper) -> None:
    dead = keeper.stack.dead()
    if dead:
        tail = (keeper.logs / f"{dead[0]}.log").read_text(errors="replace")[-2000:]
        raise Failed(f"{dead[0]} has ended:\n{tail}")
    if keeper.stack.endings:
        armada_mage.check_docker()


def _take_down(stack: Stack, state: Path) -> None:
    """End all that was started, run the endings, remove what was kept."""
    with ThreadPoolExecutor(len(stack.processes) or 1) as pool:
        list(pool.map(ServerProcess.stop, stack.processes.values()))
    for command in stack.endings:
        env = {**os.environ, **command.env}
        done = subprocess.run(
            command.words, cwd=command.cwd, env=env, stdout=sys.stderr, check=False
        )
        if done.returncode:
            say(f"{' '.join(command.words)} failed; run it again in {command.cwd}")
    for folder in (*map(Path, stack.folders), state):
        shutil.rmtree(folder, ignore_errors=True)


def _version(checkout: Path) -> str:
    words = ["git", "-C", str(checkout), "describe", "--tags", "--always"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _ports(wanted: Wanted) -> Ports:
    for port in (wanted.port, wanted.binoculars_port):
        if port:
            check_free(port)
    return Ports(wanted.port or free_port(), wanted.binoculars_port or free_port(), free_port())


def _configs() -> str:
    return os.environ.get(armada_ready.CONFIG, "")


# -- the command -----------------------------------------------------------------------------

DIRECTORY = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


@click.group(help=__doc__)
@click.option("--state", type=click.Path(path_type=Path), default=STATE, help="Where it is kept.")
@click.pass_context
def main(context: click.Context, state: Path) -> None:
    context.obj = state.absolute()


@main.command("up")
@click.argument(
    "kind",
    default="fake-executor",
    type=click.Choice(["fake-executor", "processes", "no-auth", "full", "minimal"]),
)
@click.option("--checkout", type=DIRECTORY, required=True, help="A checkout of Armada.")
@click.option("--bin", "bin_", type=DIRECTORY, help="Its programs, already built; no Docker then.")
@click.option("--pulsar", default="", help="Pulsar's directory, or pulsar://HOST:PORT.")
@click.option("--postgres", default="", help="PostgreSQL's bin, or postgresql://USER:PW@HOST:PORT.")
@click.option("--redis", default="", help="The program redis-server, or HOST:PORT.")
@click.option("--kubeconfig", type=FILE, help="The Kubernetes of no-auth, with --bin.")
@click.option("--queue", default="batchbridge", show_default=True)
@click.option("--port", default=50051, show_default=True, help="With --bin; 0: any free one.")
@click.option("--binoculars-port", default=50053, show_default=True, help="The same, for logs.")
@click.pass_obj
def up_command(
    state: Path, /, bin_: Path | None, pulsar: str, postgres: str, redis: str, **rest: Any
) -> None:
    """Start it unless it runs, wait until it takes jobs, print the environment to use."""
    wanted = Wanted(bin=bin_, named=Named(pulsar, postgres, redis), **rest)
    stack = up(state, wanted)
    say(f"{stack}\nthe profile {armada_ready.PROFILE} is in {state / armada_ready.PROFILES}")
    print_exports(armada_ready.environment(stack, state, _configs()))


@main.command("down")
@click.pass_obj
def down_command(state: Path) -> None:
    """End it, remove all it kept, print what takes the environment back."""
    there = down(state)
    if there is None:
        say("was not running")
        return
    say(f"ended: {there}")
    changed, unset = armada_ready.forgotten(there, state, _configs())
    print_exports(changed)
    print_unset(unset)


@main.command("status")
@click.pass_obj
def status_command(state: Path) -> None:
    """What runs, and where; exit code 1 unless all of it does."""
    there = load(state)
    if there is None:
        raise Failed("not running")
    for name, process in there.processes.items():
        click.echo(f"{name:18} {'running' if process.find() else 'ENDED'}  pid {process.pid}")
    if not there.whole():
        raise Failed(f"{there} is not whole: localdev/armada up")
    click.echo(f"{there}")


@main.command("restart")
@click.argument("name")
@click.pass_obj
def restart_command(state: Path, name: str) -> None:
    """End one process and start it again."""
    restart(state, name)
    say(f"restarted {name}")


@main.command("logs")
@click.argument("name", default="")
@click.option("--lines", default=20, show_default=True, help="Of the end of each.")
@click.pass_obj
def logs_command(state: Path, name: str, lines: int) -> None:
    """The last lines of each process, or of the one that is named."""
    logs = sorted((state / "logs").glob(f"{name or '*'}.log"))
    there = load(state)
    contained = not (name and logs) and _container_logs(there, name, lines)
    if not logs and not contained:
        raise Failed(f"no {name} runs" if name else "not running")
    for log in logs:
        if not name:
            click.echo(f"==> {log.stem}")
        click.echo("\n".join(log.read_text(errors="replace").splitlines()[-lines:]))


def _container_logs(stack: Stack | None, name: str, lines: int) -> bool:
    """Print the last lines of the containers, or of that one; whether there are any."""
    if stack is None or stack.containers is None:
        return False
    words = [*stack.containers.words, "--tail", str(lines), *filter(None, [name])]
    return subprocess.run(words, cwd=stack.containers.cwd, check=False).returncode == 0


if __name__ == "__main__":
    main(prog_name="localdev/armada")
