"""A server that outlives the command that starts it, and is found again by pid *and* start time."""

from __future__ import annotations

import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

GRACE = 10.0
"""Seconds between asking a server to end and ending it."""


def as_user(name: str | None) -> dict[str, Any]:
    """What subprocess must be told to run something as that user; None: as who we are."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """One process: a pid alone may have been given to another one since."""

    pid: int
    started: float  #: as psutil tells it

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> ServerProcess:
        """Start `command` in a session of its own, with `env` alone and all its output in `log`."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                **as_user(user),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(child.pid, psutil.Process(child.pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, while it runs."""
        try:
            process = psutil.Process(self.pid)
            same = process.create_time() == self.started
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def stop(self, *, within: float = GRACE) -> None:
        """End it and whatever it started; after `within` seconds with SIGKILL."""
        leader = self.find()
        if leader is None:
            return
        family = [leader, *leader.children(recursive=True)]
        leader.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=within)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=GRACE)
