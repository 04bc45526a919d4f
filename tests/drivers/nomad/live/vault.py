"""A Vault, or an OpenBao, of these tests alone, which a Nomad agent's jobs log in to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests

from localdev.common import free_port
from localdev.nomad_config import Agent, inherited
from tests.drivers.nomad.live.cluster import eventually

PROGRAM = "BATCHBRIDGE_LIVE_VAULT"
"""Names the program ``vault``, or OpenBao's ``bao``."""

TOKEN = "root"


@dataclass(frozen=True)
class Vault:
    """One in memory, that its root may do everything with."""

    address: str

    @property
    def configuration(self) -> str:
        """What connects Nomad's agents with it, in HCL."""
        return f"""
vault {{
  enabled               = true
  address               = "{self.address}"
  jwt_auth_backend_path = "jwt-nomad"
  default_identity {{
    aud = ["vault.io"]
    ttl = "1h"
  }}
}}
"""

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What ``/v1/path`` answers, decoded."""
        url, head = f"{self.address}/v1/{path}", {"X-Vault-Token": TOKEN}
        answer = requests.request(method, url, json=body, headers=head, timeout=10)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def answers(self) -> bool:
        """Whether it is there."""
        try:
            return requests.get(f"{self.address}/v1/sys/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    def trust(self, nomad: str, agent: Agent) -> None:
        """Let the agent's jobs log in: as Nomad's own command sets it up."""
        keys = f"-jwks-url={agent.address}/.well-known/jwks.json"
        reached = {"VAULT_ADDR": self.address, "VAULT_TOKEN": TOKEN}
        done = subprocess.run(
            [nomad, "setup", "vault", "-y", keys],
            env={**inherited(os.environ), **reached},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def grant(self, role: str, *paths: str) -> None:
        """A further role that jobs may take, and what it may read."""
        rules = "".join(f'path "{path}" {{ capabilities = ["read"] }}\n' for path in paths)
        self.ask("PUT", f"sys/policies/acl/{role}", {"policy": rules})
        usual = self.ask("GET", "auth/jwt-nomad/role/nomad-workloads")["data"]
        kept = ("role_type", "bound_audiences", "user_claim", "user_claim_json_pointer")
        like = {name: usual[name] for name in kept}
        self.ask("PUT", f"auth/jwt-nomad/role/{role}", {**like, "token_policies": [role]})


@contextmanager
def vault() -> Iterator[Vault]:
    """One that answers. Skips the test where there is no program."""
    program = os.environ.get(PROGRAM)
    if not program:
        pytest.skip(f"{PROGRAM} names no vault, and no bao")
    made = Vault(f"http://127.0.0.1:{free_port()}")
    with TemporaryDirectory(prefix="vault-") as home:
        served = _serve(program, made, Path(home))
        try:
            eventually(made.answers, "Vault answers")
            yield made
        finally:
            served.terminate()
            served.wait()


def _serve(program: str, vault: Vault, home: Path) -> subprocess.Popen[bytes]:
    listens = f"-dev-listen-address={vault.address.removeprefix('http://')}"
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [program, "server", "-dev", f"-dev-root-token-id={TOKEN}", listens],
            env={**inherited(os.environ), "HOME": str(home)},
            stdout=log,
            stderr=log,
        )
