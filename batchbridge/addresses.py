"""Credentials go to the address that they were configured for, and to no other. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from batchbridge.errors import ConfigError
from batchbridge.fields import FieldHelp
from batchbridge.layers import Found

_STRENGTH: Final = {
    kind: rank
    for rank, kind in enumerate(("flag", "environment", "project", "user", "site", "engine"))
}

_USER: Final = re.compile(r"([^/]*://[^/]*|[^/]*:[^/]*)@")
"""How an address with a user begins; not so a path with an ``@``, which may be one too."""


def one_way_each(known: Iterable[FieldHelp], found: dict[str, Found]) -> dict[str, Found]:
    """Of a secret and its ``_file`` and ``_command``, the one that the strongest source names.

    So a token in a profile's file is not outdone by the engine's own variable, nor the reverse.
    """
    weaker: set[str] = set()
    for field in known:
        ways = [f"{field.name}{end}" for end in ("", "_file", "_command")] if field.secret else []
        given = sorted(
            (w for w in ways if w in found), key=lambda w: _STRENGTH[found[w].origin.kind]
        )
        weaker.update(w for w in given if found[w].origin.kind != found[given[0]].origin.kind)
    return {name: value for name, value in found.items() if name not in weaker}


def what_stays(
    known: Iterable[FieldHelp], found: Mapping[str, Found], moved: list[FieldHelp]
) -> dict[str, Found]:
    """What of `found` may be used where flags have moved these addresses."""
    main_stays = main_address(known) not in moved
    return {
        field.name: found[field.name]
        for field in known
        if field.name in found
        and (
            not moved
            or field.inert
            or found[field.name].origin.kind == "flag"
            or (field.address and main_stays)
        )
    }


def refuse_users(known: Iterable[FieldHelp], kept: Mapping[str, Found]) -> None:
    """ConfigError, which does not show it, if a user or a password stands in an address."""
    secret = [field.name for field in known if field.secret]
    for field in known:
        if field.address and field.name in kept and _USER.match(str(kept[field.name].value)):
            origin = kept[field.name].origin
            raise ConfigError(
                f"{field.name}: addresses are shown, so it may hold no user and no password",
                remedy=f"{field.name} comes from {origin}"
                + (f"; {', '.join(secret)} may say who you are" if secret else ""),
            )


def main_address(known: Iterable[FieldHelp]) -> FieldHelp | None:
    """The setting that stands in a reference, if there is one."""
    return next((field for field in known if field.address), None)


def ref_profile(
    profile: str, settings: Any, known: Iterable[FieldHelp], moved: list[FieldHelp]
) -> str:
    """What stands in references: the profile, or the address that flags have put in its place."""
    main = main_address(known)
    if main is None or main not in moved:
        return profile
    address = str(getattr(settings, main.name))
    if not is_address(address):
        raise ConfigError(
            f"{main.name}: {address!r} reads as a profile's name",
            remedy="write it with its scheme or port",
        )
    return address


def is_address(text: str) -> bool:
    """Whether `text` can be told from a profile's name."""
    return any(mark in text for mark in ":/.")


def same(one: Any, other: Any) -> bool:
    """Whether two addresses are one, but for a slash at the end."""
    return str(one).rstrip("/") == str(other).rstrip("/")
