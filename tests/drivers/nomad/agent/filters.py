"""Filters of lists, as far as they are used here: ``Meta.x == "y" and ID matches "^bb"``. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from tests.drivers.nomad.agent.shapes import Object

OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "==": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "matches": lambda value, wanted: re.search(wanted, value) is not None,
    "contains": lambda value, wanted: wanted in value,
}

_TERM = re.compile(r'([\w.]+)\s*(==|!=|matches|contains)\s*("(?:[^"\\]|\\.)*")')


class Malformed(Exception):
    """An expression that is none, or none that is known here."""


def keeper(expression: str) -> Callable[[Object], bool]:
    """Whether the expression holds of an object; one without the field is not kept."""
    terms = (
        [_term(text.strip()) for text in re.split(r"\s+and\s+", expression)] if expression else []
    )
    return lambda thing: all(term(thing) for term in terms)


def _term(text: str) -> Callable[[Object], bool]:
    found = _TERM.fullmatch(text)
    if found is None:
        where = "failed to create result paginator: failed to read filter expression"
        raise Malformed(f"{where}: 1:{len(text) + 1} ({len(text)}): no match found")
    name, operator, wanted = found[1], OPERATORS[found[2]], json.loads(found[3])

    def holds(thing: Object) -> bool:
        value = _field(thing, name)
        return value is not None and operator(value, wanted)

    return holds


def _field(thing: Object, name: str) -> str | None:
    value: object = thing
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is None else str(value)
