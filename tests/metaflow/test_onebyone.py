"""Lines on their way to Metaflow's runtime."""

from __future__ import annotations

import io
import os
import select
import threading
from collections.abc import Iterator
from typing import IO

import pytest

from metaflow_extensions.batchbridge.plugins import onebyone

from .conftest import DEADLINE, eventually

LINES = [b"line %d\n" % n for n in range(onebyone.MANY - 1)]


class Runtime:
    """Reads as Metaflow's ``runtime.py`` does: one line whenever there is news."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.shown: list[bytes] = []
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN | select.POLLHUP)
        while line := poll.poll() and self._pipe.readline():
            self.shown.append(line)

    def join(self) -> None:
        self._thread.join(DEADLINE)


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    ends = os.pipe()
    with os.fdopen(ends[0], "rb") as reading, os.fdopen(ends[1], "wb") as writing:
        yield reading, writing


def test_all_lines_of_a_burst_are_shown_though_none_follows(
    pipe: tuple[IO[bytes], IO[bytes]],
) -> None:
    reading, writing = pipe
    runtime = Runtime(reading)
    onebyone.show(LINES, writing)
    eventually(lambda: runtime.shown == LINES, "every line is shown")
    writing.close()
    runtime.join()


def test_nobody_who_reads_holds_a_line_up_for_long(
    pipe: tuple[IO[bytes], IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    monkeypatch.setattr(onebyone, "TAKEN", 0.01)
    onebyone.show(LINES, writing)
    writing.close()
    assert reading.readlines() == LINES


def test_what_is_no_pipe_is_written_to() -> None:
    out = io.BytesIO()
    onebyone.show(LINES * 2, out)
    assert out.getvalue() == b"".join(LINES * 2)
