"""The driver: the spool on one side, the words of batchbridge on the other."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from batchbridge.driver import BatchDriver, Capabilities, Known
from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    CursorExpired,
    KeyConflict,
    SpecError,
    StoreError,
)
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
from batchbridge_local import health, jobspec, logs, processes, translate
from batchbridge_local.changes import Tail
from batchbridge_local.launch import ensure
from batchbridge_local.records import Corrupt, Job
from batchbridge_local.retention import Keep
from batchbridge_local.settings import LocalSettings
from batchbridge_local.spool import Refused, Spool, View, now, step

_log = logging.getLogger("batchbridge.local")

HEARTBEAT = 1.0
"""Seconds after which a silent watch yields an empty batch, and misses a dead supervisor."""

POLLS = (0.002, 0.03)
"""Seconds between two looks at the log of changes: after a change, and in the long run."""


class LocalDriver(BatchDriver[LocalSettings]):
    """Jobs on this machine, in a spool directory that outlives every process."""

    name = "local"
    contract = 1
    capabilities = Capabilities(
        idempotency="exact",
        push=True,
        absence=True,
        history=True,
        confirms_end=True,
        counts_attempts=True,
        no_reruns=True,
        timeout=True,
        queue_timeout=True,
        cpu="accounted",
        memory="accounted",
        secrets=True,
        upload=1 << 30,
        labels=True,
        list="all",
        explain=True,
        render=True,
        purge=True,
    )
    Settings = LocalSettings

    def __init__(self, settings: LocalSettings) -> None:
        super().__init__(settings)
        self._spool = Spool(Path(settings.root).expanduser().absolute())
        self._keep = Keep(settings.keep_for, settings.keep_size)
        self._warned: set[str] = set()

    # -- the four verbs ----------------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Admit each to the spool. StoreError where the spool cannot take one."""
        with self._opened() as spool:
            ensure(spool, self._keep)
            for submission in submissions:
                yield self._submit(submission)

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """The whole history of each known job; a supervisor is started where one is missed."""
        with self._opened():
            views = {id: self._view(id) for id in known}
            self._serve(views.values())
        at = now()
        return Batch(tuple(seen for id, view in views.items() for seen in _told(id, view, at)))

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Leave a mark at each job, and wake the supervisor, who ends the queued ones first."""
        with self._opened() as spool:
            ids = [ref.id for ref in refs if spool.holds(ref.id)]
            for id in sorted(ids, key=spool.claimed):
                spool.ask_cancel(id, reason)
            told = [spool.tell(id, "CANCELLING", now()) for id in sorted(ids, key=spool.claimed)]
            if ids:
                ensure(spool, self._keep, look=not all(told))

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
        """The next bytes of the file; a cursor is an offset."""
        with self._opened() as spool:
            return logs.read(spool, ref.id, attempt, stream, cursor, ended=ended, wait=wait)

    # -- the others --------------------------------------------------------------------------

    def watch(self, scope: Scope, cursor: str | None, known: Known) -> Iterator[Batch]:
        """Follow the log of changes from `cursor`, or from now."""
        with self._opened() as spool:
            try:
                tail = Tail(spool.changes, cursor)
            except LookupError:
                raise CursorExpired("the log of changes no longer reaches back so far") from None
            with closing(tail):
                yield Batch(cursor=tail.cursor)
                yield from self._follow(tail, known)

    def list(self, job_set: str | None, user: str | None) -> Iterator[Listed]:
        """Every job of that set and that user in the spool, the oldest first."""
        with self._opened() as spool:
            views = {id: self._view(id) for id in spool.ids()}
            self._serve(views.values())
        jobs = [translate.listed(id, v) for id, v in views.items() if isinstance(v, View)]
        wanted = (j for j in jobs if job_set in (None, j.job_set) and user in (None, j.user))
        return iter(sorted(wanted, key=lambda job: (job.submitted_at, job.seen.id)))

    def explain(self, ref: JobRef) -> Explanation | None:
        """What a queued job waits for; None for one that runs or has ended."""
        with self._opened() as spool:
            views = ((id, self._view(id)) for id in spool.unfinished())
            unfinished = {id: view for id, view in views if isinstance(view, View)}
        return health.explanation(ref.id, unfinished)

    def render(self, submission: Submission) -> Mapping[str, object]:
        """The job record that submit would write."""
        return jobspec.payload(self._job(submission))

    def details(self, ref: JobRef, attempt: int) -> Mapping[str, str]:
        """The directory that holds all there is of the job."""
        there = self._spool.jobs / ref.id
        return {"directory": str(there)} if there.is_dir() else {}

    def purge(self, refs: Sequence[JobRef]) -> None:
        """Remove their directories, as their age would in time."""
        with self._opened() as spool:
            for ref in refs:
                view = self._view(ref.id)
                if isinstance(view, View) and view.end is not None:
                    spool.remove_job(ref.id)

    def probe(self) -> Iterable[Check]:
        """Whether the spool can be used, who serves it, and which records are damaged."""
        return health.checks(self._spool)

    # -- how ---------------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[Spool]:
        """The spool, checked; errors of the system and of the spool as errors of batchbridge."""
        try:
            self._spool.open()
            yield self._spool
        except Refused as error:
            raise AuthError(str(error), remedy=error.remedy) from error
        except OSError as error:
            raise _store_error(error, self._spool) from error

    def _view(self, id: str) -> View | Corrupt | None:
        """What the spool holds of a job; a damaged record is named once, and is no state."""
        try:
            return self._spool.view(id)
        except Corrupt as error:
            if id not in self._warned:
                self._warned.add(id)
                _log.warning("a record of the local spool cannot be read: %s", error)
            return error

    def _serve(self, views: Iterable[View | Corrupt | None]) -> None:
        """Start a supervisor where one of these jobs is unfinished and misses it."""
        if any(isinstance(view, View) and view.end is None for view in views):
            ensure(self._spool, self._keep)

    def _submit(self, submission: Submission) -> Receipt:
        job = self._job(submission)
        if not self._spool.holds(job.id):
            refused = jobspec.refusal(job)
            if refused:
                return Receipt(submission.key, error=refused)
            if self._create(job, submission):
                return Receipt(submission.key, id=job.id, created=True)
        return self._repeated(job.id, submission)

    def _create(self, job: Job, submission: Submission) -> bool:
        spool = self._spool
        secrets = {name: secret.reveal() for name, secret in submission.secrets.items()}
        with spool.preparing() as place:
            if submission.files:
                extract(submission.files, place / "work")
            spool.fill(place, job, secrets)
            if not spool.admit(place, job.id):
                return False
        told = spool.tell(job.id, "QUEUED", job.submitted_at)
        step("submit:told")
        ensure(spool, self._keep, look=not told)
        return True

    def _repeated(self, id: str, submission: Submission) -> Receipt:
        """The answer to a key that is known already."""
        view = self._view(id)
        if isinstance(view, Corrupt):
            return Receipt(submission.key, error=_damaged(view))
        if view is None:
            return self._submit(submission)  # it was old, and has just been removed
        if view.job.digest != submission.digest:
            return Receipt(submission.key, error=KeyConflict.of(submission.key, id))
        # Its first submitter may have been killed before it told anybody.
        ensure(self._spool, self._keep, look=True)
        return Receipt(submission.key, id=id, created=False)

    def _job(self, submission: Submission) -> Job:
        place = self._spool.jobs / jobspec.id_of(submission.key)
        return jobspec.job_of(
            submission,
            account=_account(),
            bounds=jobspec.Bounds(self.settings.max_cpu, self.settings.max_memory),
            program=_program(submission),
            directory=place / "work" if submission.files else _here(),
            grace=self.settings.grace,
            at=now(),
            boot=processes.boot(),
        )

    def _follow(self, tail: Tail, known: Known) -> Iterator[Batch]:
        quick, slow = POLLS
        pause, spoken = quick, time.monotonic()
        while True:
            changes = tail.read()
            if changes is None:
                raise CursorExpired("the log of changes was begun anew")
            seen = tuple(one for said in changes for one in translate.change(said))
            if seen or time.monotonic() - spoken >= HEARTBEAT:
                yield Batch(seen, tail.cursor)
                pause, spoken = quick, time.monotonic()
                if not seen:
                    self._revive(known)
            else:
                time.sleep(pause)
                pause = min(pause * 1.5, slow)

    def _revive(self, known: Known) -> None:
        """Start a supervisor where one is missed by a job that somebody waits for."""
        if not self._spool.wake() and any(not self._spool.ended(id) for id in known()):
            ensure(self._spool, self._keep)


def _told(id: str, view: View | Corrupt | None, at: float) -> tuple[Seen | Absent, ...]:
    """A job's history; a damaged record says nothing, not even that the job is not there."""
    if view is None:
        return (Absent(id, at),)
    return () if isinstance(view, Corrupt) else translate.history(id, view)


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise SpecError("the current directory is gone", path="workdir") from None


def _program(submission: Submission) -> str:
    """The program as the submitter's shell would find it, unless the job names a PATH."""
    name = submission.spec.command[0]
    named = "PATH" in submission.spec.env or "/" in name
    return name if named else shutil.which(name) or name


def _account() -> jobspec.Account:
    with suppress(KeyError):
        entry = pwd.getpwuid(os.geteuid())
        return jobspec.Account(entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh")
    return jobspec.Account(str(os.geteuid()), "/", "/bin/sh")  # a container without an entry


def _damaged(error: Corrupt) -> StoreError:
    return StoreError(
        f"the key's job cannot be read: {error}",
        remedy="move that directory out of the spool, or use another key",
    )


def _store_error(error: OSError, spool: Spool) -> BatchBridgeError:
    return StoreError(
        f"the spool {spool.root}: {error.strerror or error}",
        remedy="free some space there, check its permissions, or choose another with --root",
    )
