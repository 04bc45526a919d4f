"""The decorators' attributes, and the form of a job that they ask for beside @resources."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from metaflow.exception import MetaflowException

from . import readers
from .tables import Engine, Told

RESOURCES: Mapping[str, Callable[[str, Any], Any]] = {
    "cpu": readers.number,
    "memory": readers.megabytes,
    "disk": readers.megabytes,
    "gpu": readers.whole,
}
"""What @resources names, and how it is read."""

CPU = ("cpu", "options.cpu_mhz", "options.cores")
"""The ways of asking for processors; they exclude each other."""

UNSAFE = frozenset('",=$`\\')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SLACK = 60
"""Seconds that the engine's limit is later than @timeout's, so that the step can say why."""


class BatchBridgeException(MetaflowException):
    """A step cannot be run as it is asked for."""

    headline = "batchbridge"

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call]


def write_structure(name: str, value: Any) -> str | None:
    """A list or table as JSON that survives ``--with``, which splits at commas and unescapes.

    Other text stays as it is. Raises ValueError for what is neither.
    """
    if value is None:
        return None
    found = readers.structure(name, value)
    if isinstance(found, str):
        return found
    return _STRING.sub(_escape, json.dumps(found)) if found else None


def _escape(literal: re.Match[str]) -> str:
    return f'"{"".join(map(_character, json.loads(literal[0])))}"'


def _character(one: str) -> str:
    return f"\\u{ord(one):04x}" if one in UNSAFE or one < " " else json.dumps(one)[1:-1]


def asked(
    engine: Engine,
    attributes: Mapping[str, Any],
    resources: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    at: str,
) -> Told:
    """Everything that a step asks for, by its place: the decorator over @resources over `config`.

    `at` says, in an error, which step is meant.
    """
    try:
        own, hinted = engine.asked(attributes), _hinted(resources)
        if len({*CPU} & own.keys()) > 1:
            raise ValueError("cpu and cores exclude each other")
        if not engine.decorator_wins:
            own |= {name: max(own[name], hinted[name]) for name in own.keys() & hinted.keys()}
        return laid(laid(engine.configured(config), hinted), own)
    except ValueError as error:
        raise BatchBridgeException(f"{at}: {error}") from None


def laid(below: Told, above: Told) -> Told:
    """`above` over `below`; one way of asking for processors takes the place of another."""
    hidden = {*CPU} if above.keys() & {*CPU} else set()
    return {place: value for place, value in below.items() if place not in hidden} | above


def _hinted(resources: Mapping[str, Any]) -> Told:
    """What @resources asks for: cores and megabytes, whatever the engine."""
    return {
        name: read(name, resources[name])
        for name, read in RESOURCES.items()
        if resources.get(name) not in (None, "")
    }


def job_form(told: Told, *, run_limit: int) -> dict[str, Any]:
    """The fields of a job out of what a step asks for, for `JobSpec.parse`.

    Sizes are bytes. The run limit is always set.
    """
    fields = {place: value for place, value in told.items() if "." not in place}
    options = {
        place.removeprefix("options."): value
        for place, value in told.items()
        if place.startswith("options.")
    }
    form = {**fields, "options": options, "timeout": run_limit + SLACK}
    form["gpu"] = form.get("gpu") or None
    return {name: value for name, value in form.items() if value not in (None, {})}
