"""Kubernetes objects as JSON values, and what happened to them, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import uuid4

Object: TypeAlias = dict[str, Any]

HISTORY = 20_000
"""Changes of one kind that a watch may be behind."""


class Problem(Exception):
    """What cannot be done, as Kubernetes says it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


class Name(NamedTuple):
    """Where an object stands; the namespace of what has none is empty."""

    kind: str  #: as in paths: ``pods``
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    version: int
    object: Object


def now() -> str:
    """The time, as Kubernetes writes it."""
    return timestamp(datetime.now(UTC).timestamp())


def timestamp(at: float) -> str:
    """Seconds since the epoch, as Kubernetes writes them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """All objects. A value that was handed out stays as it is: each change makes another."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 1
        self._objects: dict[Name, Object] = {}
        self._history: dict[str, deque[Change]] = {}

    def get(self, name: Name) -> Object:
        """The object of that name; Problem 404 if there is none."""
        with self.changed:
            if name not in self._objects:
                raise Problem(404, "NotFound", f'{name.kind} "{name.name}" not found')
            return self._objects[name]

    def all_of(self, kind: str, namespace: str = "") -> tuple[list[Object], int]:
        """All objects of a kind, and the version from which a watch goes on."""
        with self.changed:
            chosen = [
                value
                for name, value in self._objects.items()
                if name.kind == kind and namespace in ("", name.namespace)
            ]
            return chosen, self.version

    def create(self, name: Name, value: Object) -> Object:
        """Add an object; Problem 409 if there is one of that name."""
        with self.changed:
            if name in self._objects:
                raise Problem(409, "AlreadyExists", f'{name.kind} "{name.name}" already exists')
            value = deepcopy(value)
            given = value.setdefault("metadata", {})
            given.update(name=name.name, uid=str(uuid4()), creationTimestamp=now())
            if name.namespace:
                given["namespace"] = name.namespace
            return self._put(name, "ADDED", value)

    def change(self, name: Name, edit: Callable[[Object], object]) -> Object:
        """Replace an object by a copy that `edit` has changed; Problem 404 if there is none."""
        with self.changed:
            value = deepcopy(self.get(name))
            edit(value)
            return self._put(name, "MODIFIED", value)

    def remove(self, name: Name) -> Object:
        """Remove an object; Problem 404 if there is none."""
        with self.changed:
            value = deepcopy(self.get(name))
            self._put(name, "DELETED", value)
            del self._objects[name]
            return value

    def changes(self, kind: str, after: int, timeout: float) -> list[Change]:
        """What happened to objects of a kind since that version, waiting for something.

        Problem 410 if that is no longer known.
        """
        with self.changed:
            self.changed.wait_for(lambda: self._last(kind) > after, timeout)
            history = self._history.get(kind, deque())
            if len(history) == HISTORY and history[0].version > after:
                raise Problem(410, "Expired", f"too old resource version: {after}")
            return [change for change in history if change.version > after]

    def _last(self, kind: str) -> int:
        history = self._history.get(kind)
        return history[-1].version if history else 0

    def _put(
        self, name: Name, type: Literal["ADDED", "MODIFIED", "DELETED"], value: Object
    ) -> Object:
        self.version += 1
        value["metadata"]["resourceVersion"] = str(self.version)
        self._objects[name] = value
        history = self._history.setdefault(name.kind, deque(maxlen=HISTORY))
        history.append(Change(type, self.version, value))
        self.changed.notify_all()
        return value


def merge(into: Object, patch: Object) -> None:
    """Apply a merge patch, in which null removes."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
