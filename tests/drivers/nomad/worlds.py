"""Two Nomads that the same things can be done to: a real one, and the agent of the tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import psutil

from batchbridge_nomad.settings import NomadSettings
from localdev import nomad_agent
from localdev.common import free_port
from localdev.nomad_admin import Admin
from localdev.nomad_config import Features, inherited, options
from tests.drivers.nomad.agent import Agent, Policy, node
from tests.drivers.nomad.images import BUSYBOX, KEEP, Keeper, shell_root

VICTIM = "victim"
"""The class of the node that can be lost."""

PROGRAMS = ("sh", "mkdir", "dd")
"""All that a job in the driver exec may run here; Nomad's usual choice is copied for minutes."""

IMAGE = "batchbridge-recorded:1"
"""An image with a shell, which is made here and removed again."""


def eager(root: Path) -> dict[str, Any]:
    """Of a server that notices lost nodes in seconds, and a client whose chroot is small."""
    programs = root / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        shutil.copy(BUSYBOX, programs / name)
    return {
        "name": "node-1",
        "server": {"min_heartbeat_ttl": "4s", "heartbeat_grace": "6s"},
        "client": {"chroot_env": {str(programs): "/bin"}},
    }


PATIENCE = 60.0


def until(holds: Callable[[], object], what: str = "it") -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come to pass"
        time.sleep(0.02)


class World(Protocol):
    """One Nomad, and what can be done to it."""

    admin: Admin
    """Who may do everything."""

    docker: bool
    """Whether images can be run."""

    moment: float
    """Seconds in which a task has surely begun."""

    def lose(self) -> None:
        """The victim's node is heard no more; its tasks go on."""

    def reconnect(self) -> None:
        """It is heard again, if it was not, and ready."""

    def starve(self, job_id: str) -> None:
        """That job, which takes more and more memory, has no more."""

    def token(self, capabilities: tuple[str, ...], variables: tuple[str, ...] = ()) -> str:
        """A token that may do these things in the default namespace, and with its variables."""


# -- the agent of the tests --------------------------------------------------------------------


@dataclass
class Ours:
    """The agent of the tests, with the victim's node beside the usual one."""

    agent: Agent
    docker: bool = True
    moment: float = 0.5

    @property
    def admin(self) -> Admin:
        return Admin.of(NomadSettings(address=self.agent.address), "management")

    def lose(self) -> None:
        self.agent.cluster.lose(VICTIM)

    def reconnect(self) -> None:
        if self.agent.cluster.node(VICTIM)["Status"] != "ready":
            self.agent.cluster.reconnect(VICTIM)

    def starve(self, job_id: str) -> None:
        self.agent.cluster.out_of_memory(job_id)

    def token(self, capabilities: tuple[str, ...], variables: tuple[str, ...] = ()) -> str:
        secret = f"token-{len(self.agent.policies or ())}"
        paths = {"nomad/jobs/*": frozenset(variables)} if variables else {}
        policy = Policy("default", frozenset(capabilities), paths)
        self.agent.policies = {**(self.agent.policies or {}), secret: policy}
        return secret


@contextmanager
def ours(*, acl: bool = False) -> Iterator[Ours]:
    """A new agent of the tests."""
    nodes = [node("node-1"), node(VICTIM, NodeClass=VICTIM, drivers=("raw_exec", "exec"))]
    policies = {"management": None} if acl else None
    images = frozenset({IMAGE})
    with Agent(nodes, policies=policies, images=images, buffer=1000) as agent:
        yield Ours(agent)


# -- a real one --------------------------------------------------------------------------------


@dataclass
class Real:
    """A dev agent of its own, and beside it the victim, once somebody asks for it."""

    started: Any
    program: str
    root: Path
    moment: float = 8.0
    victim: subprocess.Popen[bytes] | None = None
    tokens: list[str] = field(default_factory=list)

    @property
    def admin(self) -> Admin:
        return nomad_agent.admin_of(self.started)

    @property
    def docker(self) -> bool:
        return bool(self.started.features.docker)

    def lose(self) -> None:
        assert self.victim is not None
        self.victim.send_signal(signal.SIGSTOP)

    def reconnect(self) -> None:
        if self.victim is not None:
            self.victim.send_signal(signal.SIGCONT)
            until(lambda: VICTIM in self._ready(), "its return")

    def starve(self, job_id: str) -> None:
        """The kernel does it."""

    def token(self, capabilities: tuple[str, ...], variables: tuple[str, ...] = ()) -> str:
        name = f"policy-{len(self.tokens)}"
        self.tokens.append(name)
        paths = f'path "nomad/jobs/*" {{ capabilities = {json.dumps(variables)} }}'
        inner = f"variables {{ {paths} }}" if variables else ""
        given = f"capabilities = {json.dumps(capabilities)}"
        return self.admin.token_with(name, f'namespace "default" {{\n{given}\n{inner}\n}}')

    def join(self) -> None:
        """Start the victim."""
        home = self.root / VICTIM
        home.mkdir()
        server = self.admin.ask("GET", "agent/self")["config"]["AdvertiseAddrs"]["RPC"]
        file = home / "nomad.json"
        file.write_text(json.dumps(victim(home, server)))
        with (home / "log").open("wb") as log:
            self.victim = subprocess.Popen(
                [self.program, "agent", f"-config={file}"],
                env=inherited(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: VICTIM in self._ready(), "a second node")

    def part(self) -> None:
        """End the victim, and what it has left running."""
        if self.victim is None:
            return
        left = psutil.Process(self.victim.pid).children(recursive=True)
        self.victim.kill()
        self.victim.wait()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _ready(self) -> list[str]:
        return [one["Name"] for one in self.admin.ask("GET", "nodes") if one["Status"] == "ready"]


def victim(home: Path, server: str) -> dict[str, Any]:
    """The configuration of a client of that server."""
    return {
        "name": VICTIM,
        "data_dir": str(home),
        "bind_addr": "127.0.0.1",
        "advertise": {"http": "127.0.0.1", "rpc": "127.0.0.1", "serf": "127.0.0.1"},
        "ports": {"http": free_port(), "rpc": free_port(), "serf": free_port()},
        "disable_update_check": True,
        "client": {
            "enabled": True,
            "servers": [server],
            "node_class": VICTIM,
            "network_interface": "lo",
            "options": options(Features()),
        },
        "plugin": {"raw_exec": {"config": {"enabled": True}}},
    }


@contextmanager
def real(program: str, *, acl: bool = False) -> Iterator[Real]:
    """A new agent of that program, with nothing else to do."""
    with TemporaryDirectory(prefix="recorded-", ignore_cleanup_errors=True) as above:
        root = Path(above)
        more = [root / "eager.json", root / "keep.hcl"]
        for file, text in zip(more, (json.dumps(eager(root)), KEEP), strict=True):
            file.write_text(text)
        state = root / "agent"
        started = nomad_agent.up(state, nomad=program, port=free_port(), acl=acl, more=more)
        made = Real(started, program, root)
        try:
            if not acl:
                made.join()
            if made.docker:
                Keeper().add(IMAGE, shell_root())
            yield made
        finally:
            made.part()
            nomad_agent.down(state)
            if made.docker:
                Keeper().remove(IMAGE)
            nomad_agent.remove(root / VICTIM)
