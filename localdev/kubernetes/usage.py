"""What a container uses, against what it may use: time, memory, disk."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from localdev.kubernetes.containers import Container, limits
from localdev.kubernetes.store import Object


@dataclass(frozen=True, slots=True)
class Overrun:
    """Why a container must end: what is said of it and of its pod, and how long it may take."""

    container: str
    pod: str
    message: str
    grace: float


def overrun(container: Container, pod: Object, resident: int) -> Overrun | None:
    """What it has overrun, if anything; `resident`: bytes of memory that it uses."""
    spec = pod["spec"]
    most = limits(spec["containers"][0])
    deadline = spec.get("activeDeadlineSeconds")
    if deadline and time.time() - container.started > deadline:
        words = "Pod was active on the node longer than the specified deadline"
        grace = spec.get("terminationGracePeriodSeconds", 30)
        return Overrun("Error", "DeadlineExceeded", words, grace)
    if "memory" in most and resident > most["memory"]:
        return Overrun("OOMKilled", "", "", 0)
    disk = most.get("ephemeral-storage")
    if disk and size(container.work) + size(container.log) > disk:
        written = spec["containers"][0]["resources"]["limits"]["ephemeral-storage"]
        words = (
            f"Pod ephemeral local storage usage exceeds the total limit of containers {written}. "
        )
        return Overrun("Error", "Evicted", words, 1)
    return None


def memory(sessions: Collection[int]) -> Counter[int]:
    """Resident bytes of all processes of each session."""
    used: Counter[int] = Counter()
    for pid in psutil.pids() if sessions else ():
        session = _session(pid)
        if session in sessions:
            used[session] += _resident(pid)
    return used


def size(path: Path) -> int:
    """Bytes of the file, or of all files below the directory."""
    return sum(_length(file) for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def _length(file: Path) -> int:
    with suppress(OSError):
        return file.lstat().st_size
    return 0


def _session(pid: int) -> int:
    with suppress(OSError):
        return os.getsid(pid)
    return 0


def _resident(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
