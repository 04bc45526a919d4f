"""A server that outlives the command that starts it, and is found again by pid *and* start time."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
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
        _kill({*alive, *_in_session(self.pid)})  # what began meanwhile may have lost its parent


def end_all_in(directory: Path) -> None:
    """Kill every process that names a file in that directory, or holds one open, but not us.

    Their children too. For what a server left that did not end by itself.
    """
    ours = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    there = [p for p in psutil.process_iter() if p.pid not in ours and _works_in(p, directory)]
    family = {one for process in there for one in _with_children(process)}
    _kill(family)


def _kill(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=GRACE)


def _in_session(leader: int) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _session(process) == leader]


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        words = [*process.cmdline(), *(file.path for file in process.open_files())]
    except psutil.Error:
        return False
    return any(f"{directory}/" in word for word in words)


def _with_children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
