"""A driver whose engine is a dictionary of observations, for tests of the core's machinery."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from batchbridge.driver import BatchDriver, Capabilities
from batchbridge.model import Batch, JobState, LogPage, Receipt, Seen


@dataclass(frozen=True)
class Settings:
    address: str = "fake"


@dataclass
class Calls:
    snapshots: list[tuple[str, ...]] = field(default_factory=list)
    cancels: list[tuple[str, ...]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    watches: list[str | None] = field(default_factory=list)
    submits: list[tuple[str, ...]] = field(default_factory=list)


class Fake(BatchDriver[Settings]):
    """`said` is what a snapshot tells; `stream` is what a watch tells: batches, or errors."""

    name = "fake"
    contract = 1
    capabilities: ClassVar[Capabilities] = Capabilities(no_reruns=True)
    Settings = Settings

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings or Settings())
        self.calls = Calls()
        self.said: dict[str, list] = {}
        self.failures: list[Exception] = []
        self.submit_failures: list[Exception] = []
        self.cancel_failures: list[Exception] = []
        self.cancelled = ""  # what the engine says of a job that it cancelled
        self.stream: queue.SimpleQueue[Batch | Exception | None] = queue.SimpleQueue()
        self.pages: list[LogPage | Exception] = []

    def submit(self, submissions):
        self.calls.submits.append(tuple(s.key for s in submissions))
        for submission in submissions:
            if self.submit_failures:
                raise self.submit_failures.pop(0)
            yield Receipt(submission.key, id=submission.key, created=True)

    def snapshot(self, scope, known):
        self.calls.snapshots.append(tuple(sorted(known)))
        if self.failures:
            raise self.failures.pop(0)
        told = [said for job_id in known for said in self.said.get(job_id, ())]
        return Batch(tuple(told))

    def cancel(self, refs, *, reason):
        if self.cancel_failures:
            raise self.cancel_failures.pop(0)
        self.calls.cancels.append(tuple(ref.id for ref in refs))
        self.calls.reasons.append(reason)
        for ref in refs:
            said = Seen(ref.id, JobState.CANCELLED, final=True, message=self.cancelled)
            self.said[ref.id] = [said]

    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        if self.pages:
            page = self.pages.pop(0)
            if isinstance(page, Exception):
                raise page
            return page
        return LogPage(b"", cursor or "0", eof=ended)


class Pushing(Fake):
    capabilities = Capabilities(push=True, no_reruns=True)

    def watch(self, scope, cursor, known) -> Iterator[Batch]:
        self.calls.watches.append(cursor)
        yield Batch()
        while True:
            try:
                item = self.stream.get(timeout=0.2)
            except queue.Empty:
                yield Batch()
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
