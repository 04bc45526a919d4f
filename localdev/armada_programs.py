"""Armada's own programs, already built: what each is told beyond the checkout's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from localdev.armada_state import Keeper
from localdev.armada_stores import DATABASES, Stores, wait_until
from localdev.common import Failed, free_port

Executor: TypeAlias = Literal["fake-executor", "processes", "no-auth"]
Overlay: TypeAlias = dict[str, Any]

PROGRAMS = (
    "server",
    "scheduler",
    "scheduleringester",
    "eventingester",
    "lookoutingester",
    "lookout",
)
BESIDE: Mapping[Executor, tuple[str, ...]] = {
    "fake-executor": ("fakeexecutor",),
    "processes": ("executor", "binoculars"),
    "no-auth": ("executor", "binoculars"),
}
CLUSTER = "localdev"
SOON = {
    name: "1s"
    for name in (
        "jobLeaseRenewalInterval",
        "allocateSpareClusterCapacityInterval",
        "stateProcessorInterval",
        "podDeletionInterval",
        "podIssueHandlingInterval",
    )
}


@dataclass(frozen=True, slots=True)
class Built:
    """Programs, and the checkout that holds their configuration."""

    bin: Path
    checkout: Path

    def program(self, name: str) -> Path | None:
        """The program of that name, as built here or as Armada's releases call it."""
        places = (self.bin / name, self.bin / f"armada-{name}")
        return next((place for place in places if os.access(place, os.X_OK)), None)

    def check(self, executor: Executor) -> None:
        """Failed where something is missing, naming the remedy."""
        wanted = (*PROGRAMS, *BESIDE[executor])
        missing = [name for name in wanted if self.program(name) is None]
        if missing:
            build = " ".join(f"./cmd/{name}" for name in missing)
            raise Failed(
                f"{self.bin} has no {', '.join(missing)}; in the checkout:"
                f" go build -o {self.bin}/ {build}"
            )
        if not (self.checkout / "_local" / "server" / "config.yaml").exists():
            raise Failed(f"{self.checkout} is no checkout of Armada from v0.21.4 on")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where others ask; the rest is between Armada's own programs."""

    server: int
    binoculars: int
    scheduler: int


# -- what each is told -----------------------------------------------------------------------


def overlays(stores: Stores, ports: Ports) -> dict[str, Overlay]:
    """For each program what is merged over the checkout's configuration. Periods are short."""
    told = {**_servers(stores, ports), **_executors(ports)}
    return {name: {**overlay, **_quiet(name)} for name, overlay in told.items()}


def _servers(stores: Stores, ports: Ports) -> dict[str, Overlay]:
    pulsar: Overlay = {"pulsar": {"URL": stores.pulsar}}
    redis = {"addrs": [stores.redis]}
    scheduler, lookout = (_database(stores, name) for name in DATABASES)
    return {
        "server": {
            **pulsar,
            **lookout,
            "grpcPort": ports.server,
            "queueCacheRefreshPeriod": "1s",
            "eventsApiRedis": redis,
            "redis": redis,
            "queryapi": lookout,
            "schedulerApiConnection": {"armadaUrl": f"localhost:{ports.scheduler}"},
        },
        "scheduler": {
            **pulsar,
            **scheduler,
            **_SCHEDULING,
            "grpc": {"port": ports.scheduler},
            "armadaApi": {"armadaUrl": f"localhost:{ports.server}"},
        },
        "scheduleringester": {**pulsar, **scheduler},
        "eventingester": {**pulsar, "redis": redis},
        "lookoutingester": {**pulsar, **lookout},
        "lookout": lookout,
    }


def _executors(ports: Ports) -> dict[str, Overlay]:
    connection = {"executorApiConnection": {"armadaUrl": f"localhost:{ports.scheduler}"}}
    return {
        "fakeexecutor": {**connection, **_executing("fake-cluster")},
        "executor": {**connection, **_executing(CLUSTER)},
        "binoculars": {"grpcPort": ports.binoculars, "application": {"clusterId": CLUSTER}},
    }


def _database(stores: Stores, name: str) -> Overlay:
    return {"postgres": {"connection": {**stores.postgres, "dbname": name, "sslmode": "disable"}}}


