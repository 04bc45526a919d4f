"""Armada from a checkout by mage, in Docker: which targets it has, and what they need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from localdev.armada_state import Command, Keeper
from localdev.common import Failed, runs, say

MAGE = "github.com/magefile/mage@v1.17.2"
KUBECONFIG = ".kube/external/config"
STORES = "_local/compose/stack.yaml"
PORTS = {"server": 50051, "binoculars": 50053}
"""Where a checkout has no file that says otherwise."""
PUBLISHED = """services: {{binoculars: {{ports: ["127.0.0.1:{outside}:{inside}"]}}}}\n"""


@dataclass(frozen=True, slots=True)
class Plan:
    """The targets of one way to run Armada."""

    before: tuple[str, ...] = ()  #: run to their end, one after another
    stays: str = ""  #: runs as long as Armada does
    after: tuple[str, ...] = ()  #: take it down
    kind: bool = False  #: whether a cluster of kind is made
    logs: bool = False  #: whether there is Binoculars
    containers: str = ""  #: their file, where all are containers; empty: they run on this machine
    configs: str = "_local"  #: where the configuration of each is
    stores: str = ""  #: the file of containers whose volumes `after` leaves


OLD_FILE = "docker-compose.yaml"
NEW: Mapping[str, Plan] = {
    "fake-executor": Plan(stays="dev:up fake-executor", after=("dev:down",), stores=STORES),
    "no-auth": Plan(
        ("kind",), "dev:up no-auth", ("dev:down", "kindTeardown"), True, True, stores=STORES
    ),
    "full": Plan(
        ("dev:full",), "", ("dev:fullDown",), True, True, containers="_local/compose/full.yaml"
    ),
}
OLD: Mapping[str, Plan] = {
    kind: Plan(
        (f"localDev {kind}",), "", ("localDevStop",), True, logs, OLD_FILE, "config", OLD_FILE
    )
    for kind, logs in (("minimal", False), ("full", True))
}


def plan(checkout: Path, kind: str) -> Plan:
    """What to run in that checkout; Failed where it has no such thing."""
    if not (checkout / "magefiles").is_dir():
        raise Failed(f"{checkout} is no checkout of Armada: it has no magefiles")
    plans = NEW if (checkout / "magefiles" / "dev.go").exists() else OLD
    if kind not in plans:
        age = "v0.21.4 or newer" if plans is NEW else "older than v0.21.4"
        raise Failed(f"{checkout} is {age}, which has {', '.join(plans)}, but no {kind}")
    return plans[kind]


def addresses(checkout: Path, chosen: Plan) -> tuple[str, str]:
    """Where the server and Binoculars will be asked; an empty string where there are no logs."""
    server, inside = (_port(checkout / chosen.configs, name) for name in PORTS)
    logs = PORTS["binoculars"] if chosen.containers else inside
    return f"localhost:{server}", f"localhost:{logs}" if chosen.logs else ""


def _port(configs: Path, program: str) -> int:
    config = configs / program / "config.yaml"
    told = yaml.safe_load(config.read_text()) if config.exists() else {}
    port: int = told.get("grpcPort", PORTS[program])
    return port


def missing(chosen: Plan) -> list[str]:
    """What is not on this machine, each with its remedy."""
    needs = {
        "Go 1.26 or newer: https://go.dev/dl": shutil.which("go") is not None,
        "Docker, whose daemon answers `docker info`: install docker.io and start it,"
        " or run programs already built: --bin DIR": runs("docker", "info"),
        "Docker's compose: apt install docker-compose-v2": runs("docker", "compose", "version"),
    }
    if chosen.kind:
        needs["kind 0.21 or newer: go install sigs.k8s.io/kind@latest"] = runs("kind", "version")
    return [remedy for remedy, there in needs.items() if not there]


def check_docker() -> None:
    """Failed where Docker, without which mage waits for ever, does not answer."""
    if not runs("docker", "info"):
        raise Failed("Docker's daemon no longer answers `docker info`")


def mage() -> list[str]:
    """mage, or, where it is missing or too old to know optional arguments, Go's way to run it."""
    try:
        done = subprocess.run(["mage", "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return ["go", "run", MAGE]
    version = re.search(r"(\d+)\.(\d+)", done.stdout)
    new = version is not None and (int(version[1]), int(version[2])) >= (1, 16)
    return ["mage"] if new else ["go", "run", MAGE]


def start(checkout: Path, chosen: Plan, keeper: Keeper) -> None:
    """Run the targets. What takes all down is noted before the first, which may fail half-way."""
    problems = missing(chosen)
    if problems:
        raise Failed("not found:\n" + "\n".join(f"  {one}" for one in problems))
    program = mage()
    keeper.update(endings=tuple(endings(program, chosen, checkout)))
    if chosen.containers:
        logs = ("docker", "compose", "-f", chosen.containers, "logs")
        keeper.update(containers=Command(logs, str(checkout)))
    for target in chosen.before:
        say(f"mage {target}, which takes its time; its output is in {keeper.logs}")
        _run([*program, *target.split()], checkout, keeper)
    if chosen.containers and chosen.logs:
        _publish_logs(checkout, chosen, keeper)
    if chosen.stays:
        words = [*program, *chosen.stays.split()]
        keeper.start("mage", words, environment(chosen, checkout), cwd=checkout)


def _publish_logs(checkout: Path, chosen: Plan, keeper: Keeper) -> None:
    """Let this machine ask the Binoculars of a container, whose port no checkout publishes."""
    ports, inside = keeper.state / "ports.yaml", _port(checkout / chosen.configs, "binoculars")
    ports.write_text(PUBLISHED.format(outside=PORTS["binoculars"], inside=inside))
    words = ["docker", "compose", "-f", chosen.containers, "-f", str(ports)]
    _run([*words, "up", "--detach", "--no-deps", "binoculars"], checkout, keeper)


def endings(program: list[str], chosen: Plan, checkout: Path) -> Iterator[Command]:
    """What takes all down. Volumes go first: what the targets leave of them nothing finds."""
    if chosen.stores:
        remove = ("docker", "compose", "-f", chosen.stores, "down", "--volumes")
        yield Command(remove, str(checkout))
    for target in chosen.after:
        yield Command((*program, *target.split()), str(checkout), _place(checkout))


def environment(chosen: Plan, checkout: Path) -> dict[str, str]:
    """What mage gets: the cluster that was made for it, unless there is another."""
    made = {"KUBECONFIG": str(checkout / KUBECONFIG)} if chosen.kind else {}
    return {**made, **os.environ, **_place(checkout)}


def _place(checkout: Path) -> dict[str, str]:
    """Where mage is: its targets believe PWD, and would install programs where the user is."""
    return {"PWD": str(checkout)}


def _run(words: list[str], checkout: Path, keeper: Keeper) -> None:
    log, env = keeper.logs / "mage.log", {**os.environ, **_place(checkout)}
    with log.open("ab") as output:
        done = subprocess.run(
            words, cwd=checkout, env=env, stdout=output, stderr=output, check=False
        )
    if done.returncode != 0:
        tail = log.read_text(errors="replace")[-2000:]
        raise Failed(f"{' '.join(words)} failed:\n{tail}")
