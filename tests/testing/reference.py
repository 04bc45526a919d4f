"""A small correct driver of a small engine: a directory, and a process that runs what is sent.

The engine writes one line for each thing that happens into the file `events`; where a line stands
orders it. Mutants of this driver prove that the conformance kit has teeth.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from batchbridge.driver import BatchDriver, Capabilities, Known, setting
from batchbridge.errors import CursorExpired, KeyConflict, TransportError
from batchbridge.model import (
    Absent,
    Batch,
    Check,
    Explanation,
    JobRef,
    Listed,
    LogPage,
    Receipt,
    Scope,
    Seen,
    Stream,
    Submission,
)
from batchbridge.uploads import extract

RUNNER = Path(__file__).with_name("runner.py")
PAGE = 1 << 16
HEARTBEAT = 0.2


@dataclass(frozen=True)
class Settings:
    root: Path = setting(help="the directory")
    engine: Path = setting(help="the socket of the engine")


@dataclass(frozen=True)
class Options:
    exclusive: bool = setting(False, help="run when no other exclusive job runs")


@contextmanager
def running_engine() -> Iterator[Path]:
    """The socket of an engine that runs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        address = Path(directory) / "engine"
        with subprocess.Popen([sys.executable, "-IS", RUNNER, address]) as engine:
            while not address.is_socket():
                assert engine.poll() is None
                time.sleep(0.005)
            yield address
            engine.kill()


