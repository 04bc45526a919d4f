"""What the tests of ``localdev/armada`` share: stand-ins on the PATH, and what came of them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localdev.armada_state import load
from localdev.common import free_port
from tests.localdev.armada_stand_ins import NOTES

REPO = Path(__file__).parents[2]
SCRIPT = REPO / "localdev" / "armada"
STAND_IN = """#!/bin/sh
PYTHONPATH={repo}:{repo}/drivers exec {python} -m tests.localdev.armada_stand_ins {name} "$@"
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def stand_in(folder: Path, *names: str) -> Path:
    """A directory with programs of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        program = folder / name
        program.write_text(STAND_IN.format(repo=REPO, python=sys.executable, name=name))
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place whose ``bin`` is the PATH, with the shell's own programs and no other."""
    os_programs = tmp_path / "os"
    os_programs.mkdir()
    for name in ("sh", "dirname", "git", "env", "true"):  # true: the job that is tried first
        (os_programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os_programs}")
    monkeypatch.setenv(NOTES, str(tmp_path / "notes"))
    monkeypatch.setenv("PULSAR_HOME", str(tmp_path / "pulsar"))
    (tmp_path / "notes").touch(0o666)
    return tmp_path


@pytest.fixture
def armada(home: Path) -> Iterator[Run]:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [SCRIPT, "--state", home / "state" / "armada", *words]
        env = {**os.environ, "PYTHON": sys.executable}
        return subprocess.run(
            [str(word) for word in command], env=env, capture_output=True, text=True, timeout=300
        )

    yield run
    run("down")


@pytest.fixture
def checkout(home: Path) -> Path:
    """A checkout of an Armada that has dev.go, whose server has a port of its own."""
    checkout = home / "checkout"
    config = checkout / "_local" / "server" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(f"grpcPort: {free_port()}\n")
    (checkout / "magefiles").mkdir()
    (checkout / "magefiles" / "dev.go").touch()
    return checkout


def notes(home: Path) -> list[str]:
    """How the stand-ins were called."""
    return (home / "notes").read_text().splitlines()


def processes(home: Path) -> dict[str, int]:
    """The pids of what was started."""
    stack = load(home / "state" / "armada")
    assert stack is not None
    return {name: process.pid for name, process in stack.processes.items()}
