"""What runs one job: a process that the supervisor forks, and that outlives it.

It leads a session, runs the command in a process group of its own, and writes how that ended. The
claim is recorded before the command is started, so that it runs at most once: a runner that dies
before has run nothing, and a later one may claim the job.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from batchbridge_local import processes
from batchbridge_local.records import Claim, End, Job
from batchbridge_local.spool import Spool, now, step


class Wish(NamedTuple):
    """Why the command is being ended, and when patience ends (monotonic); None: it has ended."""

    cause: str
    until: float | None


def run(spool: Spool, id: str, oom: Path | None) -> NoReturn:
    """Run the job in this forked process, which does not return; exit code 1: nothing was run."""
    code = 1
    try:
        os.setsid()
        gc.disable()  # too short a life to collect anything
        supervisor = os.getppid()
        view = spool.view(id)
        if view is not None and view.claim is None:
            _run(spool, id, view.job, oom)
        code = 0
        if os.getppid() != supervisor:
            _hand_on(spool)
    finally:
        os._exit(code)


def _hand_on(spool: Spool) -> None:
    """Tell the next supervisor, or be it: jobs may wait that nobody else comes by for."""
    if not spool.wake() and any(spool.unfinished()):
        os.execve(sys.executable, sys.orig_argv, {})


def _run(spool: Spool, id: str, job: Job, oom: Path | None) -> None:
    wakeup = processes.signal_pipe(signal.SIGTERM, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    step("runner:forked")
    claim = our_claim()
    if not spool.claim(id, claim):
        return  # an earlier supervisor's runner was faster
    step("runner:claimed")
    ooms = processes.oom_kills(oom)
    end = _outcome(spool, job, claim, wakeup)
    if end.signal == signal.SIGKILL and end.cause is None and processes.oom_kills(oom) > ooms:
        end = end._replace(cause="OOM", message="the system ran out of memory and killed it")
    step("runner:ended")
    _finish(spool, id, end)


def our_claim(end: End | None = None) -> Claim:
    """What this process records when it takes a job: to run it, or to end it unstarted."""
    pid = os.getpid()
    return Claim(pid, processes.identity(pid), processes.boot(), os.uname().nodename, now(), end)


def _outcome(spool: Spool, job: Job, claim: Claim, wakeup: int) -> End:
    """Run the command, unless its end was asked for meanwhile, and wait for its end."""
    id = job.id
    secrets = spool.take_secrets(id)
    if spool.cancel_reason(id) is not None:
        return cancelled(spool, id)
    try:
        pid = _spawn(job, secrets, spool.jobs / id)
    except OSError as error:
        return End("FAILED", now(), cause="START_ERROR", message=_why(error, job))
    step("runner:spawned")
    spool.tell(id, "RUNNING", claim.at, node=claim.node)
    status, wish = _wait(pid, job, wakeup)
    _clear(pid, wish)
    return _ending(spool, id, status, wish)


def cancelled(spool: Spool, id: str) -> End:
    """The end of a job that was cancelled before its command ran."""
    return End("CANCELLED", now(), cause="CANCELLED", message=spool.cancel_reason(id) or "")


def _ending(spool: Spool, id: str, status: int, wish: Wish | None) -> End:
    code = os.waitstatus_to_exitcode(status)
    end = End(
        "FAILED" if code else "SUCCEEDED",
        now(),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
    )
    if wish is None:
        return end
    if wish.cause == "TIMEOUT":
        return end._replace(state="FAILED", cause="TIMEOUT", message="it ran longer than allowed")
    reason = spool.cancel_reason(id)
    message = "its runner was told to stop" if reason is None else reason
    return end._replace(state="CANCELLED", cause="CANCELLED", message=message)


def _finish(spool: Spool, id: str, end: End) -> None:
    while True:
        try:
            return spool.finish(id, end)
        except FileNotFoundError:
            return None  # the spool was removed under us
        except OSError:
            time.sleep(1)  # the end must not be lost, however long the disk is in trouble


# -- the command -----------------------------------------------------------------------------


def _spawn(job: Job, secrets: dict[str, str], place: Path) -> int:
    """Start the command in a process group of its own; OSError where it cannot be."""
    missing = [name for name in job.secrets if name not in secrets]
    if missing:
        raise OSError(0, f"its secrets are gone: {', '.join(missing)}")
    os.chdir(job.workdir)
    os.environ["PATH"] = job.env["PATH"]  # where posix_spawnp looks for the command
    return os.posix_spawnp(
        job.command[0],
        job.command,
        {**job.env, **secrets},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(place / "stdout"), os.O_WRONLY | os.O_APPEND, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(place / "stderr"), os.O_WRONLY | os.O_APPEND, 0),
        ],
        setpgroup=0,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores these
    )


def _why(error: OSError, job: Job) -> str:
    if error.filename == job.workdir:
        return f"the working directory {job.workdir} cannot be entered: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return f"command not found: {job.command[0]}"
    return f"the command {job.command[0]} cannot be started: {error.strerror}"


# -- waiting for it --------------------------------------------------------------------------


def _wait(pid: int, job: Job, wakeup: int) -> tuple[int, Wish | None]:
    """Wait for the command; end it when that is asked for, or its time is over."""
    overdue = time.monotonic() + job.timeout if job.timeout else None
    told = False
    wish: Wish | None = None
    while True:
        # Asked right before any signal: a command that has ended by itself is not cancelled.
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, wish
        at = time.monotonic()
        if wish is None and (told or (overdue and at >= overdue)):
            wish = Wish("CANCELLED" if told else "TIMEOUT", at + job.grace)
            _signal_group(pid, signal.SIGTERM)
        elif wish is not None and wish.until is not None and at >= wish.until:
            _signal_group(pid, signal.SIGKILL)
            wish = wish._replace(until=None)
        told = _told(wakeup, wish.until if wish else overdue) or told


def _told(wakeup: int, until: float | None) -> bool:
    """Sleep until a signal comes or that time; whether it was SIGTERM."""
    patience = None if until is None else max(0.0, until - time.monotonic())
    select.select([wakeup], [], [], patience)
    with suppress(BlockingIOError):
        return signal.SIGTERM in os.read(wakeup, 100)
    return False


def _clear(group: int, wish: Wish | None) -> None:
    """End whoever the command left behind: at once, or, where its end was asked for, by grace."""
    until = (wish.until or 0.0) if wish else 0.0
    while time.monotonic() < until and processes.group_lives(group):
        time.sleep(0.01)
    _signal_group(group, signal.SIGKILL)
    if wish:
        processes.kill_session(os.getpid(), processes.identity(os.getpid()))


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the latter: macOS, of zombies
        os.killpg(group, number)
