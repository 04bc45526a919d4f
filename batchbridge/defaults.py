"""Defaults for jobs: collected from the files, and put under what a job says itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from batchbridge.configfiles import PROFILE_KEYS, ConfigFile, dotted, refuse_untrusted
from batchbridge.driver import BatchDriver
from batchbridge.errors import ConfigError, SpecError
from batchbridge.fields import FieldHelp, describe, find, read
from batchbridge.layers import Found, Layers, Origin

_ADDED_TO: Final = ("env", "labels", "secrets")
"""Fields of a job whose defaults are added to by name; of any other the strongest stands alone."""


def merge(
    form: Mapping[str, Any], job: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The form of a job over defaults: what the job says itself wins, None says nothing.

    A variable that the job sets as `env` displaces a default secret of that name, and vice versa.
    """
    own = {name: value for name, value in form.items() if value is not None}
    under = dict(job)
    for field, rival in (("env", "secrets"), ("secrets", "env")):
        if isinstance(own.get(rival), Mapping):
            rivals = own[rival].keys()
            under[field] = {k: v for k, v in under.get(field, {}).items() if k not in rivals}
    return joined({**under, "options": options}, own)


def joined(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with what `over` says: mappings are joined, all else is replaced."""
    both = {
        name: {**under[name], **value}
        for name, value in over.items()
        if isinstance(value, Mapping) and isinstance(under.get(name), Mapping)
    }
    return {**under, **over, **both}


def collect(layers: Layers, profile: str, options_cls: type[Any]) -> dict[str, Found]:
    """``job.NAME`` and ``options.NAME`` of a profile, the latter typed by the driver's `Options`.

    ``[profile.NAME.job]`` of any file stands over ``[job]`` of any file.
    """
    tables: list[tuple[str, ...]] = [("profile", profile, "job"), ("job",)]
    job = _gather(layers, tables)
    options = _gather(layers, [("profile", profile, "options")])
    known = {f.name: f for f in describe(options_cls)}
    typed = {name: typed_as(known[name], found, name) for name, found in options.items()}
    return {f"job.{name}": f for name, f in job.items()} | {
        f"options.{name}": f for name, f in typed.items()
    }


def check_tables(layers: Layers, profile: str, driver: type[BatchDriver[Any]]) -> None:
    """ConfigError for a key of the profile's tables that is unknown, or not for its file."""
    for file in layers.files:
        for name in file.get("profile", profile) or ():
            if name not in PROFILE_KEYS:
                _check_key(file, driver.Settings, PROFILE_KEYS, "profile", profile, name)
        for name in file.get("profile", profile, "options") or ():
            _check_key(file, driver.Options, (), "profile", profile, "options", name)


def typed_as(field: FieldHelp, found: Found, path: str) -> Found:
    """The value as the field's type; ConfigError naming its origin if it is none."""
    try:
        return Found(read(field, found.value, path=path), found.origin)
    except SpecError as error:
        raise ConfigError(f"{found.origin}: {error}", remedy=error.remedy) from None


def _check_key(file: ConfigFile, cls: type[Any], beside: Iterable[str], *key: str) -> None:
    try:
        field = find(describe(cls), key[-1], path=dotted(key), beside=beside)
    except SpecError as error:
        raise ConfigError(f"{file.where(*key)}: {error}", remedy=error.remedy) from None
    if not field.inert:
        refuse_untrusted(file, *key)


def _gather(layers: Layers, tables: list[tuple[str, ...]]) -> dict[str, Found]:
    """The values of these tables, strongest table first and strongest file first within it."""
    gathered: dict[str, Found] = {}
    for table in tables:
        for name, found in _entries(layers, table):
            stronger = gathered.get(name)
            if stronger is None:
                gathered[name] = found
            elif name in _ADDED_TO:
                gathered[name] = Found({**found.value, **stronger.value}, stronger.origin)
    return gathered


def _entries(layers: Layers, table: tuple[str, ...]) -> Iterator[tuple[str, Found]]:
    for file in layers.files:
        for name, value in (file.get(*table) or {}).items():
            yield name, Found(value, Origin(file.kind, file.where(*table, name)))
