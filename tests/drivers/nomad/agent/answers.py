"""Requests and answers, apart from how they travel."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TEXT, JSON = "text/plain; charset=utf-8", "application/json"


class Denied(Exception):
    """An answer that is no object: a status, and Nomad's words; with an index where it was asked
    to change a variable."""

    def __init__(self, status: int, words: str, *, index: int | None = None) -> None:
        super().__init__(words)
        self.status, self.index = status, index


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    method: str
    target: str
    body: bytes = b""
    token: str = ""

    @property
    def path(self) -> str:
        """The path, as it was sent."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters, each as often as it was given."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def get(self, name: str, default: str = "") -> str:
        """A parameter."""
        return self.query.get(name, [default])[0]

    @property
    def namespace(self) -> str:
        """The namespace that is meant."""
        return self.get("namespace") or "default"

    def number(self, name: str, default: int = 0) -> int:
        """A parameter that is a number."""
        text = self.get(name)
        return int(text) if text.isdecimal() else default

    def flag(self, name: str) -> bool:
        """A parameter that is true, in one of the ways in which Go reads it."""
        return self.get(name) in ("1", "t", "T", "true", "TRUE", "True")

    @property
    def seconds(self) -> float:
        """How long a blocking query may wait: five minutes, where nothing is said."""
        text = self.get("wait") or "300s"
        units = {"ms": 0.001, "s": 1, "m": 60}
        unit = "ms" if text.endswith("ms") else text[-1]
        return float(text.removesuffix(unit)) * units[unit]

    def json(self) -> dict[str, Any]:
        """The body."""
        try:
            return dict(json.loads(self.body))
        except ValueError as error:
            raise Denied(400, f"invalid body: {error}") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. A body that is an iterator is sent as it comes; `endless`: with no frame
    around it, until the connection is closed."""

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str | None = JSON
    endless: bool = False


def found(value: Any, index: int | None = None, **headers: str) -> Answer:
    """An object."""
    known = {"X-Nomad-Index": str(index)} if index is not None else {}
    reading = {"X-Nomad-Knownleader": "true", "X-Nomad-Lastcontact": "0"} if known else {}
    return Answer(200, jsons(value), {**known, **reading, **headers})


def written(value: Any, index: int, status: int = 200) -> Answer:
    """The answer to a change."""
    return Answer(status, jsons(value), {"X-Nomad-Index": str(index)})


def refused(status: int, words: str, index: int | None = None) -> Answer:
    """No, and why."""
    headers = {} if index is None else {"X-Nomad-Index": str(index)}
    return Answer(status, words.encode(), headers, kind=TEXT)


def jsons(value: Any) -> bytes:
    """As the body of an answer."""
    return json.dumps(value, separators=(",", ":")).encode()


def part(text: str) -> str:
    """A part of a path, as it was meant."""
    return unquote(text)
