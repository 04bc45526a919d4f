"""Real agents, started by ``localdev`` for these tests alone, and ended with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from batchbridge import Client
from batchbridge.layers import Layers
from batchbridge.settings import Config
from batchbridge_nomad import NomadDriver
from batchbridge_nomad.settings import NomadSettings
from localdev.nomad_admin import Admin
from localdev.nomad_agent import admin_of, load
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.cluster import Cluster, cluster

LIVE = [pytest.mark.live, pytest.mark.timeout(600)]
"""What marks these tests; agents take their time where others work."""

Start = Callable[..., Agent]
PREEMPTION = """
server {
  default_scheduler_config {
    preemption_config { batch_scheduler_enabled = true }
  }
}
"""
WITHOUT_EVENTS = """
log_level = "DEBUG"
server { enable_event_broker = false }
"""
"""Its log then names each request that it has answered."""

REPO = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def program() -> str:
    """The program of Nomad."""
    found = shutil.which("nomad")
    if found is None:
        pytest.skip("there is no nomad on PATH")
    return found


@pytest.fixture(scope="session")
def start(program: str) -> Iterator[Start]:
    """``start("--acl", config=HCL)``: one more agent, with that configuration over the usual."""
    with TemporaryDirectory(prefix="nomad-") as above:  # short, as the names of sockets must be
        states: list[Path] = []

        def start(*words: str, config: str = "") -> Agent:
            states.append(Path(above, str(len(states))))
            more = states[-1].with_suffix(".hcl")
            more.write_text(config)
            asked = ("--nomad", program, "--port", "0", "--config", str(more), *words)
            _localdev_nomad(states[-1], "up", *asked)
            agent = load(states[-1])
            assert agent is not None
            return agent

        yield start
        with ThreadPoolExecutor() as pool:  # one after the other takes minutes where others work
            list(pool.map(lambda state: _localdev_nomad(state, "down"), states))


def _localdev_nomad(state: Path, *words: str) -> None:
    command = [sys.executable, "-m", "localdev.nomad_agent", "--state", str(state), *words]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def agent(start: Start) -> Agent:
    """A plain one, where operators may preempt."""
    return start(config=PREEMPTION)


@pytest.fixture(scope="session")
def guarded(start: Start) -> Agent:
    """One with ACLs and TLS; ``settings(guarded)`` are those of the least policy."""
    return start("--acl", "--tls")


@pytest.fixture(scope="session")
def eventless(start: Start) -> Agent:
    """One whose servers keep no events, so that its stream says nothing."""
    return start(config=PREEMPTION + WITHOUT_EVENTS)


@pytest.fixture
def admin(agent: Agent) -> Admin:
    """An operator of the plain agent."""
    return admin_of(agent)


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    """A client of the plain agent."""
    with client_of(settings(agent)) as made:
        yield made


@pytest.fixture
def pair(program: str) -> Iterator[Cluster]:
    """A server and a client agent apart, which can be killed and started again."""
    with cluster(program) as made:
        yield made


@pytest.fixture
def pair_client(pair: Cluster) -> Iterator[Client]:
    """A client of that server."""
    with client_of(pair.servers[0].settings) as made:
        yield made


def client_of(reached_by: NomadSettings) -> Client:
    """A client that takes nothing from this machine's files, and keeps no journal."""
    config = Config(Layers((), {}))
    return Client(driver=NomadDriver(reached_by), config=config, journal=False)


def crowd_of(admin: Admin) -> dict[str, Any]:
    """Fields of two jobs of which each needs more than half of the one node's memory."""
    (node,) = [node for node in admin.ask("GET", "nodes") if node["Status"] == "ready"]
    memory = admin.ask("GET", f"node/{node['ID']}")["NodeResources"]["Memory"]["MemoryMB"]
    return {"memory": int(memory * 0.6) << 20}
