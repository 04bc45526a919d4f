"""The log of changes, read from any offset on. A cursor is ``generation:offset``.

The log only tells that something changed, early and cheaply; the records of the jobs decide.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

PAGE = 1 << 20
"""Bytes read at once."""


class Tail:
    """The lines that are appended from now, or from a cursor, on."""

    def __init__(self, path: Path, cursor: str | None = None) -> None:
        """Raises LookupError where the cursor's log is gone."""
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)
        self.generation = os.pread(self.fd, 64, 0).partition(b"\n")[0].decode(errors="replace")
        self.offset = os.fstat(self.fd).st_size
        if cursor is not None:
            self._resume(cursor)

    def _resume(self, cursor: str) -> None:
        generation, _, offset = cursor.partition(":")
        if generation != self.generation or not offset.isdigit() or int(offset) > self.offset:
            os.close(self.fd)
            raise LookupError(cursor)
        self.offset = int(offset)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.fd)

    @property
    def cursor(self) -> str:
        """Where the next :meth:`read` begins."""
        return f"{self.generation}:{self.offset}"

    def read(self) -> list[dict[str, Any]] | None:
        """What was appended since, in order; None once this log is replaced and read to its end."""
        data = os.pread(self.fd, PAGE, self.offset)
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole) or (PAGE if len(data) == PAGE else 0)  # no line is that long
        if not data and self._replaced():
            return None
        return [change for line in whole.split(b"\n") if (change := _parsed(line))]

    def _replaced(self) -> bool:
        try:
            return self.path.stat().st_ino != os.fstat(self.fd).st_ino
        except FileNotFoundError:
            return True


def _parsed(line: bytes) -> dict[str, Any] | None:
    """One change; None for a line that is empty, or that a full disk cut short."""
    with suppress(ValueError):
        change = json.loads(line) if line else None
        if isinstance(change, dict) and {"id", "state", "at"} <= change.keys():
            return change
    return None
