"""Servers and a client apart, with disks of their own, that can be killed and started again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchbridge_nomad.settings import NomadSettings
from localdev.common import free_port
from localdev.nomad_admin import Admin
from localdev.nomad_agent import remove
from localdev.nomad_config import Features, inherited, options

PATIENCE = 90.0  # seconds


@dataclass
class Member:
    """One agent, and the process that it is at the moment."""

    program: str
    root: Path
    ports: dict[str, int] = field(
        default_factory=lambda: {name: free_port() for name in ("http", "rpc", "serf")}
    )
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> NomadSettings:
        """What leads to it."""
        return NomadSettings(address=f"http://127.0.0.1:{self.ports['http']}")

    def at(self, port: str) -> str:
        """Where others of the cluster reach it."""
        return f"127.0.0.1:{self.ports[port]}"

    def configure(self, region: str, **blocks: Any) -> None:
        """Write its configuration."""
        common = {
            "name": self.root.name,
            "region": region,
            "data_dir": str(self.root / "data"),
            "bind_addr": "127.0.0.1",
            "advertise": {"http": "127.0.0.1", "rpc": "127.0.0.1", "serf": "127.0.0.1"},
            "ports": self.ports,
            "disable_update_check": True,
        }
        self.root.mkdir()
        (self.root / "nomad.json").write_text(json.dumps({**common, **blocks}))

    def start(self) -> None:
        """Start it, on the disk that it had."""
        with (self.root / "log").open("ab") as output:
            self.process = subprocess.Popen(
                [self.program, "agent", f"-config={self.root / 'nomad.json'}"],
                env=inherited(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a power failure would; what it started goes on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def reap(self) -> None:
        """Know its end."""
        if self.process is not None:
            self.process.wait()


@dataclass
class Cluster:
    """The servers of a region, and a client that runs the jobs."""

    servers: list[Member]
    client: Member

    @property
    def members(self) -> list[Member]:
        """All of them."""
        return [*self.servers, self.client]

    def ready(self) -> bool:
        """Whether every server follows one leader, and the client is there."""
        admins = [Admin.of(server.settings) for server in self.servers]
        if not all(admin.has_leader() for admin in admins):
            return False
        peers = admins[0].ask("GET", "status/peers")
        nodes = admins[0].ask("GET", "nodes")
        found = len(peers), [node["Status"] for node in nodes]
        return found == (len(self.servers), ["ready"])

    def leader(self) -> Member:
        """The server that leads."""
        address = Admin.of(self.client.settings).ask("GET", "status/leader")
        return next(server for server in self.servers if server.at("rpc") == address)


def eventually(holds: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.1)


@contextmanager
def cluster(
    program: str, *, servers: int = 1, region: str = "global", beside: Cluster | None = None
) -> Iterator[Cluster]:
    """A new cluster, ready; nothing of it is left. `beside`: joined with that other region."""
    with TemporaryDirectory(prefix="nomad-", ignore_cleanup_errors=True) as above:
        root = Path(above)
        peers = [Member(program, root / f"server-{n}") for n in range(servers)]
        made = Cluster(peers, Member(program, root / "client"))
        known = [*made.servers, *(beside.servers if beside else ())]
        for server in made.servers:
            server.configure(region, server=_server(servers, known))
        made.client.configure(region, **_client(made.servers))
        try:
            for member in made.members:
                member.start()
            eventually(made.ready, "the servers with a client")
            yield made
        finally:
            remove(root)  # kills what works there
            for member in made.members:
                member.reap()


def _server(count: int, known: list[Member]) -> dict[str, Any]:
    return {
        "enabled": True,
        "bootstrap_expect": count,
        "heartbeat_grace": "60s",
        "server_join": {"retry_join": [member.at("serf") for member in known]},
    }


def _client(servers: list[Member]) -> dict[str, Any]:
    client = {
        "enabled": True,
        "servers": [server.at("rpc") for server in servers],
        "network_interface": "lo",
        "gc_max_allocs": 500,
        "options": options(Features()),
    }
    return {"client": client, "plugin": {"raw_exec": {"config": {"enabled": True}}}}
