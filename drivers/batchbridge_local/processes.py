"""Which process is which: by pid *and* start time, because pids are used again.

Linux is asked through ``/proc``; other systems through psutil.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@cache
def boot() -> str:
    """This run of the machine; another after a restart."""
    with suppress(OSError):
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return _boot_session() or _boot_time()


def _boot_session() -> str:
    """What macOS calls it; its boot *time* moves whenever the clock is set."""
    import subprocess

    with suppress(OSError, subprocess.SubprocessError):
        ask = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        answer = subprocess.run(ask, capture_output=True, check=True, text=True, timeout=5)
        return answer.stdout.strip()
    return ""


def _boot_time() -> str:
    import psutil

    return f"{psutil.boot_time():.0f}"


def identity(pid: int) -> str:
    """That process and no later one of the same pid; empty where there is none, or a zombie."""
    if not PROC.is_dir():
        return _psutil_identity(pid)
    try:
        # The name is in parentheses and may hold any character.
        state, *rest = (PROC / f"{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return ""
    started = rest[18].decode()
    return "" if state in (b"Z", b"X") else f"{boot()}/{started}"


def _psutil_identity(pid: int) -> str:
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"{process.create_time():.2f}"
    return ""


def pids() -> Iterable[int]:
    """Every process of this machine that we can see."""
    if PROC.is_dir():
        return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    import psutil

    return psutil.pids()


def kill_session(leader: int, leader_identity: str) -> None:
    """SIGKILL whoever is left of the session that this process led, until nobody is.

    A session id is not used again while the session has members; once it is empty, a new leader
    of that pid has another identity, and nobody is touched.
    """
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and identity(leader) in ("", leader_identity):
        members = [pid for pid in _alive(os.getsid, leader) if pid != leader]
        if not members:
            return
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def group_lives(group: int) -> bool:
    """Whether a process of that group is more than a zombie."""
    return bool(_alive(os.getpgid, group))


def _alive(belongs: Callable[[int], int], to: int) -> list[int]:
    return [pid for pid in pids() if _ask(belongs, pid) == to and identity(pid)]


def _ask(belongs: Callable[[int], int], pid: int) -> int:
    try:
        return belongs(pid)
    except OSError:
        return -1


def signal_pipe(*numbers: int) -> int:
    """Let these signals be bytes in a pipe, of which the reading end is returned."""
    receive, send = os.pipe()
    for fd in (receive, send):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return receive


def oom_counter() -> Path | None:
    """The file in which the system counts OOM kills among our processes, where it tells."""
    for line in _lines(PROC / "self/cgroup"):
        _, controllers, group = line.split(":", 2)
        for file in _counters(controllers.split(","), group):
            if file.is_file():
                return file
    return None


def _counters(controllers: list[str], group: str) -> Iterable[Path]:
    inside = group.lstrip("/")
    if controllers == [""]:
        yield Path("/sys/fs/cgroup", inside, "memory.events")
    if "memory" in controllers:
        yield Path("/sys/fs/cgroup/memory", inside, "memory.oom_control")


def oom_kills(counter: Path | None) -> int:
    """What that file says now; 0 where there is none."""
    lines = _lines(counter) if counter else ()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