_SCHEDULING: Overlay = {
    "cyclePeriod": "200ms",
    "schedulePeriod": "500ms",
    "queueRefreshPeriod": "1s",
    "executorTimeout": "30s",
    "scheduling": {
        "executorUpdateFrequency": "1s",
        "retryPolicy": {"enabled": True, "globalMaxRetries": 5},
    },
}


_NO_IMAGE: Overlay = {
    "regexp": "Failed to pull image.* failed to pull and unpack image",
    "type": "Warning",
    "gracePeriod": "1s",
    "action": "Fail",
}


def _executing(cluster: str) -> Overlay:
    return {
        "application": {"clusterId": cluster},
        "task": SOON,
        "kubernetes": {
            "trackedNodeLabels": ["kubernetes.io/hostname", "armadaproject.io/node-pool"],
            "pendingPodChecks": {"events": [_NO_IMAGE]},
            "minimumResourcesMarkedAllocatedToNonArmadaPodsPerNode": {"cpu": 0, "memory": 0},
        },
    }


def _quiet(name: str) -> Overlay:
    """No traces to a collector that is not there; any free port where nobody asks."""
    named: dict[str, Overlay] = {
        "scheduler": {"metrics": {"port": free_port()}, "http": {"port": free_port()}},
        "fakeexecutor": {"metric": {"port": free_port()}, "httpPort": free_port()},
        "executor": {"metric": {"port": free_port()}, "httpPort": free_port()},
        "scheduleringester": {"metrics": {"port": free_port()}, "metricsPort": free_port()},
    }
    plain: Overlay = {"metricsPort": free_port(), "httpPort": free_port()}
    return {"observability": {"enabled": False}, **named.get(name, plain)}


# -- starting --------------------------------------------------------------------------------


class Starter:
    """Starts the programs, each with its overlay."""

    def __init__(self, built: Built, told: Mapping[str, Overlay], keeper: Keeper) -> None:
        self._built = built
        self._told = told
        self._keeper = keeper
        self._folder = keeper.state / "conf"
        self._folder.mkdir()

    def migrate(self) -> None:
        """Make the tables."""
        for name, verb in (("scheduler", "migrateDatabase"), ("lookout", "--migrateDatabase")):
            words = self._words(name, verb)
            done = subprocess.run(
                words, cwd=self._built.checkout, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise Failed(f"{name} {verb} failed:\n{(done.stdout + done.stderr)[-2000:]}")

    def start(self, name: str, *verbs: str, env: Mapping[str, str] = os.environ) -> None:
        """Start a program in the checkout, which holds its base configuration."""
        self._keeper.start(name, self._words(name, *verbs), env, cwd=self._built.checkout)

    def _words(self, name: str, *verbs: str) -> list[str]:
        overlay = self._folder / f"{name}.yaml"
        overlay.touch(mode=0o600)
        overlay.write_text(yaml.safe_dump(self._told[name]))
        base = f"_local/{name}/config.yaml"
        program = str(self._built.program(name))
        return [program, *verbs, "--config", base, "--config", str(overlay)]


def start_all(
    built: Built,
    executor: Executor,
    stores: Stores,
    ports: Ports,
    keeper: Keeper,
    kubeconfig: Path | None,
) -> None:
    """Start all programs; they find each other in their own time."""
    starter = Starter(built, overlays(stores, ports), keeper)
    starter.migrate()
    starter.start("server")
    starter.start("scheduler", "run")
    for name in ("scheduleringester", "eventingester", "lookoutingester"):
        starter.start(name)
    if executor == "fake-executor":
        starter.start("fakeexecutor")
        return
    where = kubeconfig or start_kubernetes(keeper)
    keeper.update(kubeconfig=str(where))
    for name in BESIDE[executor]:
        starter.start(name, env={**os.environ, "KUBECONFIG": str(where)})


def start_kubernetes(keeper: Keeper) -> Path:
    """The Kubernetes whose pods are processes; the file that says where it is."""
    config = keeper.state / "kubeconfig"
    words = [sys.executable, "-m", "localdev.kubernetes"]
    words += ["--root", str(keeper.state / "pods"), "--kubeconfig", str(config)]
    keeper.start("kubernetes", words, os.environ, cwd=Path(__file__).parents[1])
    wait_until(keeper, "kubernetes", config.exists)
    return config
