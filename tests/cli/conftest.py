"""The command line on this machine's engine, in a world of its own: its own home and spool."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import subprocess
import sys
import termios
import time
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from batchbridge.cli import cli

PATIENCE = 30.0


class Line:
    """The command line in this process; its exit code is always checked."""

    def __call__(self, *args: str, code: int = 0, input: str | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(arg) for arg in args], input=input)
        shown = f"{result.exit_code}\n{result.stdout}\n{result.stderr}"
        assert result.exit_code == code, shown
        assert "Traceback" not in result.stderr, shown
        return result

    def debug(self, *args: str) -> Result:
        return CliRunner().invoke(cli, ["--debug", *args])

    def submit(self, *args: str) -> str:
        """The reference of a job that was submitted."""
        return self("submit", *args).stdout.strip()

    def json(self, *args: str, code: int = 0) -> list[dict]:
        return [json.loads(line) for line in self(*args, "--json", code=code).stdout.splitlines()]

    def ended(self, *args: str) -> str:
        """The reference of a job that has ended."""
        ref = self.submit(*args)
        CliRunner().invoke(cli, ["wait", ref])
        return ref


class Terminal:
    """The command line as a process on a terminal of its own."""

    def __init__(self, *args: str, stdout: int | None = None) -> None:
        primary, secondary = os.openpty()
        self._primary = primary
        self.process = subprocess.Popen(
            [sys.executable, "-m", "batchbridge", *map(str, args)],
            stdin=secondary,
            stdout=secondary if stdout is None else stdout,
            stderr=secondary,
            start_new_session=True,
            preexec_fn=partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0),
        )
        os.close(secondary)
        self.seen = ""

    def expect(self, pattern: str) -> re.Match[str]:
        """What is shown next that matches; what was shown before is passed over."""
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen!r}"
            assert self._read(), f"ended without {pattern!r}: {self.seen!r}"
        self.seen = self.seen[match.end() :]
        return match

    def type(self, text: str) -> None:
        os.write(self._primary, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends the signal to all that belongs to it."""
        self.type("\x03")

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._primary)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._primary], [], [], PATIENCE)
        try:
            data = os.read(self._primary, 65536) if ready else b""
        except OSError:  # the other end is closed
            data = b""
        self.seen += data.decode(errors="replace")
        return bool(data)


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a spool and a working directory that nobody else uses."""
    for name in [name for name in os.environ if name.startswith(("BATCHBRIDGE_", "XDG_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BATCHBRIDGE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("BATCHBRIDGE_LOCAL_ROOT", str(tmp_path / "spool"))
    return tmp_path


@pytest.fixture
def bb() -> Line:
    return Line()


@pytest.fixture
def terminal():
    opened: list[Terminal] = []

    def start(*args: str, **kwargs: int) -> Terminal:
        opened.append(Terminal(*args, **kwargs))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def until(holds, patience: float = PATIENCE) -> None:
    """Wait until `holds()` is true."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
