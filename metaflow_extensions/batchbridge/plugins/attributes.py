"""The decorators' attributes: what they may be, and the form of a job that they ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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
SLACK = 60
"""Seconds that the engine's limit is later than @timeout's, so that the step can say why."""


class BatchBridgeException(MetaflowException):
    """A step cannot be run as it is asked for."""

    headline = "batchbridge"

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call]


def write_table(name: str, value: Any) -> str | None:
    """A table as JSON that survives ``--with``, which splits at commas and unescapes quotes."""
    table = read_table(name, value)
    return _escape_strings(json.dumps(table)) if table else None


def _escape_strings(text: str) -> str:
    """The same JSON, without commas, quotes, backslashes and dollars inside its strings."""
    out, inside, characters = [], False, iter(text)
    for character in characters:
        if character == '"':
            inside = not inside
            out.append(character)
        elif character == "\\":
            out.append(_escaped(character + next(characters), characters))
        elif inside and character in ",=$`":
            out.append(f"\\u{ord(character):04x}")
        else:
            out.append(character)
    return "".join(out)


def _escaped(pair: str, rest: Iterable[str]) -> str:
    """An escape as ``\\uXXXX``, which holds neither a quote nor a second backslash."""
    if pair == "\\u":
        return pair
    character: str = json.loads(f'"{pair}"')
    return f"\\u{ord(character):04x}"


def read_table(name: str, value: Any) -> dict[str, Any]:
    """The table that a decorator's attribute holds: a dict, JSON text of one, or nothing."""
    try:
        table = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        table = value
    if table is None or isinstance(table, dict):
        return dict(table or {})
    raise BatchBridgeException(f"{name}={value!r} is no dictionary, nor JSON of one")


def job_form(
    attributes: Mapping[str, Any],
    resources: Mapping[str, Any],
    *,
    run_limit: int,
    decorator_wins: bool,
) -> dict[str, Any]:
    """The fields of a job that the attributes and @resources ask for, for `JobSpec.parse`.

    Memory and disk are megabytes, as everywhere in Metaflow. The run limit is always set.
    """
    asked = {name: _number(name, attributes.get(name)) for name in RESOURCES}
    hinted = {name: _number(name, resources.get(name)) for name in RESOURCES}
    if decorator_wins:
        hinted = {name: hinted[name] for name in RESOURCES if asked[name] is None}
    form: dict[str, Any] = {
        name: max(present)
        for name in RESOURCES
        if (present := [v for v in (asked[name], hinted.get(name)) if v is not None])
    }
    form.update({name: int(form[name] * MEGABYTE) for name in ("memory", "disk") if name in form})
    form.update({"gpu": int(form["gpu"])} if form.get("gpu") else {})
    if not form.get("gpu"):
        form.pop("gpu", None)
    image = attributes.get("image")
    form["image"] = None if image is None else str(image)
    form["queue_timeout"] = attributes.get("queue_timeout")
    form["timeout"] = run_limit + SLACK
    form.update({name: read_table(name, attributes.get(name)) for name in TABLES})
    return {name: value for name, value in form.items() if value not in (None, {})}


def _number(name: str, value: Any) -> float | None:
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        unit = " of megabytes" if name in ("memory", "disk") else ""
        raise BatchBridgeException(f"{name}={value!r} is no number{unit}") from None
