"""The engines that whole flows run on: small ones in this process, and real ones where they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import pytest

from localdev.armada_ready import KIND_VARIABLE, STATE_VARIABLE
from localdev.armada_state import load as load_armada
from localdev.nomad_agent import load
from tests.drivers.armada.job import NODE
from tests.drivers.armada.live.kubernetes import Kubernetes
from tests.drivers.armada.server import Armada
from tests.drivers.nomad.agent import Agent

from .conftest import REPO

HOSTNAME = "kubernetes.io/hostname"
IMAGE = "BATCHBRIDGE_LIVE_ARMADA_IMAGE"
"""Names an image with this version of Python, psutil and what a step needs of it for S3.

Steps run in it where pods are containers.
"""


@dataclass(frozen=True)
class There:
    """An engine that runs steps, and the configuration that leads to it."""

    name: str  #: of the decorator
    env: dict[str, str]
    server: Agent | Armada | None = None
    memory: int = 64  #: megabytes that a step needs there
    node: str = ""  #: one of its nodes, where pods are told their node


def nomad_env(address: str) -> dict[str, str]:
    return {"METAFLOW_NOMAD_ADDRESS": address, "METAFLOW_NOMAD_DRIVER": "raw_exec"}


def armada_env(address: str, logs: str, queue: str) -> dict[str, str]:
    host, port = address.split(":")
    logging_host, logging_port = logs.split(":")
    return {
        "METAFLOW_ARMADA_HOST": host,
        "METAFLOW_ARMADA_PORT": port,
        "METAFLOW_ARMADA_LOGGING_HOST": logging_host,
        "METAFLOW_ARMADA_LOGGING_PORT": logging_port,
        "METAFLOW_ARMADA_QUEUE": queue,
        "METAFLOW_ARMADA_EXECUTABLE": sys.executable,
    }


@contextmanager
def small_nomad() -> Iterator[There]:
    with Agent(env={"PATH": os.environ["PATH"]}) as agent:
        yield There("nomad", nomad_env(agent.address), agent)


@contextmanager
def small_armada() -> Iterator[There]:
    armada = Armada(cpu=1000)
    armada.cluster.queues.add("q")
    try:
        env = armada_env(armada.address, armada.address, "q")
        yield There("armada", env, armada, node=NODE)
    finally:
        armada.close()


@contextmanager
def real_nomad() -> Iterator[There]:
    with nomad_of_localdev() as address:
        yield There("nomad", nomad_env(address))


@contextmanager
def nomad_of_localdev(config: str = "") -> Iterator[str]:
    """The address of a new agent, with that configuration over the usual. It skips without."""
    if shutil.which("nomad") is None:
        pytest.skip("there is no nomad on PATH")
    with TemporaryDirectory(prefix="nomad-") as above:
        state, more = Path(above, "s"), Path(above, "more.hcl")
        more.write_text(config)
        _localdev_nomad(state, "up", "--port", "0", "--config", str(more))
        try:
            agent = load(state)
            assert agent is not None
            yield agent.address
        finally:
            _localdev_nomad(state, "down")


def _localdev_nomad(state: Path, *words: str) -> None:
    command = [sys.executable, "-m", "localdev.nomad_agent", "--state", str(state), *words]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def real_armada() -> Iterator[There]:
    kind = os.environ.get(KIND_VARIABLE, "").partition(" ")[0]
    if kind not in ("processes", "no-auth"):
        pytest.skip("no Armada whose pods run here: see localdev/armada up processes")
    names = [f"BATCHBRIDGE_ARMADA_{name}" for name in ("ADDRESS", "BINOCULARS", "QUEUE")]
    env = armada_env(*(os.environ[name] for name in names))
    if kind == "no-auth":
        yield There("armada", {**env, **containers_env()}, memory=300, node=a_node())
    else:
        yield There("armada", env, node="this-machine")


def a_node() -> str:
    """The name of a node of the Kubernetes below that Armada."""
    stack = load_armada(Path(os.environ[STATE_VARIABLE]))
    assert stack is not None
    name: str = Kubernetes(stack.kubeconfig).nodes()[0]["metadata"]["labels"][HOSTNAME]
    return name


def containers_env() -> dict[str, str]:
    """What steps in containers need: an image, and what the tests have of this machine."""
    if not os.environ.get(IMAGE):
        pytest.skip(f"{IMAGE} names no image that steps can run in")
    here = gettempdir()
    return {
        "METAFLOW_ARMADA_DEFAULT_IMAGE": os.environ[IMAGE],
        "METAFLOW_ARMADA_EXECUTABLE": "python",
        "METAFLOW_ARMADA_VOLUMES": json.dumps(
            [{"path": here, "source": {"hostPath": {"path": here}}}]
        ),
        "METAFLOW_ARMADA_POD_TEMPLATE": json.dumps({"hostNetwork": True, "hostPID": True}),
    }


def settings_of(there: There) -> dict[str, str]:
    """The same configuration, as the driver's settings."""
    env = {name.removeprefix("METAFLOW_"): value for name, value in there.env.items()}
    if there.name == "nomad":
        return {"address": env["NOMAD_ADDRESS"]}
    return {"address": f"{env['ARMADA_HOST']}:{env['ARMADA_PORT']}", "queue": env["ARMADA_QUEUE"]}


LIVE = pytest.mark.live
ENGINES = [
    pytest.param(small_nomad, id="nomad"),
    pytest.param(small_armada, id="armada"),
    pytest.param(real_nomad, id="nomad-live", marks=LIVE),
    pytest.param(real_armada, id="armada-live", marks=LIVE),
]
"""Each is called for a context that gives `There`."""
