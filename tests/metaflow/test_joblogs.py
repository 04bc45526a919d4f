"""What a job writes is kept whole, however slow the datastore is."""

from __future__ import annotations

import threading

from batchbridge.logs import LogChunk
from metaflow_extensions.batchbridge.plugins.joblogs import JobLogs, Lines


class SlowDatastore:
    """Saves only when it is let, and keeps what it was given last."""

    def __init__(self) -> None:
        self.saving, self.go_on = threading.Event(), threading.Event()
        self.kept: dict[str, bytes] = {}

    def save_logs(self, source, paths):
        kept = {stream: path.read_bytes() for stream, path in paths.items()}
        self.saving.set()
        assert self.go_on.wait(30)
        self.kept = kept


def test_lines_that_come_while_others_are_saved_are_kept(capfdbinary):
    datastore = SlowDatastore()
    with JobLogs(datastore) as logs:
        logs.write(LogChunk("stdout", 1, b"first\n"))
        assert datastore.saving.wait(30)
        logs.write(LogChunk("stdout", 1, b"last, without an end"))
        threading.Timer(0.3, datastore.go_on.set).start()
    lines = datastore.kept["stdout"].splitlines()
    assert [line.rpartition(b"]")[2] for line in lines] == [b"first", b"last, without an end"]
    assert capfdbinary.readouterr().out.splitlines() == lines


def test_lines_are_whole_and_long_ones_are_split():
    lines = Lines()
    assert list(lines.feed(b"one\ntw")) == [b"one\n"]
    assert list(lines.feed(b"o\n")) == [b"two\n"]
    assert [len(piece) for piece in lines.feed(b"x" * (2**20 + 5))] == [2**20 + 1]
    assert list(lines.close()) == [b"xxxxx\n"]
