"""The kit's own loop around a driver: submit, observe, fold; nothing of the hub's is used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from batchbridge.driver import BatchDriver
from batchbridge.model import (
    Absent,
    Batch,
    Cause,
    Files,
    Gang,
    Intent,
    JobRef,
    JobSpec,
    JobState,
    LogPage,
    Receipt,
    Seen,
    Stream,
    Submission,
    Tick,
)
from batchbridge.states import Record, fold
from batchbridge.testing.probes import Command

Driver = BatchDriver[Any]
PROFILE = USER = "kit"
TIDYING = "the test is over"


def poll(patience: float, *, longest: float = 0.5) -> Iterator[None]:
    """Times to look again, ever rarer, until `patience` seconds have passed."""
    deadline, pause = time.monotonic() + patience, 0.01
    yield
    while time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.3, longest)
        yield


@dataclass
class Rig:
    """One driver under test, and the jobs that this test gave it."""

    driver: Driver
    patience: float
    unknown_id: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    job_set: str = field(default_factory=lambda: f"kit-{uuid4().hex}")
    refs: list[JobRef] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)

    # -- submitting --------------------------------------------------------------------------

    def submission(
        self,
        command: Command,
        *,
        key: str | None = None,
        gang: Gang | None = None,
        files: Files | None = None,
        secrets: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Submission:
        """A submission of `command` with this driver's fields and these."""
        spec = JobSpec.parse({"command": list(command), "name": "probe", **self.fields, **fields})
        return Submission(
            key=key or uuid4().hex,
            spec=spec,
            job_set=spec.job_set or self.job_set,
            user=USER,
            gang=gang,
            files=files,
            secrets=secrets or {},
        )

    def receipts(self, *submissions: Submission, driver: Driver | None = None) -> list[Receipt]:
        """The receipts in the submissions' order; exactly one for each is demanded."""
        given = list((driver or self.driver).submit(submissions))
        foreign = [one for one in given if not isinstance(one, Receipt)]
        assert not foreign, f"submit yielded what is no Receipt: {foreign}"
        for submission, receipt in zip(submissions, given, strict=False):
            if receipt.id:
                self.refs.append(self.ref(submission, receipt))
        keys = [submission.key for submission in submissions]
        assert sorted(r.key for r in given) == sorted(keys), "one receipt for each submission"
        return sorted(given, key=lambda receipt: keys.index(receipt.key))

    def submit(self, command: Command, **fields: Any) -> JobRef:
        """Submit one job that must be accepted."""
        submission = self.submission(command, **fields)
        (receipt,) = self.receipts(submission)
        assert receipt.error is None, f"refused: {receipt.error}"
        return self.ref(submission, receipt)

    def ref(self, submission: Submission, receipt: Receipt) -> JobRef:
        """The reference that the core would make of this receipt."""
        assert receipt.id, "a receipt has an id or an error"
        return JobRef(self.driver.name, PROFILE, self.driver.scope_of(submission), receipt.id)

    # -- observing ---------------------------------------------------------------------------

    def record(self, ref: JobRef) -> Record:
        """What is concluded of that job so far."""
        return self.records.get(ref.id) or Record(ref.id)

    def told(self, ref: JobRef, driver: Driver | None = None) -> list[Seen | Absent]:
        """What one snapshot says of that job."""
        batch = (driver or self.driver).snapshot(ref.scope, [ref.id])
        assert isinstance(batch, Batch), f"snapshot returned no Batch: {batch}"
        return [said for said in batch.observations if said.id == ref.id]

    def look(self, ref: JobRef, driver: Driver | None = None) -> Record:
        """Take one snapshot and fold it, as the hub does."""
        record = self.record(ref)
        for observation in (*self.told(ref, driver), Tick(time.time())):
            record, _ = fold(record, observation)
        self.records[ref.id] = record
        return record

    def until(self, ref: JobRef, holds: Callable[[Record], bool], what: str) -> Record:
        """Look until `holds`; fail when patience has run out."""
        record = Record(ref.id)
        for _ in poll(self.patience):
            record = self.look(ref)
            if holds(record):
                return record
        pytest.fail(f"the job is not {what} after {self.patience:g} s: {record}")

    def running(self, ref: JobRef) -> Record:
        """Wait until the command runs."""
        return self.until(ref, lambda r: r.state is JobState.RUNNING, "running")

    def cancelled(self, command: Command) -> JobRef:
        """A job that was cancelled while its command wrote, and is told to be."""
        ref = self.submit(command)
        self.running(ref)
        next(page for page in self.pages(ref) if page.data)
        self.cancel(ref)
        self.end_as(ref, JobState.CANCELLED, Cause.CANCELLED)
        return ref

    def ended(self, ref: JobRef) -> Record:
        """Wait for the terminal record."""
        return self.until(ref, lambda r: r.terminal, "terminal")

    def end_as(self, ref: JobRef, state: JobState, cause: Cause | None = None) -> Record:
        """Wait for the terminal record, which must be this."""
        record = self.ended(ref)
        assert (record.state, record.cause) == (state, cause), record
        return record

    def cancel(self, *refs: JobRef) -> None:
        """Ask for their end, with the intent that the core would note first."""
        for ref in refs:
            record = self.record(ref)
            intent = Intent(Cause.CANCELLED, time.time(), message="the kit asked")
            self.records[ref.id], _ = fold(record, intent)
        self.driver.cancel(refs, reason="the kit asked")

    # -- logs --------------------------------------------------------------------------------

    def pages(
        self,
        ref: JobRef,
        stream: Stream = "stdout",
        *,
        cursor: str | None = None,
        driver: Driver | None = None,
    ) -> Iterator[LogPage]:
        """The pages of the first attempt to its end; the job need not have ended."""
        for _ in poll(self.patience, longest=0.02):
            ended = self.record(ref).ended(1) or self.look(ref).ended(1)
            page = (driver or self.driver).read_logs(ref, 1, stream, cursor, ended=ended, wait=0.2)
            assert isinstance(page, LogPage), f"read_logs returned no LogPage: {page}"
            assert isinstance(page.data, bytes), f"read_logs returned no bytes: {page.data!r}"
            yield page
            if page.eof:
                self.until(ref, lambda record: record.ended(1), "over, though its log is")
                return
            cursor = page.cursor
        over = "ended" if self.record(ref).ended(1) else "has not ended"
        pytest.fail(f"no eof of {stream} after {self.patience:g} s; the attempt {over}")

    def log(self, ref: JobRef, stream: Stream = "stdout", **start: Any) -> bytes:
        """Every byte of that stream, from the start or a cursor."""
        return b"".join(page.data for page in self.pages(ref, stream, **start))

    def kept(self, output: bytes) -> bytes:
        """What the log of a command with that output must be."""
        lines = self.driver.capabilities.logs == "lines"
        return output + b"\n" if lines and not output.endswith(b"\n") else output

    def clean(self) -> None:
        """Leave nothing running."""
        going = [ref for ref in self.refs if not self.record(ref).terminal]
        for scope in {ref.scope for ref in going}:
            refs = [ref for ref in going if ref.scope == scope]
            self.driver.cancel(refs, reason=TIDYING)
