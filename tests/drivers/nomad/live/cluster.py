"""A server and a client apart, with disks of their own, that can be killed and started again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on the disk that it had."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
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
    """A server, and a client that runs the jobs."""

    settings: NomadSettings
    server: Member
    client: Member

    @property
    def admin(self) -> Admin:
        """An operator."""
        return Admin.of(self.settings)

    def ready(self) -> bool:
        """Whether the server leads, and the client is there."""
        admin = self.admin
        if not admin.has_leader():
            return False
        return [node["Status"] for node in admin.ask("GET", "nodes")] == ["ready"]


def eventually(holds: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.1)


@contextmanager
def cluster(program: str) -> Iterator[Cluster]:
    """A new cluster, ready; nothing of it is left."""
    with TemporaryDirectory(prefix="nomad-", ignore_cleanup_errors=True) as above:
        root = Path(above)
        http, rpc = free_port(), free_port()
        made = Cluster(
            NomadSettings(address=f"http://127.0.0.1:{http}"),
            _member(program, root / "server", _server(root / "server", http, rpc)),
            _member(program, root / "client", _client(root / "client", rpc)),
        )
        members = (made.server, made.client)
        try:
            for member in members:
                member.start()
            eventually(made.ready, "a server with a client")
            yield made
        finally:
            remove(root)  # kills what works there
            for member in members:
                member.reap()


def _member(program: str, root: Path, config: dict[str, Any]) -> Member:
    root.mkdir()
    file = root / "nomad.json"
    file.write_text(json.dumps(config))
    return Member([program, "agent", f"-config={file}"], root / "log")


def _common(root: Path, http: int, rpc: int) -> dict[str, Any]:
    return {
        "name": root.name,
        "data_dir": str(root / "data"),
        "bind_addr": "127.0.0.1",
        "advertise": {"http": "127.0.0.1", "rpc": "127.0.0.1", "serf": "127.0.0.1"},
        "ports": {"http": http, "rpc": rpc, "serf": free_port()},
        "disable_update_check": True,
    }


def _server(root: Path, http: int, rpc: int) -> dict[str, Any]:
    server = {"enabled": True, "bootstrap_expect": 1, "heartbeat_grace": "60s"}
    return {**_common(root, http, rpc), "server": server}


def _client(root: Path, rpc: int) -> dict[str, Any]:
    client = {
        "enabled": True,
        "servers": [f"127.0.0.1:{rpc}"],
        "network_interface": "lo",
        "gc_max_allocs": 500,
        "options": options(Features()),
    }
    plugin = {"raw_exec": {"config": {"enabled": True}}}
    return {**_common(root, free_port(), free_port()), "client": client, "plugin": plugin}
