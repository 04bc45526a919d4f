"""What was started for one Armada, kept from the first process on, so that ``down`` finds all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import msgspec

from localdev.common import Failed, is_free
from localdev.processes import ServerProcess

MARKS = ("stack.json", "logs")
"""What a directory of ours has in it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and where it is run."""

    words: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stack:
    """One Armada, or the beginning of one."""

    kind: str  #: what ``up`` was asked for
    version: str  #: of the checkout
    address: str  #: of the server's gRPC
    binoculars: str  #: of the logs; empty: there are none
    queue: str
    kubeconfig: str = ""  #: of the Kubernetes that has its pods; empty: none, or mage knows
    processes: Mapping[str, ServerProcess] = field(default_factory=dict)  #: in order of start
    folders: tuple[str, ...] = ()  #: what it keeps elsewhere
    endings: tuple[Command, ...] = ()  #: what ``down`` runs besides
    containers: Command | None = None  #: what tells their output; None: all are processes
    ready: bool = False

    def __str__(self) -> str:
        return f"Armada {self.version} ({self.kind}) at {self.address}, queue {self.queue}"

    def dead(self) -> list[str]:
        """The names of processes that have ended."""
        return [name for name, process in self.processes.items() if process.find() is None]

    def whole(self) -> bool:
        """Whether it was ready and all of it runs: of containers, whether the server listens."""
        if self.containers:
            return self.ready and not is_free(int(self.address.rpartition(":")[2]))
        return self.ready and not self.dead()


class Keeper:
    """The stack that is being started, written down at every step."""

    def __init__(self, state: Path, stack: Stack) -> None:
        self.state = state
        self.stack = stack

    @classmethod
    def new(cls, state: Path, stack: Stack) -> Self:
        """One that begins with an empty directory. Failed where there can be none."""
        shutil.rmtree(state, ignore_errors=True)
        keeper = cls(state, stack)
        try:
            for folder in (state, keeper.logs):
                folder.mkdir(mode=0o700)
        except OSError as error:
            raise Failed(f"{state} cannot be made: {error.strerror}") from error
        keeper.update()
        return keeper

    @property
    def logs(self) -> Path:
        """Where each process has a file of its own."""
        return self.state / "logs"

    def start(
        self,
        name: str,
        words: Sequence[str],
        env: Mapping[str, str],
        *,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        """Start a process of the stack."""
        log = self.logs / f"{name}.log"
        process = ServerProcess.start(words, env, log, cwd=cwd, user=user)
        self.update(processes={**self.stack.processes, name: process})

    def update(self, **changes: object) -> None:
        """Note what has changed."""
        self.stack = replace(self.stack, **changes)  # type: ignore[arg-type]
        temporary = self.state / "stack.new"
        temporary.write_bytes(msgspec.json.encode(self.stack))
        temporary.replace(self.state / "stack.json")


def load(state: Path) -> Stack | None:
    """What was started for `state`, whether or not it still runs."""
    try:
        return msgspec.json.decode((state / "stack.json").read_bytes(), type=Stack)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
