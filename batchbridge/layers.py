"""The sources of settings, strongest first, and where each value comes from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, TypeAlias

from batchbridge.configfiles import ConfigFile, Key
from batchbridge.errors import ConfigError

OriginKind: TypeAlias = Literal[
    "flag", "environment", "project", "user", "site", "engine", "default"
]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from; ``where`` is a variable's name or ``path:line``."""

    kind: OriginKind
    where: str = ""

    def __str__(self) -> str:
        variable = self.kind in ("environment", "engine")
        return f"${self.where}" if variable else self.where or self.kind


@dataclass(frozen=True, slots=True)
class Found:
    """A value, and where it comes from."""

    value: Any = field(repr=False)
    origin: Origin


@dataclass(frozen=True, slots=True)
class Layers:
    """The files, strongest first, and the environment, which is stronger; not the flags."""

    files: tuple[ConfigFile, ...]
    env: Mapping[str, str] = field(repr=False)

    def variable(
        self, name: str | None, kind: Literal["environment", "engine"] = "environment"
    ) -> Iterator[Found]:
        """The value of that variable; an empty one is not set."""
        if name and self.env.get(name):
            yield Found(self.env[name], Origin(kind, name))

    def in_files(self, *key: str) -> Iterator[Found]:
        """The values of that key, strongest first."""
        for file in self.files:
            value = file.get(*key)
            if value is not None:
                yield Found(value, Origin(file.kind, file.where(*key)))

    def of_profile(self, profile: str, name: str) -> Iterator[Found]:
        """The values of one key of a profile, strongest first."""
        return chain(
            self.variable(variable_name(profile, name)), self.in_files("profile", profile, name)
        )

    def strongest(self, found: Iterable[Found], *keys: Key) -> Found | None:
        """The first; ConfigError if the site locks one of `keys` and the value is not its own."""
        winner = next(iter(found), None)
        for site in self.files:
            for key in keys:
                if site.kind == "site" and ".".join(key) in (site.get("locked") or ()):
                    _respect(winner, site, key)
        return winner


def variable_name(profile: str, name: str) -> str:
    """``BATCHBRIDGE_<PROFILE>_<FIELD>``."""
    return f"BATCHBRIDGE_{profile}_{name}".upper().replace("-", "_")


def _respect(winner: Found | None, site: ConfigFile, key: Key) -> None:
    if winner is None or winner.origin.kind == "site" or winner.value == site.get(*key):
        return
    raise ConfigError(
        f"{winner.origin}: {'.'.join(key)} is locked by {site.where(*key)}",
        remedy="leave it out, or ask who administers this machine",
    )
