"""The decorators' attributes: what they may be, and the form of a job that they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from metaflow.exception import MetaflowException

DEFAULTS: dict[str, Any] = {
    "cpu": None,
    "memory": None,
    "disk": None,
    "gpu": None,
    "image": None,
    "executable": None,
    "queue_timeout": None,
    "secrets": None,
    "options": None,
}
"""What every name takes. ``None``: the engine's default."""

RESOURCES = ("cpu", "memory", "disk", "gpu")
TABLES = ("options", "secrets")
MEGABYTE = 2**20
UNSAFE = frozenset('",=$`\\')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SLACK = 60
"""Seconds that the engine's limit is later than @timeout's, so that the step can say why."""


class BatchBridgeException(MetaflowException):
    """A step cannot be run as it is asked for."""

    headline = "batchbridge"

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call]


def write_table(name: str, value: Any) -> str | None:
    """A table as JSON that survives ``--with``, which splits at commas and unescapes quotes.

    Raises ValueError where the value is no table.
    """
    table = read_table(name, value)
    return _STRING.sub(_escape, json.dumps(table)) if table else None


def _escape(literal: re.Match[str]) -> str:
    return f'"{"".join(map(_character, json.loads(literal[0])))}"'


def _character(one: str) -> str:
    return f"\\u{ord(one):04x}" if one in UNSAFE or one < " " else json.dumps(one)[1:-1]


def read_table(name: str, value: Any) -> dict[str, Any]:
    """The table that a decorator's attribute holds: a dict, JSON text of one, or nothing.

    Raises ValueError otherwise.
    """
    try:
        table = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        table = value
    if table is None or isinstance(table, dict):
        return dict(table or {})
    raise ValueError(f"{name}={value!r} is no dictionary, nor JSON of one")


def job_form(
    attributes: Mapping[str, Any],
    resources: Mapping[str, Any],
    *,
    run_limit: int,
    decorator_wins: bool,
    at: str,
) -> dict[str, Any]:
    """The fields of a job that the attributes and @resources ask for, for `JobSpec.parse`.

    Memory and disk are megabytes, as everywhere in Metaflow. The run limit is always set. `at`
    says, in an error, which step is meant.
    """
    try:
        numbers = _numbers(attributes, resources, decorator_wins=decorator_wins)
        tables = {name: read_table(name, attributes.get(name)) for name in TABLES}
    except ValueError as error:
        raise BatchBridgeException(f"{at}: {error}") from None
    image = attributes.get("image")
    form = {
        **numbers,
        **tables,
        "image": None if image is None else str(image),
        "queue_timeout": attributes.get("queue_timeout"),
        "timeout": run_limit + SLACK,
    }
    return {name: value for name, value in form.items() if value not in (None, {})}


def _numbers(
    attributes: Mapping[str, Any], resources: Mapping[str, Any], *, decorator_wins: bool
) -> dict[str, float | int]:
    """The resources, in the units of a job: the larger of both, unless the decorator wins."""
    asked = {name: _number(name, attributes.get(name)) for name in RESOURCES}
    hinted = {name: _number(name, resources.get(name)) for name in RESOURCES}
    if decorator_wins:
        hinted = {name: hinted[name] for name in RESOURCES if asked[name] is None}
    larger = {
        name: max(present)
        for name in RESOURCES
        if (present := [v for v in (asked[name], hinted.get(name)) if v is not None])
    }
    for name in ("memory", "disk"):
        if name in larger:
            larger[name] *= MEGABYTE
    return {
        name: value if name == "cpu" else int(value)
        for name, value in larger.items()
        if not (name == "gpu" and value == 0)
    }


def _number(name: str, value: Any) -> float | None:
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        unit = " of megabytes" if name in ("memory", "disk") else ""
        raise ValueError(f"{name}={value!r} is no number{unit}") from None
