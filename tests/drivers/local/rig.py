"""Driving a local driver without a hub: submit, fold what snapshots say, clean up."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from batchbridge.model import Batch, Files, JobRef, JobSpec, Receipt, Secret, Submission
from batchbridge.states import Record, fold
from batchbridge_local import LocalDriver, processes
from batchbridge_local.records import Claim, Corrupt
from batchbridge_local.spool import Spool

T = TypeVar("T")

PATIENCE = 20.0


def eventually(probe: Callable[[], T], what: str = "it") -> T:
    """The first true answer of `probe`."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {PATIENCE} s")


def submission(
    *command: str,
    key: str = "",
    files: Files | None = None,
    secrets: Mapping[str, str] | None = None,
    **fields: Any,
) -> Submission:
    """A submission of one command; its key is new unless given."""
    hidden = {name: Secret(value) for name, value in (secrets or {}).items()}
    spec = JobSpec(command=command, secrets=dict.fromkeys(hidden, "env:X"), **fields)
    key = key or os.urandom(8).hex()
    return Submission(key, spec, "a set", "someone", files=files, secrets=hidden)


def shell(script: str, **fields: Any) -> Submission:
    return submission("sh", "-c", script, **fields)


@dataclass
class Rig:
    """One spool in a directory of its own."""

    root: Path
    settings: Mapping[str, Any]

    def driver(self, **settings: Any) -> LocalDriver:
        given = {"grace": 5.0, **self.settings, **settings}
        return LocalDriver(LocalDriver.Settings(root=str(self.root), **given))

    @property
    def spool(self) -> Spool:
        return Spool(self.root)

    def submit(self, *jobs: Submission, **settings: Any) -> list[str]:
        receipts = list(self.driver(**settings).submit(jobs))
        assert [receipt.error for receipt in receipts] == [None] * len(jobs)
        return [str(receipt.id) for receipt in receipts]

    def one(self, job: Submission, **settings: Any) -> str:
        return self.submit(job, **settings)[0]

    def refused(self, job: Submission, **settings: Any) -> Receipt:
        (receipt,) = self.driver(**settings).submit([job])
        return receipt

    def record(self, id: str) -> Record:
        return folded(id, self.driver().snapshot((), [id]))

    def until(self, id: str, holds: Callable[[Record], bool]) -> Record:
        def look() -> Record | None:
            record = self.record(id)
            return record if holds(record) else None

        found = eventually(look, f"the change of job {id}")
        assert found is not None
        return found

    def end(self, id: str) -> Record:
        return self.until(id, lambda record: record.terminal)

    def running(self, id: str) -> Record:
        return self.until(id, lambda record: record.state == "RUNNING")

    def run(self, job: Submission) -> Record:
        return self.end(self.one(job))

    def output(self, id: str, stream: Any = "stdout") -> bytes:
        data, cursor = b"", None
        while True:
            page = self.driver().read_logs(ref(id), 1, stream, cursor, ended=False, wait=5)
            data, cursor = data + page.data, page.cursor
            if page.eof:
                return data

    def supervisor(self) -> int | None:
        """The pid of the one that serves, by its own record and identity."""
        with suppress(OSError, ValueError):
            said = json.loads((self.root / "lock").read_text())
            if processes.identity(said["pid"]) == said["identity"]:
                return int(said["pid"])
        return None

    def kill_supervisor(self) -> None:
        pid = eventually(self.supervisor)
        assert pid is not None
        kill(pid)

    def clean(self) -> None:
        """End what a test has left running in this spool."""
        while self.spool.jobs.is_dir() and (self.supervisor() or any(self._runners())):
            if self.supervisor():
                self.kill_supervisor()
            for claim in self._runners():
                kill(claim.pid)
                processes.kill_session(claim.pid, claim.identity)

    def _runners(self) -> Iterator[Claim]:
        """The runners that live."""
        for id in self.spool.unfinished():
            with suppress(Corrupt):
                view = self.spool.view(id)
                claim = view.claim if view else None
                if claim and processes.identity(claim.pid) == claim.identity:
                    yield claim


def kill(pid: int) -> None:
    """SIGKILL, and wait until it has worked."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not processes.identity(pid), f"the end of process {pid}")


def folded(id: str, *batches: Batch) -> Record:
    record = Record(id)
    for batch in batches:
        for observation in batch.observations:
            if observation.id == id:
                record, _ = fold(record, observation)
    return record


def ref(id: str) -> JobRef:
    return JobRef("local", "local", (), id)


def refs(ids: Iterable[str]) -> list[JobRef]:
    return [ref(id) for id in ids]
