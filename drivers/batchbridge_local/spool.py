"""The spool directory: the only store, shared by every submitter, the supervisor and the runners.

What is visible is whole: jobs are prepared aside and renamed into place, a claim is linked, an end
is renamed. Nothing here knows batchbridge, because the supervisor imports it and starts fast.

Nothing is forced to disk: it is the death of processes that the spool guards against. A restart of
the machine ends every unfinished job, so that what a power failure took cannot make one run twice.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from batchbridge_local import processes
from batchbridge_local.files import fill, link_new, remove, write_new
from batchbridge_local.records import (
    ID_LENGTH,
    RESERVE,
    VERSION,
    Claim,
    Corrupt,
    End,
    Job,
    seal,
    unseal,
)

FAILPOINT = "BATCHBRIDGE_LOCAL_FAILPOINT"
"""Names the durable step after which a process kills itself; for the kill tests."""

LONGEST = 500
"""Characters of a message that are kept, so that every end fits into its reserve."""

LOG_SIZE = 32 << 20
"""Bytes of the log of changes after which it begins anew."""


class Refused(Exception):
    """This directory must not be used as a spool: ``str`` says why, ``remedy`` what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class View(NamedTuple):
    """What the spool holds of one job now; each record is there or not yet."""

    job: Job
    claim: Claim | None = None
    end: End | None = None


def is_id(text: str) -> bool:
    """Whether this can be a job's id; anything else could lead out of the spool."""
    return len(text) == ID_LENGTH and not set(text) - set("0123456789abcdef")


def step(name: str) -> None:
    """A durable step is done; a kill test may end the process here."""
    if os.environ.get(FAILPOINT) == name:
        os.kill(os.getpid(), signal.SIGKILL)


