"""What runs one job: a process that the supervisor forks, and that outlives it.

It leads a session, runs the command in a process group of its own, and writes how that ended. The
command waits behind a pipe until the claim is on disk, so that it runs at most once: a runner that
dies before has run nothing, and a later one may claim the job.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from batchbridge_local import processes
from batchbridge_local.records import Claim, End, Job
from batchbridge_local.spool import Spool, now, step


class Command(NamedTuple):
    """The forked command: its pid and group, the pipe that lets it go, the pipe of its start."""

    pid: int
    gate: int
    started: int


class Wish(NamedTuple):
    """Why the command is being ended, and when patience ends (monotonic)."""

    cause: str
    until: float


def run(spool: Spool, id: str, oom: Path | None) -> NoReturn:
    """Run the job in this forked process, which does not return; exit code 1: nothing was run."""
    code = 1
    try:
        os.setsid()
        view = spool.view(id)
        if view is not None and view.claim is None:
            _run(spool, id, view.job, oom)
        code = 0
    finally:
        os._exit(code)


def _run(spool: Spool, id: str, job: Job, oom: Path | None) -> None:
    wakeup = _listen()
    ooms = processes.oom_kills(oom)
    command = _start(job, spool.secrets(id), spool.jobs / id)
    step("runner:forked")
    claimed = Claim(
        pid=os.getpid(),
        identity=processes.identity(os.getpid()),
        boot=processes.boot(),
        node=os.uname().nodename,
        at=now(),
    )
    if not spool.claim(id, claimed):
        return  # the command sees its gate close, and never runs
    step("runner:claimed")
    spool.forget_secrets(id)
    end = _outcome(spool, id, job, command, wakeup)
    if end.signal == signal.SIGKILL and end.cause is None and processes.oom_kills(oom) > ooms:
        end = end._replace(cause="OOM", message="the system ran out of memory and killed it")
    step("runner:ended")
    _finish(spool, id, end)


def _outcome(spool: Spool, id: str, job: Job, command: Command, wakeup: int) -> End:
    """Let the command go, unless its end was asked for meanwhile, and wait for its end."""
    if spool.cancel_reason(id) is not None:
        return cancelled(spool, id)
    os.write(command.gate, b"g")
    step("runner:released")
    problem = os.read(command.started, 1000).decode(errors="replace")
    if problem:
        return End("FAILED", now(), cause="START_ERROR", message=problem)
    spool.tell(id, "RUNNING", now(), node=os.uname().nodename)
    status, wish = _wait(command.pid, job, wakeup)
    _clear(command.pid, wish)
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


def _start(job: Job, secrets: dict[str, str], place: Path) -> Command:
    """Fork the command behind its gate."""
    gate, release = os.pipe()
    started, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        os.close(started)
        _become(job, secrets, place, gate, report)
    os.close(gate)
    os.close(report)
    return Command(pid, release, started)


def _become(job: Job, secrets: dict[str, str], place: Path, gate: int, report: int) -> NoReturn:
    """In the forked process: wait to be let go, then become the command."""
    try:
        os.setpgid(0, 0)
        _default_signals()
        missing = [name for name in job.secrets if name not in secrets]
        if os.read(gate, 1):
            if missing:
                raise OSError(0, f"the secrets are gone: {', '.join(missing)}")
            os.chdir(job.workdir)
            _redirect(place)
            os.execvpe(job.command[0], job.command, {**job.env, **secrets})
    except OSError as error:
        os.write(report, _why(error, job).encode(errors="replace"))
    finally:
        os._exit(127)


def _why(error: OSError, job: Job) -> str:
    if error.filename == job.workdir:
        return f"the working directory {job.workdir} cannot be entered: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return f"command not found: {job.command[0]}"
    return f"the command {job.command[0]} cannot be started: {error.strerror}"


def _redirect(place: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_APPEND), fd)


def _default_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


# -- waiting for it --------------------------------------------------------------------------


def _listen() -> int:
    """Let SIGTERM and the end of a child be bytes in a pipe, which is returned."""
    receive, send = os.pipe()
    os.set_blocking(send, False)
    os.set_blocking(receive, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return receive


def _wait(pid: int, job: Job, wakeup: int) -> tuple[int, Wish | None]:
    """Wait for the command; end it when that is asked for, or its time is over."""
    overdue = time.monotonic() + job.timeout if job.timeout else None
    wish: Wish | None = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, wish
        told = _told(wakeup, wish.until if wish else overdue)
        if wish is not None and time.monotonic() >= wish.until:
            _signal_group(pid, signal.SIGKILL)
            wish = wish._replace(until=float("inf"))
        elif wish is None and (told or (overdue and time.monotonic() >= overdue)):
            wish = Wish("CANCELLED" if told else "TIMEOUT", time.monotonic() + job.grace)
            _signal_group(pid, signal.SIGTERM)


def _told(wakeup: int, until: float | None) -> bool:
    """Sleep until a signal comes or that time; whether it was SIGTERM."""
    patience = None if until in (None, float("inf")) else max(0.0, until - time.monotonic())
    select.select([wakeup], [], [], patience)
    with suppress(BlockingIOError):
        return signal.SIGTERM in os.read(wakeup, 100)
    return False


def _clear(group: int, wish: Wish | None) -> None:
    """End whoever the command left behind: at once, or, where its end was asked for, by grace."""
    until = wish.until if wish else 0.0
    while time.monotonic() < until and _signal_group(group, 0):
        time.sleep(0.01)
    _signal_group(group, signal.SIGKILL)
    if wish:
        processes.kill_session(os.getpid(), processes.identity(os.getpid()))


def _signal_group(group: int, number: int) -> bool:
    """Whether there was somebody to signal."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False
