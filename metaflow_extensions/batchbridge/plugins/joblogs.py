"""A job's output on its way to Metaflow: shown as it comes, and kept where ``flow.py logs`` looks.

Each line is stamped as it arrives (mflog's form). Lines in that form are shown by the runtime but
not kept by it; they are kept here, under the task's own name, for as long as the process lives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from metaflow.mflog import TASK_LOG_SOURCE, update_delay
from metaflow.mflog.mflog import decorate

from batchbridge.logs import LogChunk

from . import onebyone
from .boot import claimed

STREAMS = ("stdout", "stderr")

LONGEST = 2**20
"""Bytes after which a line without an end is split."""

LOST = b"[batchbridge: output before this line was lost to the engine's log rotation]\n"


class Lines:
    """Whole lines out of the pieces that a stream comes in."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, each with its end."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line + b"\n"
        while len(self._rest) >= LONGEST:
            piece, self._rest = self._rest[:LONGEST], self._rest[LONGEST:]
            yield piece + b"\n"

    def close(self) -> Iterator[bytes]:
        """What is left, as a line."""
        if self._rest:
            yield self._rest + b"\n"
        self._rest = b""


class JobLogs:
    """Shows and keeps the output of one attempt. A context manager: its end keeps the rest."""

    def __init__(self, task_datastore: Any, *, shown: bool = True) -> None:
        self._datastore = task_datastore
        self._shown = shown
        self._scratch, self._lock = claimed(tempfile.gettempdir(), "batchbridge-logs")
        self._paths = {stream: Path(self._scratch, stream) for stream in STREAMS}
        self._files: dict[str, IO[bytes]] = {s: p.open("wb") for s, p in self._paths.items()}
        self._lines = {stream: Lines() for stream in STREAMS}
        self._taken = dict.fromkeys(STREAMS, 0)
        self._skip = dict.fromkeys(STREAMS, 0)
        self._news = threading.Event()
        self._over = threading.Event()
        self._saver = threading.Thread(target=self._save_at_times, daemon=True)

    def __enter__(self) -> JobLogs:
        self._saver.start()
        return self

    def __exit__(self, *failure: object) -> None:
        for stream in STREAMS:
            self._take(stream, self._lines[stream].close())
        self._over.set()
        self._news.set()
        self._saver.join()
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        os.close(self._lock)

    def write(self, chunk: LogChunk) -> None:
        """The next bytes of a stream."""
        seen = min(self._skip[chunk.stream], len(chunk.data))
        self._skip[chunk.stream] -= seen
        self._taken[chunk.stream] += len(chunk.data) - seen
        data = LOST + chunk.data if chunk.truncated else chunk.data[seen:]
        self._take(chunk.stream, self._lines[chunk.stream].feed(data))

    def rewind(self) -> None:
        """What comes next begins at the beginning again: pass over what is already here."""
        self._skip = dict(self._taken)

    def _take(self, stream: str, lines: Iterator[bytes]) -> None:
        stamped = [decorate(TASK_LOG_SOURCE, line) for line in lines]
        if not stamped:
            return
        self._files[stream].writelines(stamped)
        self._files[stream].flush()
        self._news.set()
        if not self._shown:
            return
        shown = (sys.stdout if stream == "stdout" else sys.stderr).buffer
        with contextlib.suppress(BrokenPipeError):  # whoever watched is gone; see `stops`
            onebyone.show(stamped, shown)

    def _save_at_times(self) -> None:
        """Keep what is new: often at first, seldom in long tasks, and at the end."""
        started = time.monotonic()
        over = False
        while not over:
            self._news.wait()
            self._news.clear()
            self._over.wait(update_delay(time.monotonic() - started))
            over = self._over.is_set()  # asked before the save, which must have it all
            self._save()

    def _save(self) -> None:
        try:
            self._datastore.save_logs(TASK_LOG_SOURCE, self._paths)
        except Exception as error:
            sys.stderr.write(f"batchbridge: the logs could not be saved: {error}\n")
