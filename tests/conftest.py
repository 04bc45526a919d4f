"""What every test may use: an S3 server, started for the first test that asks and then shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest

from localdev.s3_server import Running, environment, load

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("batchbridge", deadline=None)
hypothesis.settings.load_profile("batchbridge")

_STATE = "BATCHBRIDGE_TEST_S3_STATE"  # where it is kept; xdist's workers inherit it


def _localdev_s3(*arguments: str) -> None:
    command = [sys.executable, "-m", "localdev.s3_server", "--state", os.environ[_STATE]]
    root = Path(__file__).parents[1]
    done = subprocess.run([*command, *arguments], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        os.environ[_STATE] = f"{tempfile.gettempdir()}/batchbridge-s3-{uuid4().hex}/s3"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    running = load(Path(os.environ[_STATE]))
    if running:
        terminalreporter.write_line(f"S3 in these tests: {running.flavour}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_worker(config):
        above = Path(os.environ[_STATE]).parent
        if above.exists():
            _localdev_s3("down")
            above.rmdir()


@pytest.fixture(scope="session", autouse=True)
def hearing() -> None:
    """Hear the signals that what runs the tests, nohup or a shell's `&`, may have had ignored.

    Here, and not between fork and exec: what runs there in a process with gRPC's threads may die.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


@pytest.fixture(scope="session")
def s3_server() -> Running:
    """A running S3 server with a bucket: LocalStack if it is installed, else moto's."""
    _localdev_s3("up", "--port", "0", "--bucket", "batchbridge-tests", "--no-install")
    running = load(Path(os.environ[_STATE]))
    assert running is not None
    return running


@pytest.fixture
def s3(s3_server: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The same, with the environment of this process and its children set to use it."""
    for name, value in environment(s3_server).items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return s3_server
