"""Pages of a task's output, from the frames in which Nomad sends its rotated log files.

A cursor is ``file:position:offset``: the next byte's file and place in it, and how far that was
from the oldest file that was kept. Nomad counts offsets from the oldest file, which rotation takes
away; so each answer's first frame is held against the file and place that were meant, and where
they differ all is read from the oldest file on. Bytes are counted here, because a frame's own
offset is exact neither where a file grew meanwhile nor at a file's end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from batchbridge.errors import TransportError
from batchbridge.model import LogPage, Stream
from batchbridge_nomad.api import Api, Place, broken
from batchbridge_nomad.replies import Missing
from batchbridge_nomad.transfer import Broken
from batchbridge_nomad.wire import TASK

PAGE = 1 << 20
"""Bytes after which a page ends."""


class Frame(msgspec.Struct, rename="pascal", frozen=True):
    """Some bytes of one file. `offset`, in an answer's first: where Nomad's first read ended."""

    data: bytes = b""
    file: str = ""
    offset: int = 0

    @property
    def number(self) -> int:
        """Which of the rotated files: ``alloc/logs/main.stdout.3`` is 3."""
        return int(self.file.rpartition(".")[2])


_FRAME = msgspec.json.Decoder(Frame)


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """The frames of a body: JSON objects with nothing between them, and no brace inside.

    ValueError where it ends within one.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"}")
        yield from (_FRAME.decode(text + b"}") for text in whole)
    if rest.strip():
        raise ValueError("it ends within a frame")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next byte: its file, its place there, and the offset from the oldest file."""

    file: int = 0
    position: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor that `text` writes; None is the beginning."""
        return cls(*map(int, text.split(":"))) if text else cls()

    def __str__(self) -> str:
        return f"{self.file}:{self.position}:{self.offset}"

    @property
    def place(self) -> tuple[int, int]:
        """The file and the place in it."""
        return self.file, self.position


@dataclass(frozen=True, slots=True)
class Part:
    """What an answer held of what was meant."""

    data: bytes
    after: Cursor
    gap: bool  #: bytes between the cursor and `data` were not in it
    whole: bool  #: it was read to its end


class Astray(Exception):
    """The offset led elsewhere: rotation has taken the oldest file."""


def collect(found: Iterable[Frame], cursor: Cursor) -> Part:
    """The bytes from `cursor` on, a page at most, of frames that begin at its offset."""
    data, at, offset, gap = bytearray(), cursor.place, cursor.offset, False
    before = cursor.place if cursor.offset else None
    for number, position, some in _located(found, cursor):
        if len(data) >= PAGE:
            return Part(bytes(data), Cursor(*at, offset), gap, whole=False)
        offset += len(some)
        end = (number, position + len(some))
        if end > at:
            next_file = before == at and (number, position) == (at[0] + 1, 0)
            gap = gap or not ((number, position) <= at or next_file)
            skip = at[1] - position if number == at[0] else 0
            data += some[max(0, skip) :]
            at = end
        before = end
    return Part(bytes(data), Cursor(*at, offset), gap, whole=True)


def _located(found: Iterable[Frame], cursor: Cursor) -> Iterator[tuple[int, int, bytes]]:
    """The bytes of each frame, with their file and their place in it."""
    at: tuple[int, int] | None = None
    for frame in (frame for frame in found if frame.data):
        if at is None:
            position = _first_place(frame, cursor)
        else:
            position = at[1] if frame.number == at[0] else 0
        yield frame.number, position, frame.data
        at = (frame.number, position + len(frame.data))


def _first_place(frame: Frame, cursor: Cursor) -> int:
    """Where an answer's first frame begins, if it is where the cursor means; else Astray."""
    if cursor.offset == 0:
        return 0
    lowest = frame.offset - len(frame.data)
    if frame.number == cursor.file and lowest <= cursor.position <= frame.offset:
        return cursor.position
    if frame.number == cursor.file + 1 and lowest <= 0:
        return 0
    raise Astray


Ask: TypeAlias = Callable[[str, int], AbstractContextManager[Iterable[Frame]]]
"""The frames from that offset on, counted from ``start`` or from ``end``."""


def part_of(cursor: Cursor, ask: Ask) -> Part:
    """The bytes from `cursor` on, wherever rotation has left them."""
    try:
        part = _from(cursor, ask)
        # Nothing at all may mean that rotation left less than the offset counts.
        if part.data or cursor.file == 0 or _end(ask) == cursor.place:
            return part
    except Astray:
        pass
    return _from(replace(cursor, offset=0), ask)


def _from(cursor: Cursor, ask: Ask) -> Part:
    with ask("start", cursor.offset) as found:
        return collect(found, cursor)


def _end(ask: Ask) -> tuple[int, int] | None:
    """The file and the place in it where the log ends now."""
    with ask("end", 1) as found:
        return next(((f.number, f.offset - 1 + len(f.data)) for f in found if f.data), None)


@dataclass(frozen=True, slots=True)
class Log:
    """One stream of one allocation."""

    api: Api
    place: Place
    alloc_id: str
    stream: Stream

    def page(self, text: str | None, *, ended: bool) -> LogPage:
        """The bytes after that cursor which Nomad has now; none before the task has started."""
        cursor = Cursor.parse(text)
        try:
            part = part_of(cursor, self._frames)
        except Missing as error:
            return _none(cursor, str(error), ended)
        return LogPage(part.data, str(part.after), ended and part.whole, part.gap)

    @contextmanager
    def _frames(self, origin: str, offset: int) -> Iterator[Iterator[Frame]]:
        path = f"/v1/client/fs/logs/{self.alloc_id}"
        ask = {"task": TASK, "type": self.stream, "origin": origin, "offset": str(offset)}
        answer = self.api.stream(self.place, "read-logs", path, {**ask, "plain": "false"})
        with closing(answer):
            try:
                yield frames(answer)
            except (Broken, ValueError) as error:
                raise broken(error) from error


def _none(cursor: Cursor, words: str, ended: bool) -> LogPage:
    """The page where there is no log: not yet, or no longer.

    An allocation that its client has not heard of is as unknown as one that was collected.
    """
    if "No path to node" in words:
        raise TransportError(f"the job's node cannot be asked for its logs: {words}")
    collected = ended and "not started yet" not in words
    return LogPage(b"", str(cursor), eof=ended, truncated=collected)
