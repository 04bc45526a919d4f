"""How a cluster is reached, and what a job may ask of Nomad: flags, profile keys, docs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from batchbridge.driver import Duration, Size, setting

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Each part stands in a template of Nomad's as it is.
_SOURCE = re.compile(r"""[^#"`\\\s{}]+#[^#"`\\\s{}]+""")


@dataclass(frozen=True, slots=True, kw_only=True)
class NomadSettings:
    """Where Nomad is and who asks. Every variable of Nomad's own command line is honoured."""

    address: str = setting(
        "http://127.0.0.1:4646",
        help="address of an agent: http://, https:// or unix:///path/of/the.sock",
        env="NOMAD_ADDR",
        address=True,
    )
    namespace: str = setting("default", help="namespace", env="NOMAD_NAMESPACE", inert=True)
    region: str = setting("", help="region; empty: the agent's", env="NOMAD_REGION", inert=True)
    token: str = setting("", help="ACL token", env="NOMAD_TOKEN", secret=True)
    token_file: str = setting("", help="file with the ACL token, read again when it is refused")
    token_command: str = setting(
        "", help="command that prints the ACL token, run again when the token is refused"
    )
    http_auth: str = setting(
        "", help="user:password of a proxy before Nomad", env="NOMAD_HTTP_AUTH", secret=True
    )
    ca_cert: str = setting("", help="file with the CA's certificates", env="NOMAD_CACERT")
    ca_path: str = setting("", help="directory of CA certificates", env="NOMAD_CAPATH")
    client_cert: str = setting("", help="our certificate", env="NOMAD_CLIENT_CERT")
    client_key: str = setting("", help="the key of our certificate", env="NOMAD_CLIENT_KEY")
    tls_server_name: str = setting(
        "", help="name expected in the server's certificate", env="NOMAD_TLS_SERVER_NAME"
    )
    tls_skip_verify: bool = setting(
        False, help="accept any certificate; anybody in between reads all", env="NOMAD_SKIP_VERIFY"
    )
    request_timeout: Duration = setting(30.0, help="time given to one request", inert=True)
    mhz_per_core: int = setting(1000, help="MHz that one core of cpu asks for", inert=True)

    def __post_init__(self) -> None:
        _check_address(self.address)
        if bool(self.client_cert) != bool(self.client_key):
            raise ValueError("client_cert and client_key go together")
        for name in ("request_timeout", "mhz_per_core"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0")


def _check_address(address: str) -> None:
    """ValueError where it is none; what may be a password is not shown."""
    if address.startswith("unix://"):
        if address == "unix://":
            raise ValueError("address names no socket: unix:///path/of/the.sock")
        return
    if "@" in address:
        raise ValueError(
            "address holds a user or a password: http_auth, NOMAD_HTTP_AUTH, is theirs"
        )
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"address {address!r} begins with none of http, https and unix")
    try:
        at = urlsplit(address)
        named = at.hostname and at.port != 0
    except ValueError as error:
        raise ValueError(f"address {address!r} cannot be read: {error}") from None
    if not named:
        raise ValueError(f"address {address!r} names no host, or the port 0")
    if "?" in address or "#" in address:
        raise ValueError(f"address {address!r} holds more than a host, a port and a path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A node is eligible only if this holds."""

    attribute: str
    value: str = ""
    operator: str = "="

    def __post_init__(self) -> None:
        _check_comparison(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """A node is preferred (weight up to 100) or avoided (down to -100) if this holds."""

    attribute: str
    value: str = ""
    operator: str = "="
    weight: int = 50

    def __post_init__(self) -> None:
        _check_comparison(self)
        if not -100 <= self.weight <= 100:
            raise ValueError("weight must be -100 to 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Jobs are spread over the values of an attribute; `targets`: value -> percent."""

    attribute: str
    weight: int = 50
    targets: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 100:
            raise ValueError("weight must be 0 to 100")


def _check_comparison(asked: Constraint | Affinity) -> None:
    """ValueError where two words are compared with each other, and nothing of a node's."""
    if asked.operator != "distinct_hosts" and "${" not in asked.attribute + asked.value:
        raise ValueError(f"attribute {asked.attribute!r} is none: ${{attr.kernel.name}} is one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume of the cluster, and where the command sees it."""

    source: str
    path: str
    type: Literal["host", "csi"] = "host"
    read_only: bool = False
    access_mode: str = ""
    attachment_mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of the job: a chosen one of the node (`static`), else any; `to`: inside."""

    label: str
    to: int = 0
    static: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NomadOptions:
    """What a job may ask of Nomad beyond what every engine knows."""

    driver: str = setting(
        "", help="task driver; empty: docker where an image is asked for, else exec"
    )
    config: Mapping[str, Any] = setting(
        factory=dict, help="the task driver's own configuration, passed through"
    )
    namespace: str = setting("", help="namespace of this job", inert=True)
    region: str = setting("", help="region of this job", inert=True)
    template: str = setting(
        "", help="file with a batch job of Nomad's, HCL or JSON, under which this one is laid"
    )
    datacenters: tuple[str, ...] = setting(
        (), help="datacenters, or patterns; empty: all", inert=True
    )
    node_pool: str = setting("", help="node pool", inert=True)
    priority: int | None = setting(None, help="1 to 100; higher is placed first", inert=True)
    constraints: tuple[Constraint, ...] = setting((), help="what a node must have", inert=True)
    affinities: tuple[Affinity, ...] = setting((), help="what a node had better have", inert=True)
    spreads: tuple[Spread, ...] = setting((), help="what jobs are spread over", inert=True)
    cores: int | None = setting(None, help="whole cores for this job alone, instead of cpu")
    cpu_mhz: int | None = setting(None, help="MHz, instead of cpu")
    memory_max: Size | None = setting(
        None, help="memory that it may use where there is some to spare"
    )
    device: str = setting("gpu", help="what gpu counts: vendor/type/model, type, ...", inert=True)
    device_constraints: tuple[Constraint, ...] = setting(
        (), help="what the device must have, e.g. ${device.attr.memory} >= 40 GiB", inert=True
    )
    volumes: tuple[Volume, ...] = setting((), help="volumes of the cluster")
    network: str = setting("", help="network mode: host, bridge, none, cni/...")
    ports: tuple[Port, ...] = setting((), help="ports of the job")
    variables: Mapping[str, str] = setting(
        factory=dict,
        help="environment variables from Nomad Variables: NAME -> PATH#KEY",
    )
    vault: Mapping[str, str] = setting(
        factory=dict,
        help="environment variables from secrets of Vault: NAME -> PATH#KEY, e.g. "
        "secret/data/app#password",
    )
    vault_role: str = setting("", help="role of Vault's that the job takes; empty: the cluster's")
    vault_namespace: str = setting("", help="namespace of Vault's")
    shm_size: Size | None = setting(None, help="size of /dev/shm, in containers")
    kill_timeout: Duration | None = setting(
        None,
        help="time between SIGTERM and SIGKILL, up to a client's limit; 10 s unless a template "
        "says otherwise",
        inert=True,
    )
    lost_after: Duration = setting(
        300.0,
        help="time after which a job on a node that is cut off counts as lost",
        inert=True,
    )

    def __post_init__(self) -> None:
        if self.cores is not None and self.cpu_mhz is not None:
            raise ValueError("cores and cpu_mhz exclude each other")
        if any(asked is not None and asked < 1 for asked in (self.cores, self.cpu_mhz)):
            raise ValueError("cores and cpu_mhz must be at least 1")
        if self.priority is not None and not 1 <= self.priority <= 100:
            raise ValueError("priority must be 1 to 100")
        for name, source in [*self.variables.items(), *self.vault.items()]:
            if not (_NAME.fullmatch(name) and _SOURCE.fullmatch(source)):
                raise ValueError(f"{name}={source} is no NAME=PATH#KEY")
