"""What a Nomad agent for development is told, and what its users have to know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from batchbridge_nomad.settings import NomadSettings
from localdev.common import listed, unlisted
from localdev.processes import ServerProcess

PROFILE = "localdev-nomad"
CONFIG = "BATCHBRIDGE_CONFIG"
VOLUME = "datastore"
"""The host volume: a directory that every job and this machine see."""

MARKS = ("datastore", "tls")
"""What a state directory has in it from the first, so that no other is taken for one."""

GRACE = "5m"
"""A node that is silent because this machine sleeps, or is busy, loses no job so soon."""

INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "DOCKER_HOST")
"""What the agent gets of a developer's environment, because under raw_exec its jobs inherit all of
the agent's. (With AWS_CA_BUNDLE in it the agent does not even start.)"""


@dataclass(frozen=True, slots=True)
class Place:
    """The directory where everything of one agent is kept."""

    root: Path

    @property
    def datastore(self) -> Path:
        """The host volume, and the datastore of Metaflow."""
        return self.root / "datastore"

    @property
    def data(self) -> Path:
        """What the agent keeps: keys, and its jobs' directories under ``alloc``."""
        return self.root / "data"

    @property
    def tls(self) -> Path:
        """The CA and the certificates, under the names that ``nomad tls`` gives them."""
        return self.root / "tls"

    @property
    def management(self) -> Path:
        """The token that may do everything."""
        return self.root / "management"

    @property
    def token(self) -> Path:
        """The token that may do what batchbridge needs."""
        return self.root / "token"

    @property
    def profile(self) -> Path:
        """The settings of batchbridge for this agent."""
        return self.root / "config.toml"

    @property
    def record(self) -> Path:
        """The agent itself, as :class:`Agent`."""
        return self.root / "agent.json"

    @property
    def log(self) -> Path:
        """The agent's output."""
        return self.root / "log"


@dataclass(frozen=True, slots=True)
class Features:
    """What the agent has beyond a plain one."""

    acl: bool = False
    tls: bool = False
    docker: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that was started."""

    root: str
    address: str
    version: str
    features: Features
    process: ServerProcess

    def __str__(self) -> str:
        has = [name for name in ("acl", "tls", "docker") if getattr(self.features, name)]
        return " ".join([self.version, "at", self.address, *(f"+{name}" for name in has)])

    @property
    def place(self) -> Place:
        """Where everything of it is kept."""
        return Place(Path(self.root))


# -- the agent -------------------------------------------------------------------------------


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment."""
    return {name: environment[name] for name in INHERITED if name in environment}


def configuration(
    place: Place, features: Features, *, http: int, rpc: int, serf: int
) -> dict[str, Any]:
    """The agent's configuration, beside ``-dev``. Nothing beyond the loopback is asked."""
    return {
        "data_dir": str(place.data),
        "bind_addr": "127.0.0.1",
        "log_level": "INFO",
        "ports": {"http": http, "rpc": rpc, "serf": serf},
        "disable_update_check": True,
        "acl": {"enabled": features.acl},
        "tls": tls_block(place.tls) if features.tls else {},
        "server": {"event_buffer_size": 5000, "heartbeat_grace": GRACE},
        "client": {
            "gc_max_allocs": 500,
            "host_volume": {VOLUME: {"path": str(place.datastore), "read_only": False}},
            "options": options(features),
        },
        "plugin": {"raw_exec": {"config": {"enabled": True}}},
    }


def options(features: Features) -> dict[str, str]:
    """What the client leaves alone: clouds, and Docker where its daemon does not answer."""
    denied = {"fingerprint.denylist": "env_aws,env_azure,env_digitalocean,env_gce"}
    return denied if features.docker else {**denied, "driver.denylist": "docker"}


def tls_block(tls: Path) -> dict[str, Any]:
    """Both sides show a certificate of our CA, on every connection."""
    return {
        "http": True,
        "rpc": True,
        "ca_file": str(tls / "nomad-agent-ca.pem"),
        "cert_file": str(tls / "global-server-nomad.pem"),
        "key_file": str(tls / "global-server-nomad-key.pem"),
        "verify_server_hostname": True,
        "verify_https_client": True,
    }


# -- its users -------------------------------------------------------------------------------


def settings(agent: Agent) -> NomadSettings:
    """How batchbridge reaches it, with the rights that it needs and no others."""
    token: dict[str, Any] = {"token_file": str(agent.place.token)} if agent.features.acl else {}
    return NomadSettings(address=agent.address, **token, **_certificates(agent))


def profile(agent: Agent) -> str:
    """The same as a profile, with the task driver that works on this machine."""
    keys = {"backend": "nomad", **_said(settings(agent)), "store": str(agent.place.datastore)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    tables = [f"[profile.{PROFILE}]", *lines, "", f"[profile.{PROFILE}.options]"]
    return "\n".join([*tables, 'driver = "raw_exec"', ""])


def environment(agent: Agent, configs: str) -> dict[str, str]:
    """The same for ``nomad`` itself, and for Metaflow, with a datastore that every job sees.

    `configs`: what BATCHBRIDGE_CONFIG lists already.
    """
    said = _said(settings(agent))
    token = {"NOMAD_TOKEN": agent.place.token.read_text()} if agent.features.acl else {}
    return {
        **{variable: said[name] for name, variable in _VARIABLES.items() if name in said},
        **token,
        CONFIG: listed(configs, agent.place.profile),
        **_metaflow(agent.place),
    }


def forgotten(place: Place, configs: str) -> tuple[dict[str, str], list[str]]:
    """What :func:`environment` set: that which has another value without it, and the rest."""
    others = unlisted(configs, place.profile)
    ours = [*_VARIABLES.values(), "NOMAD_TOKEN", *_metaflow(place)]
    return ({CONFIG: others}, ours) if others else ({}, [CONFIG, *ours])


def _metaflow(place: Place) -> dict[str, str]:
    return {
        "METAFLOW_NOMAD_DRIVER": "raw_exec",
        "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(place.datastore),
        "METAFLOW_DEFAULT_METADATA": "local",
    }


_VARIABLES = {
    "address": "NOMAD_ADDR",
    "ca_cert": "NOMAD_CACERT",
    "client_cert": "NOMAD_CLIENT_CERT",
    "client_key": "NOMAD_CLIENT_KEY",
}


def _certificates(agent: Agent) -> dict[str, Any]:
    if not agent.features.tls:
        return {}
    tls = agent.place.tls
    return {
        "ca_cert": str(tls / "nomad-agent-ca.pem"),
        "client_cert": str(tls / "global-cli-nomad.pem"),
        "client_key": str(tls / "global-cli-nomad-key.pem"),
    }


def _said(settings: NomadSettings) -> dict[str, str]:
    """What these settings say that is not the default."""
    return {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if getattr(settings, field.name) != field.default
    }
