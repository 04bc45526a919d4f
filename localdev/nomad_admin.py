"""Calls to Nomad that are not batchbridge's to make: an administrator's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from batchbridge_nomad.settings import NomadSettings

POLICY = Path(__file__).parents[1] / "docs" / "nomad-policy.hcl"
"""The least policy that batchbridge needs."""


@dataclass(frozen=True, slots=True)
class Admin:
    """One agent, and who asks it."""

    session: requests.Session
    url: str

    @classmethod
    def of(cls, settings: NomadSettings, token: str = "") -> Admin:
        """By the way that these settings lead, with that token or with none."""
        session = requests.Session()
        session.trust_env = False
        session.headers["X-Nomad-Token"] = token
        if settings.ca_cert:
            session.verify = settings.ca_cert
            session.cert = (settings.client_cert, settings.client_key)
        return cls(session, settings.address)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What ``/v1/path`` answers, decoded; requests' errors, Nomad's words in them."""
        answer = self.session.request(method, f"{self.url}/v1/{path}", json=body, timeout=10)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def has_leader(self) -> bool:
        """Whether there is a server that answers, and has a leader."""
        try:
            return bool(self.ask("GET", "status/leader"))
        except requests.RequestException:
            return False

    def bootstrap(self) -> str:
        """The first token, which may do everything."""
        secret: str = self.ask("POST", "acl/bootstrap")["SecretID"]
        return secret

    def token_with(self, name: str, rules: str) -> str:
        """A new token that has these rights, and no others."""
        self.ask("PUT", f"acl/policy/{name}", {"Name": name, "Rules": rules})
        asked = {"Name": name, "Type": "client", "Policies": [name]}
        secret: str = self.ask("PUT", "acl/token", asked)["SecretID"]
        return secret
