"""A job's output on its way to Metaflow."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metaflow.mflog.mflog import parse

from batchbridge import LogChunk
from metaflow_extensions.batchbridge.plugins import joblogs
from metaflow_extensions.batchbridge.plugins.joblogs import LONGEST, JobLogs, Lines

from .conftest import DEADLINE, eventually


class Datastore:
    """Keeps what it is given, as a task's datastore does; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.kept: dict[str, bytes] = {}
        self.failures = failures

    def save_logs(self, source: str, streams: dict[str, Path]) -> None:
        assert source == "task"
        if self.failures:
            self.failures -= 1
            raise OSError("not now")
        self.kept = {stream: path.read_bytes() for stream, path in streams.items()}


class SlowDatastore(Datastore):
    """Takes what is there when it is asked, and saves it when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.saving, self.go_on = threading.Event(), threading.Event()

    def save_logs(self, source: str, streams: dict[str, Path]) -> None:
        taken = {stream: path.read_bytes() for stream, path in streams.items()}
        self.saving.set()
        assert self.go_on.wait(DEADLINE)
        self.kept = taken


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, io.BytesIO]:
    """What is shown on stdout and stderr."""
    made = {"stdout": io.BytesIO(), "stderr": io.BytesIO()}
    streams = {name: SimpleNamespace(buffer=buffer, write=str) for name, buffer in made.items()}
    monkeypatch.setattr(joblogs, "sys", SimpleNamespace(**streams))
    return made


def messages(stored: bytes) -> list[bytes]:
    lines: list[Any] = [parse(line) for line in stored.splitlines(keepends=True)]
    return [line.msg for line in lines]


@given(st.lists(st.binary(max_size=20)))
def test_lines_are_what_was_written_however_it_was_cut(pieces: list[bytes]) -> None:
    lines = Lines()
    came = [line for piece in pieces for line in lines.feed(piece)] + list(lines.close())
    whole = b"".join(pieces)
    assert b"".join(came).removesuffix(b"\n") == whole.removesuffix(b"\n")
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in came)


def test_a_line_without_an_end_is_split() -> None:
    lines = Lines()
    came = list(lines.feed(b"x" * (2 * LONGEST + 5)))
    assert [len(line) for line in came] == [LONGEST + 1, LONGEST + 1]
    assert list(lines.close()) == [b"xxxxx\n"]


def test_each_stream_is_shown_and_kept_in_mflogs_form(shown: dict[str, io.BytesIO]) -> None:
    datastore = Datastore()
    with JobLogs(datastore) as logs:
        logs.write(LogChunk("stdout", 1, b"one\ntw"))
        logs.write(LogChunk("stderr", 1, b"\xff not UTF-8\n"))
        logs.write(LogChunk("stdout", 1, b"o"))
    assert messages(datastore.kept["stdout"]) == [b"one", b"two"]
    assert messages(datastore.kept["stderr"]) == [b"\xff not UTF-8"]
    assert shown["stdout"].getvalue() == datastore.kept["stdout"]
    assert shown["stderr"].getvalue() == datastore.kept["stderr"]


def test_what_came_is_kept_before_the_end(shown: dict[str, io.BytesIO]) -> None:
    datastore = Datastore()
    with JobLogs(datastore) as logs:
        logs.write(LogChunk("stdout", 1, b"alive\n"))
        eventually(lambda: datastore.kept.get("stdout"), "it is kept while the job goes on")


def test_a_failed_save_is_made_good_by_the_next(shown: dict[str, io.BytesIO]) -> None:
    datastore = Datastore(failures=1)
    with JobLogs(datastore) as logs:
        logs.write(LogChunk("stdout", 1, b"one\n"))
        eventually(lambda: not datastore.failures, "a save has failed")
        logs.write(LogChunk("stdout", 1, b"two\n"))
    assert messages(datastore.kept["stdout"]) == [b"one", b"two"]


def test_lines_that_come_while_others_are_saved_are_kept(shown: dict[str, io.BytesIO]) -> None:
    datastore = SlowDatastore()
    with JobLogs(datastore) as logs:
        logs.write(LogChunk("stdout", 1, b"first\n"))
        assert datastore.saving.wait(DEADLINE)
        logs.write(LogChunk("stdout", 1, b"last, without an end"))
        threading.Timer(0.3, datastore.go_on.set).start()
    assert messages(datastore.kept["stdout"]) == [b"first", b"last, without an end"]


def test_what_is_read_again_after_an_outage_is_passed_over(shown: dict[str, io.BytesIO]) -> None:
    datastore = Datastore()
    with JobLogs(datastore) as logs:
        logs.write(LogChunk("stdout", 1, b"one\ntw"))
        logs.rewind()
        logs.write(LogChunk("stdout", 1, b"on"))
        logs.rewind()
        logs.write(LogChunk("stdout", 1, b"one\ntwo\n"))
        logs.write(LogChunk("stdout", 1, b"three\n"))
    assert messages(datastore.kept["stdout"]) == [b"one", b"two", b"three"]


def test_lost_output_is_said_to_be_lost(shown: dict[str, io.BytesIO]) -> None:
    datastore = Datastore()
    with JobLogs(datastore) as logs:
        logs.write(LogChunk("stdout", 1, b"late\n", truncated=True))
    assert b"was lost" in messages(datastore.kept["stdout"])[0]
    assert messages(datastore.kept["stdout"])[1] == b"late"
