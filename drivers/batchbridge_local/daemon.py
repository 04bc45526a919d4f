"""The supervisor as a process: detached, alone in its spool, and announced to its starter."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from batchbridge_local import processes
from batchbridge_local.retention import Keep
from batchbridge_local.spool import Refused, Spool
from batchbridge_local.supervisor import Supervisor

PATIENCE = 10.0
"""Seconds that another supervisor may take to start or to leave."""

_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)  # Python itself ignores these


def main() -> None:
    """Detach, and serve the spool named by the arguments: root, and how long jobs are kept."""
    root, keep = sys.argv[1:]
    if os.fork():
        os._exit(0)
    os.setsid()
    _plain_signals()
    spool = Spool(Path(root))
    try:
        spool.open()
    except Refused as error:
        sys.exit(str(error))
    if not _lock(spool):
        return _ready()
    supervisor = Supervisor(spool, Keep(**json.loads(keep)))
    _ready()
    return supervisor.serve()


def _plain_signals() -> None:
    """Undo what the launcher ignored or blocked: nohup is not meant for the jobs."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, *_PYTHONS}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _lock(spool: Spool) -> bool:
    """Take the spool's lock; False where another supervisor holds it and listens, or hangs."""
    # A record lock: unlike flock's, the runners that we fork do not inherit it.
    fd = os.open(spool.lock, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if spool.wake():
                return False
            time.sleep(0.005)  # it is starting or leaving
        else:
            _note_pid(fd)
            return True
    return False


def _note_pid(fd: int) -> None:
    pid = os.getpid()
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.write(fd, json.dumps({"pid": pid, "identity": processes.identity(pid)}).encode())


def _ready() -> None:
    """Tell the starter, who reads our stdout, that somebody listens."""
    os.write(1, b"ready\n")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.close(quiet)
