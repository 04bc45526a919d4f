"""One name's attributes: each value's place among a job's fields, its options and the settings.

A place is a field of the job (``image``), an option of its driver (``options.datacenters``) or a
setting of how its engine is reached (``settings.token``); ``own.`` is for the decorator itself.
Standard library alone: Metaflow imports this everywhere, in the job too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import readers

Told = dict[str, Any]
"""Where values go -> the values."""


@dataclass(frozen=True)
class Attribute:
    """One attribute of a decorator; without a name, a value that is only configured."""

    name: str
    goes: str  #: empty where `read` says where
    kind: str  #: of value, in words
    help: str
    read: Callable[[str, Any], Any] = readers.text
    config: str = ""  #: what follows METAFLOW_ENGINE_

    @property
    def structured(self) -> bool:
        """Whether it may be a list or a table."""
        return "list" in self.kind or "dict" in self.kind

    def told(self, name: str, value: Any) -> Told:
        """Where that value goes. ValueError, with `name`, where it is none."""
        read = self.read(name, value)
        return {self.goes: read} if self.goes else read


@dataclass(frozen=True)
class Engine:
    """What one name takes, and how it is understood."""

    name: str
    attributes: tuple[Attribute, ...]
    decorator_wins: bool = False  #: even where @resources asks for more
    contained: bool = False  #: its jobs run in containers, unless they ask for something else
    halves: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Of a setting that is given as host and port: their destinations, and the usual port."""
    inert: Collection[str] = ()  #: the settings that lead no credential anywhere

    @property
    def defaults(self) -> dict[str, Any]:
        """Every attribute. None: what is configured, else the engine's default."""
        return {attribute.name: None for attribute in self.attributes if attribute.name}

    @property
    def structured(self) -> list[str]:
        """The attributes that may be lists or tables."""
        return [a.name for a in self.attributes if a.name and a.structured]

    @property
    def variables(self) -> dict[str, Attribute]:
        """Which attribute each value of Metaflow's configuration stands behind."""
        return {f"{self.name}_{a.config}".upper(): a for a in self.attributes if a.config}

    def asked(self, attributes: Mapping[str, Any]) -> Told:
        """Where a decorator's values go. ValueError names the one that is wrong."""
        told: Told = {}
        for attribute in self.attributes:
            value = attributes.get(attribute.name) if attribute.name else None
            if value not in (None, ""):
                told |= attribute.told(attribute.name, value)
        return told

    def configured(self, config: Mapping[str, Any]) -> Told:
        """The same of Metaflow's configuration, by the names of `variables`."""
        told: Told = {}
        for name, attribute in self.variables.items():
            if config.get(name) not in (None, ""):
                told |= attribute.told(f"METAFLOW_{name}", config[name])
        return told

    def settings(self, told: Told) -> dict[str, Any]:
        """Those of the values that are settings, halves put together."""
        found = {
            place.removeprefix("settings."): value
            for place, value in told.items()
            if place.startswith("settings.")
        }
        for name, (host, port, usual) in self.halves.items():
            if host in told or port in told:
                found[name] = f"{told.get(host, 'localhost')}:{told.get(port, usual)}"
        return found

    def reach(self, told: Told) -> Told:
        """What of the values says how the engine is reached."""
        halves = {half for host, port, _ in self.halves.values() for half in (host, port)}
        return {p: v for p, v in told.items() if p.startswith("settings.") or p in halves}

    def reached(self, configured: Told, told: Told) -> Told:
        """`told` over `configured`, whose credentials go to no address that `told` names."""
        moved = bool({*self.halves.get("address", ())} & told.keys())
        kept = {
            place: value
            for place, value in self.reach(configured).items()
            if not (moved and place.startswith("settings.") and place not in self.inert)
        }
        return kept | told