class ReferenceDriver(BatchDriver[Settings]):
    name = "reference"
    contract = 1
    capabilities: ClassVar[Capabilities] = Capabilities(
        idempotency="exact",
        push=True,
        absence=True,
        history=True,
        confirms_end=True,
        no_reruns=True,
        counts_attempts=True,
        timeout=True,
        queue_timeout=True,
        gang=True,
        cpu="accounted",
        secrets=True,
        upload=1 << 20,
        labels=True,
        list="all",
        explain=True,
        render=True,
        purge=True,
        cancel_set=True,
        preempt=True,
        reprioritise=True,
    )
    Settings = Settings
    Options = Options

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.jobs = settings.root / "jobs"
        self.events = settings.root / "events"

    # -- submit ------------------------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        for submission in submissions:
            self._reach()
            yield self._submit(submission, self.job_id(submission))

    def job_id(self, submission: Submission) -> str:
        return sha256(submission.key.encode()).hexdigest()[:16]

    def _submit(self, submission: Submission, job_id: str) -> Receipt:
        job = self.jobs / job_id
        try:
            job.mkdir(parents=True)
        except FileExistsError:
            return self._older(submission, job)
        form = msgspec.to_builtins(submission.spec)
        form |= {"job_set": submission.job_set, "user": submission.user, "at": time.time()}
        self._write(job / "job.json", {"digest": submission.digest, **form})
        self.start(job, submission)
        return Receipt(submission.key, id=job_id, created=True)

    def _older(self, submission: Submission, job: Path) -> Receipt:
        if self._job(job)["digest"] != submission.digest:
            return Receipt(
                submission.key, error=KeyConflict(f"{submission.key!r} has another spec")
            )
        return Receipt(submission.key, id=job.name, created=False)

    def start(self, job: Path, submission: Submission) -> None:
        with self.events.open("a") as events:
            for state in ("SUBMITTED", "QUEUED"):
                said = {"id": job.name, "at": time.time(), "state": state}
                events.write(json.dumps(said) + "\n")
        if submission.files:
            extract(submission.files, job / "work")
        given = self.render(submission) | {
            "env": self.environment(submission),
            "workdir": submission.spec.workdir or str(job / "work"),
            "job": str(job),
        }
        (job / "work").mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(str(self.settings.engine))
            engine.sendall(json.dumps(given).encode())

    def environment(self, submission: Submission) -> dict[str, str]:
        secrets = {name: secret.reveal() for name, secret in submission.secrets.items()}
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", **submission.spec.env, **secrets}

    def render(self, submission: Submission) -> Mapping[str, Any]:
        spec, gang = submission.spec, submission.gang
        return {
            "command": list(spec.command),
            "env": dict(spec.env),
            "secrets": sorted(submission.secrets),
            "timeout": spec.timeout,
            "queue_timeout": spec.queue_timeout,
            "exclusive": bool(spec.options.get("exclusive")),
            "gang": gang and {"id": gang.id, "size": gang.size, "index": gang.index},
        }

    def _write(self, path: Path, value: Any) -> None:
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(value))
        aside.rename(path)

    def _job(self, job: Path) -> dict[str, Any]:
        while True:
            try:
                return json.loads((job / "job.json").read_text())
            except FileNotFoundError:
                time.sleep(0.001)  # its submitter is about to write it

    def _reach(self) -> None:
        if not self.settings.root.is_dir():
            raise TransportError(f"{self.settings.root} is no directory")

    # -- observe -----------------------------------------------------------------------------

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        self._reach()
        absent = [Absent(job_id, time.time()) for job_id in known if not self.holds(job_id)]
        told = [seen for seen in self.told(0)[0] if seen.id in known]
        return Batch((*absent, *told))

    def holds(self, job_id: str) -> bool:
        return (self.jobs / job_id).is_dir()

    def told(self, start: int) -> tuple[list[Seen], int]:
        """What the engine has said from that byte on, and where it ends."""
        if not self.events.exists():
            return [], 0
        with self.events.open("rb") as events:
            events.seek(start)
            text = events.read()
        whole, place, seen = text[: text.rfind(b"\n") + 1], start, []
        for line in whole.splitlines(keepends=True):
            if self.holds((said := json.loads(line))["id"]):
                seen.append(self.translate(said, place))
            place += len(line)
        return seen, place

    def translate(self, said: dict[str, Any], place: int) -> Seen:
        return msgspec.convert({**said, "seq": (place,), "attempt": 1}, Seen)

    def watch(self, scope: Scope, cursor: str | None, known: Known) -> Iterator[Batch]:
        place = self.told(0)[1] if cursor is None else int(cursor)
        if place > self.told(0)[1]:
            raise CursorExpired(f"nothing is known of {cursor}")
        yield Batch(cursor=str(place))
        since = time.monotonic()
        while True:
            seen, place = self.told(place)
            if seen or time.monotonic() - since > HEARTBEAT:
                since = time.monotonic()
                yield Batch(tuple(seen), str(place))
            time.sleep(0.01)

    # -- and the rest ------------------------------------------------------------------------

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        self.mark(refs, "cancel")

    def mark(self, refs: Sequence[JobRef], mark: str) -> None:
        """Leave a mark that the engine looks for."""
        self._reach()
        for ref in refs:
            if self.holds(ref.id):
                (self.jobs / ref.id / mark).touch()

    def cancel_set(self, scope: Scope, *, job_set: str, reason: str) -> None:
        listed = [one.seen.id for one in self.list(job_set, None)]
        self.cancel([JobRef(self.name, "-", scope, job_id) for job_id in listed], reason=reason)

    def preempt(self, refs: Sequence[JobRef], *, reason: str) -> None:
        self.mark(refs, "preempt")

    def reprioritise(self, refs: Sequence[JobRef], priority: float) -> None:
        self._reach()  # whoever gets the lock first runs first, whatever the number

    def purge(self, refs: Sequence[JobRef]) -> None:
        self._reach()
        for ref in refs:
            shutil.rmtree(self.jobs / ref.id, ignore_errors=True)

    def details(self, ref: JobRef, attempt: int) -> Mapping[str, str]:
        return {"directory": str(self.jobs / ref.id)} if self.holds(ref.id) else {}

    def read_logs(
        self,
        ref: JobRef,
        attempt: int,
        stream: Stream,
        cursor: str | None,
        *,
        ended: bool,
        wait: float,
    ) -> LogPage:
        self._reach()
        place, deadline = int(cursor or 0), time.monotonic() + wait
        data = self.read(ref, stream, place)
        while not data and not ended and time.monotonic() < deadline:
            time.sleep(0.01)
            data = self.read(ref, stream, place)
        eof = ended and len(data) < PAGE
        return LogPage(data, str(place + len(data)), eof=eof)

    def read(self, ref: JobRef, stream: Stream, place: int) -> bytes:
        path = self.jobs / ref.id / stream
        if not path.exists():
            return b""
        with path.open("rb") as log:
            log.seek(place)
            return log.read(PAGE)

    def list(self, job_set: str | None, user: str | None) -> Iterable[Listed]:
        self._reach()
        last = {seen.id: seen for seen in self.told(0)[0]}
        for job_id, seen in last.items():
            form = self._job(self.jobs / job_id)
            if job_set in (None, form["job_set"]) and user in (None, form["user"]):
                names = (form["name"], form["job_set"], form["user"])
                yield Listed((), *names, seen, form["at"], form["labels"])

    def explain(self, ref: JobRef) -> Explanation | None:
        seen = self.snapshot((), [ref.id]).observations
        waits = any(isinstance(one, Seen) and one.state == "QUEUED" for one in seen[-1:])
        return Explanation("an exclusive job runs") if waits else None

    def probe(self) -> Iterable[Check]:
        there = self.settings.root.is_dir()
        yield Check("directory", there, f"{self.settings.root} is {'' if there else 'not '}there")
