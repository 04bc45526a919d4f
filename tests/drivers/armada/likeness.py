"""Whether two recordings of one scenario tell the same, whatever happened to be different.

Ids, times, names and amounts are, and so is how soon the executor's news comes: that a pod is
pending or runs may come late, twice, or not at all where the pod ended at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

LATE = {"pending", "running"}
OURS = "job"
"""In it stands what was submitted."""
TELLING = {"cause", "retryable", "reason", "exitCode", "failure_category", "state"}
CHANGING = re.compile(r"0x[0-9a-f]+|\b[0-9a-z]{26}\b|[0-9a-f-]{36}|\d+")
EMPTY: tuple[Any, ...] = ({}, [], "")

Told = list[Mapping[str, Any]]
"""What messages say, in order."""


def differences(old: Told, new: Told) -> list[str]:
    """A line for each thing that one of them tells, and the other does not."""
    was, now = _story(old), _story(new)
    return [
        *(f"- {line}" for line in sorted(was - now)),
        *(f"+ {line}" for line in sorted(now - was)),
    ]


def _story(told: Told) -> set[str]:
    events = [_event(message) for message in told]
    kinds = [kind for kind, _ in events if kind not in LATE]
    order = {f"it begins with {kinds[0]}", f"it ends with {kinds[-1]}"}
    order |= {f"{kind} is told" for kind in kinds}
    both = {
        f"{kind}: {line}" for kind, event in events if kind not in LATE for line in _lines(event)
    }
    return order | both


def _event(message: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, event),) = message["message"].items()
    return kind, {name: value for name, value in event.items() if name != OURS}


def _lines(value: Any, path: str = "") -> Iterator[str]:
    """Each field that has a value; of those that tell something, the value too."""
    name = path.rpartition(".")[2]
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _lines(item, f"{path}.{_general(key)}")
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item, path)
    elif value not in EMPTY:
        yield f"{path.lstrip('.')} = {_general(value)}" if name in TELLING else path.lstrip(".")


def _general(value: Any) -> str:
    return str(value) if isinstance(value, int) else CHANGING.sub("…", str(value))
