"""How this machine is used: the two data classes that become flags, profile keys and docs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import psutil

from batchbridge.driver import Duration, Size, setting


def default_root() -> str:
    """The spool of this user."""
    return str(platformdirs.user_state_path("batchbridge", appauthor=False) / "spool")


def _cores() -> float:
    return float(os.cpu_count() or 1)


def _memory() -> int:
    return int(psutil.virtual_memory().total)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Where the spool is, what its jobs may take together, and how long they are kept.

    The bounds are those of the submitter: a job starts once it fits within them beside whatever
    runs. `keep_for` and `keep_size` are those of whoever started the supervisor.
    """

    root: str = setting(
        factory=default_root, address=True, help="spool directory, on a disk of this machine"
    )
    max_cpu: float = setting(
        factory=_cores, help="cores that all running jobs may ask for together"
    )
    max_memory: Size = setting(
        factory=_memory, help="memory that all running jobs may ask for together"
    )
    grace: Duration = setting(10.0, help="time between SIGTERM and SIGKILL", inert=True)
    keep_for: Duration = setting(30 * 86400.0, help="time after which a finished job is removed")
    keep_size: Size = setting(
        10 << 30, help="bytes on disk after which the oldest finished jobs are removed"
    )

    def __post_init__(self) -> None:
        # it stands in references, which are read in other directories
        object.__setattr__(self, "root", str(Path(self.root).expanduser().absolute()))
        for name in ("max_cpu", "max_memory", "keep_for"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0")
        for name in ("grace", "keep_size"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative")
