"""How an Armada is reached, and what a job may ask of it: flags, profile keys, docs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from batchbridge.driver import Duration, setting

AUTHORITIES = (
    "token",
    "token_file",
    "token_command",
    "username",
    "oidc_provider",
    "armadactl_config",
)


ADDRESS = "localhost:50051"

NEEDED = (
    ("password", "username"),
    ("password_file", "username"),
    ("client_cert", "client_key"),
    ("client_key", "client_cert"),
    ("oidc_provider", "oidc_client_id"),
    ("oidc_client_id", "oidc_provider"),
    ("oidc_client_secret", "oidc_provider"),
    ("oidc_client_secret_file", "oidc_provider"),
    ("oidc_scopes", "oidc_provider"),
    ("armadactl_context", "armadactl_config"),
)
"""Settings that mean nothing without another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmadaSettings:
    """Where Armada is and who asks."""

    address: str = setting(
        ADDRESS,
        help="host:port of the server's gRPC",
        address=True,
    )
    queue: str = setting("", help="queue of jobs that name none", inert=True)
    namespace: str = setting(
        "default", help="Kubernetes namespace of jobs that name none", inert=True
    )
    tls: Literal["auto", "on", "off"] = setting(
        "auto",
        help="encryption; auto: on, but to this machine; off: anybody in between reads all",
    )
    ca_cert: str = setting("", help="file with the CA's certificates; empty: gRPC's own")
    client_cert: str = setting("", help="our certificate")
    client_key: str = setting("", help="the key of our certificate")
    tls_server_name: str = setting("", help="name expected in the server's certificate")
    token: str = setting("", help="bearer token", secret=True)
    token_file: str = setting("", help="file with the bearer token, read again when refused")
    token_command: str = setting(
        "", help="command that prints the bearer token, run again when the token is refused"
    )
    username: str = setting("", help="user of basic authentication")
    password: str = setting("", help="password of basic authentication", secret=True)
    password_file: str = setting("", help="file with the password, read again when refused")
    oidc_provider: str = setting(
        "",
        help="OpenID Connect provider that gives tokens for the client's credentials",
        address=True,
    )
    oidc_client_id: str = setting("", help="who we are to the provider")
    oidc_client_secret: str = setting("", help="the secret of that client", secret=True)
    oidc_client_secret_file: str = setting("", help="file with the secret of that client")
    oidc_scopes: str = setting("", help="scopes to ask the provider for, separated by spaces")
    armadactl_config: str = setting(
        "",
        help="armadactl's configuration file: the address and who we are, e.g. ~/.armadactl.yaml",
    )
    armadactl_context: str = setting("", help="context of that file; empty: its current one")
    allow_plain_credentials: bool = setting(
        False,
        help="let secrets of a job stand in its pod spec, where whoever may see the job sees them",
    )
    binoculars: str = setting(
        "",
        help="host:port of Binoculars, which has the logs; {cluster_id} stands for the job's"
        " cluster",
    )
    binoculars_of: Mapping[str, str] = setting(
        factory=dict, help="host:port of Binoculars by cluster, before the general one"
    )
    lookout: str = setting("", help="address of Lookout's web pages, for links", inert=True)
    request_timeout: Duration = setting(30.0, help="time given to one request", inert=True)

    def __post_init__(self) -> None:
        _check_place("address", self.address)
        if self.binoculars:
            _check_place("binoculars", self.binoculars)
        for cluster, place in self.binoculars_of.items():
            _check_place(f"binoculars_of {cluster}:", place)
        given = [name for name in AUTHORITIES if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        for name, needed in NEEDED:
            if getattr(self, name) and not getattr(self, needed):
                raise ValueError(f"{name} needs {needed}")
        if self.armadactl_config and self.address != ADDRESS:
            raise ValueError("armadactl_config names the address; leave address out")
        if self.request_timeout <= 0:
            raise ValueError("request_timeout must be more than 0")


def _check_place(name: str, place: str) -> None:
    host, _, port = place.replace("{cluster_id}", "x").rpartition(":")
    if not (host and port.isdecimal()) or re.search(r"^https?:|[{}\s]", host):
        raise ValueError(f"{name} {place!r} is not host:port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint of nodes that the job's pod stands."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume, and where the command sees it; `source` as in a pod's volumes."""

    path: str
    source: Mapping[str, Any]
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """One key of a Kubernetes secret."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Kubernetes service in front of ports of the command."""

    ports: tuple[int, ...]
    type: Literal["Headless", "NodePort"] = "Headless"
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingress:
    """A Kubernetes ingress to ports of the command."""

    ports: tuple[int, ...]
    annotations: Mapping[str, str] | None = None
    tls: bool = False
    certificate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmadaOptions:
    """What a job may ask of Armada beyond what every engine knows."""

    queue: str = setting("", help="queue of this job", inert=True)
    namespace: str = setting("", help="Kubernetes namespace of this job", inert=True)
    priority: float = setting(1.0, help="priority in the queue; lower goes first", inert=True)
    priority_class: str = setting("", help="priority class; empty: the server's", inert=True)
    annotations: Mapping[str, str] = setting(factory=dict, help="annotations of the pod")
    node_selector: Mapping[str, str] = setting(
        factory=dict, help="labels that a node must have", inert=True
    )
    tolerations: tuple[Toleration, ...] = setting((), help="taints that the pod stands")
    gpu_resource: str = setting("nvidia.com/gpu", help="what gpu counts", inert=True)
    resources: Mapping[str, str] = setting(
        factory=dict, help="other resources, as Kubernetes writes them", inert=True
    )
    service_account: str = setting("", help="service account of the pod")
    image_pull_secrets: tuple[str, ...] = setting((), help="secrets for pulling the image")
    volumes: tuple[Volume, ...] = setting((), help="volumes of the pod")
    secret_env: Mapping[str, SecretKey] = setting(
        factory=dict, help="variables that take the value of a Kubernetes secret's key"
    )
    secret_names: tuple[str, ...] = setting(
        (), help="Kubernetes secrets whose every key becomes a variable"
    )
    services: tuple[Service, ...] = setting((), help="services in front of ports of the command")
    ingress: tuple[Ingress, ...] = setting((), help="ingresses to ports of the command")
    grace: Duration | None = setting(
        None,
        help="time between SIGTERM and SIGKILL, up to 5 minutes; 30 s unless pod says otherwise",
        inert=True,
    )
    gang_label: str = setting(
        "", help="node label whose value all members of a gang share", inert=True
    )
    external_job_uri: str = setting("", help="address of this job in another system")
    pod: Mapping[str, Any] | str = setting(
        factory=dict,
        help="a pod spec under which ours is merged: a mapping, YAML or JSON, or a file's name",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.priority < 2**32:
            raise ValueError("priority must be 0 to 4294967295")
        if self.grace is not None and not 1 <= self.grace <= 300:
            raise ValueError("grace must be 1 s to 5 minutes")
