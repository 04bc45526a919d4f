"""The log files of a task: written and rotated, and read in frames."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

FRAME = 1 << 16
"""Bytes of the largest frame."""


@dataclass(frozen=True, slots=True)
class Log:
    """One stream of a task: ``main.stdout.0`` and so on, in the directory of an allocation."""

    folder: Path
    name: str
    size: int
    files: int

    def numbers(self) -> list[int]:
        """The files that rotation has left, oldest first."""
        return sorted(int(path.suffix[1:]) for path in self.folder.glob(f"{self.name}.*"))

    def path(self, number: int) -> Path:
        """That file."""
        return self.folder / f"{self.name}.{number}"

    def create(self) -> None:
        """Begin with an empty file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path(0).touch()

    def copy(self, source: BinaryIO) -> None:
        """Write all that comes, until its end. A file ends with a line where there is one."""
        number, out = 0, self.path(0).open("ab", buffering=0)
        while data := source.read1(FRAME):  # type: ignore[attr-defined]
            while data:
                left = self.size - out.tell()
                now = len(data) if len(data) <= left else data.rfind(b"\n", 0, max(left, 0)) + 1
                if not now and out.tell() == 0:
                    now = left
                out.write(data[:now])
                data = data[now:]
                if data:
                    out.close()
                    number += 1
                    out = self._next(number)
        out.close()

    def _next(self, number: int) -> BinaryIO:
        if number >= self.files:
            self.path(number - self.files).unlink(missing_ok=True)
        return self.path(number).open("ab", buffering=0)

    def read(self, origin: str, offset: int) -> Iterator[tuple[int, int, bytes]]:
        """``(file, position after it, bytes)`` from an offset that is counted over all files."""
        sizes = dict(self._sizes())
        skip = max(0, sum(sizes.values()) - offset) if origin == "end" else offset
        for number, size in sizes.items():
            if skip < size:
                yield from self._chunks(number, skip)
            skip = max(0, skip - size)

    def _sizes(self) -> Iterator[tuple[int, int]]:
        for number in self.numbers():
            with suppress(FileNotFoundError):  # rotated away meanwhile
                yield number, self.path(number).stat().st_size

    def _chunks(self, number: int, position: int) -> Iterator[tuple[int, int, bytes]]:
        try:
            with self.path(number).open("rb") as file:
                file.seek(position)
                while data := file.read(FRAME):
                    yield number, file.tell(), data
        except FileNotFoundError:  # rotated away meanwhile
            return


def framed(log: Log, origin: str, offset: int) -> Iterator[bytes]:
    """A log as frames: JSON objects with nothing between them."""
    for number, position, data in log.read(origin, offset):
        frame = {
            "Data": b64encode(data).decode(),
            "File": f"alloc/logs/{log.name}.{number}",
            "Offset": position,
        }
        yield json.dumps(frame, separators=(",", ":")).encode()


def plain(log: Log, origin: str, offset: int) -> Iterator[bytes]:
    """A log as it was written."""
    return (data for _, _, data in log.read(origin, offset))