class Spool:
    """Paths and atomic operations of one spool. Making one does no I/O; :meth:`open` does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs = root / "jobs"
        self.tmp = root / "tmp"
        self.changes = root / "changes.log"
        self.fifo = root / "wake"
        self.lock = root / "lock"
        self.supervisor_log = root / "supervisor.log"
        self._opened = False

    def open(self) -> None:
        """Make the spool, or check that it is ours and of this version; Refused where not."""
        if self._opened and self.changes.exists():
            return
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_owner()
        self._check_kind()
        self._check_mode()
        self._check_version()
        for directory in (self.jobs, self.tmp):
            directory.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.mkfifo(self.fifo, 0o600)
        if not self.changes.exists():
            with suppress(FileExistsError):
                link_new(self.changes, _generation())
        self._opened = True

    def _check_owner(self) -> None:
        info = self.root.stat()
        if info.st_uid != os.geteuid():
            raise Refused(
                f"the spool {self.root} belongs to another user (uid {info.st_uid})",
                "choose a directory of your own with --root",
            )

    def _check_kind(self) -> None:
        """It is a spool, or empty; before its mode, whose remedy would harm another directory."""
        others = [p.name for p in self.root.iterdir() if not p.name.startswith(".version.")]
        if others and not (self.root / "version").exists():
            raise Refused(
                f"{self.root} is no spool, and it is not empty",
                "choose a new or an empty directory with --root",
            )

    def _check_mode(self) -> None:
        if stat.S_IMODE(self.root.stat().st_mode) & 0o077:
            raise Refused(
                f"the spool {self.root} is open to other users",
                f"close it: chmod 700 {self.root}",
            )

    def _check_version(self) -> None:
        file = self.root / "version"
        if not file.exists():
            with suppress(FileExistsError):
                link_new(file, f"{VERSION}\n".encode())
        found = file.read_text().strip()
        if found != str(VERSION):
            raise Refused(
                f"the spool {self.root} has version {found}; this one has version {VERSION}",
                "use the batchbridge that made it, or choose another directory with --root",
            )

    # -- making a job ------------------------------------------------------------------------

    @contextmanager
    def preparing(self) -> Iterator[Path]:
        """A private directory to make a job in; what is still there at the end is removed.

        Its name tells its maker, so that the supervisor removes it should the maker be killed.
        """
        maker = f"{os.getpid()}.{processes.identity(os.getpid()).replace('/', '_')}"
        place = self.tmp / f"{maker}.{os.urandom(6).hex()}"
        place.mkdir(mode=0o700)
        try:
            yield place
        finally:
            remove(place)

    def fill(self, place: Path, job: Job, secrets: Mapping[str, str]) -> None:
        """Write into `place` all that a job needs to run, and the room for its end."""
        for name in ("stdout", "stderr"):
            write_new(place / name, b"")
        write_new(place / "reserve", b"\n" * RESERVE)
        if secrets:
            write_new(place / "secrets", json.dumps(dict(secrets)).encode())
        write_new(place / "job.json", seal(job))
        step("submit:prepared")

    def admit(self, place: Path, id: str) -> bool:
        """Make the prepared job visible; False where the id is taken."""
        try:
            place.rename(self.jobs / id)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return False
            raise
        step("submit:admitted")
        return True

    # -- reading -----------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Every job, in no order."""
        return [name for name in self._names() if is_id(name)]

    def foreign(self) -> list[str]:
        """What lies among the jobs and is none."""
        return [name for name in self._names() if not is_id(name)]

    def _names(self) -> list[str]:
        return os.listdir(self.jobs)  # noqa: PTH208 -- ten thousand names, no Path wanted

    def view(self, id: str) -> View | None:
        """What is recorded of a job; None where there is none of that id.

        Raises Corrupt, naming the file, where a record is damaged or foreign.
        """
        if not is_id(id):
            return None
        place = self.jobs / id
        # In this order: a record that appears meanwhile is never seen without those before it.
        end = _record(End, place / "end.json")
        claim = _record(Claim, place / "claim.json")
        job = _record(Job, place / "job.json")
        if job is None:
            if place.exists():
                raise Corrupt(f"{place}: it holds no job.json")
            return None
        if job.id != id:
            raise Corrupt(f"{place}: its job.json is that of another job, {job.id}")
        return View(job, claim, end)

    def holds(self, id: str) -> bool:
        """Whether there is a job of that id; text that is no id leads nowhere."""
        return is_id(id) and (self.jobs / id).is_dir()

    def ended(self, id: str) -> bool:
        return (self.jobs / id / "end.json").exists()

    def claimed(self, id: str) -> bool:
        return (self.jobs / id / "claim.json").exists()

    def unfinished(self) -> Iterator[str]:
        """The ids of jobs that have not ended."""
        return (id for id in self.ids() if not self.ended(id))

    # -- the life of a job -------------------------------------------------------------------

    def claim(self, id: str, claim: Claim) -> bool:
        """Take the job, at most once; False where somebody else has."""
        try:
            link_new(self.jobs / id / "claim.json", seal(claim))
        except FileExistsError:
            return False
        return True

    def take_secrets(self, id: str) -> dict[str, str]:
        """The values for the command, which are no longer on disk when this returns."""
        try:
            values: dict[str, str] = json.loads((self.jobs / id / "secrets").read_bytes())
        except FileNotFoundError:
            return {}
        self.forget_secrets(id)
        return values

    def forget_secrets(self, id: str) -> None:
        (self.jobs / id / "secrets").unlink(missing_ok=True)

    def finish(self, id: str, end: End) -> None:
        """Record how a job ended, in the place set aside for it, so that a full disk is no bar."""
        place = self.jobs / id
        self.forget_secrets(id)
        end = end._replace(message=end.message[:LONGEST])
        fd = os.open(place / "reserve", os.O_WRONLY | os.O_CREAT, 0o600)
        fill(fd, seal(end).ljust(RESERVE, b"\n"))
        step("end:written")
        (place / "reserve").rename(place / "end.json")
        step("end:recorded")
        self.tell(id, end.state, end.at, **_facts(end))

    def written_end(self, id: str) -> End | None:
        """The end that a runner wrote, but was killed before it could show it."""
        with suppress(Corrupt):
            return _record(End, self.jobs / id / "reserve")
        return None

    def ask_cancel(self, id: str, reason: str) -> None:
        """Leave the wish that a job ends; the first stands. An empty mark needs no free block."""
        mark = self.jobs / id / "cancel"
        with suppress(FileExistsError, FileNotFoundError):
            try:
                link_new(mark, reason.encode())
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                write_new(mark, b"")

    def cancel_reason(self, id: str) -> str | None:
        """Why the job shall end; None where nobody has asked."""
        try:
            return (self.jobs / id / "cancel").read_text("utf-8", "replace")
        except FileNotFoundError:
            return None

    # -- telling -----------------------------------------------------------------------------

    def tell(self, id: str, state: str, at: float, **facts: Any) -> bool:
        """Append to the log of changes, for watchers and the supervisor; False if that failed.

        The records decide, the log only tells: what it misses, a snapshot makes good.
        """
        line = json.dumps({"id": id, "state": state, "at": at, **facts}, separators=(",", ":"))
        # The newline before: half a line left by a full disk must not spoil this one.
        data = f"\n{line}\n".encode()
        with suppress(OSError):
            fd = os.open(self.changes, os.O_WRONLY | os.O_APPEND)
            try:
                return os.write(fd, data) == len(data)
            finally:
                os.close(fd)
        return False

    def shorten_log(self) -> bool:
        """Begin the log of changes anew where it is long; whether that was done."""
        if self.changes.stat().st_size < LOG_SIZE:
            return False
        aside = self.root / ".changes"
        aside.unlink(missing_ok=True)
        write_new(aside, _generation())
        aside.rename(self.changes)
        return True

    def wake(self, *, look: bool = False) -> bool:
        """Wake the supervisor; False where none listens. `look`: at every job, not the log."""
        try:
            fd = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        try:
            os.write(fd, b"!" if look else b".")
        except BlockingIOError:
            return True  # full: it has reason enough to wake
        except BrokenPipeError:
            return False
        finally:
            os.close(fd)
        return True

    def remove_job(self, id: str) -> None:
        """Forget a job: out of sight at once, then its files."""
        with self.preparing() as place, suppress(FileNotFoundError):
            (self.jobs / id).rename(place / id)

    def sweep(self) -> None:
        """Remove what makers that are dead have left half-made."""
        for place in self.tmp.iterdir():
            pid, _, rest = place.name.partition(".")
            maker = processes.identity(int(pid)).replace("/", "_") if pid.isdigit() else ""
            if not maker or not rest.startswith(f"{maker}."):
                remove(place)


K = TypeVar("K", Job, Claim, End)


def _record(kind: type[K], path: Path) -> K | None:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return unseal(kind, data)
    except Corrupt as error:
        raise Corrupt(f"{path}: {error}") from None


def _facts(end: End) -> dict[str, Any]:
    shown = ("cause", "exit_code", "signal", "message")
    return {name: getattr(end, name) for name in shown if getattr(end, name) not in (None, "")}


def _generation() -> bytes:
    """The first line of a log of changes, which tells it from every other."""
    return os.urandom(8).hex().encode() + b"\n"


def now() -> float:
    """Wall clock, seconds since the epoch."""
    return time.time()
