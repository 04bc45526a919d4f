"""A server's processes: all of them end with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from localdev.processes import ServerProcess

BEGINS_ANOTHER = """
trap 'sleep 600 & echo $! > another; exit' TERM
touch ready
while :; do sleep 0.05; done
"""


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_what_a_server_begins_while_it_is_told_to_end_ends_too(tmp_path: Path) -> None:
    words = ("/bin/sh", "-c", BEGINS_ANOTHER)
    server = ServerProcess.start(words, os.environ, tmp_path / "log", cwd=tmp_path)
    await_file(tmp_path / "ready")
    server.stop()
    assert server.find() is None
    another = int((tmp_path / "another").read_text())
    assert not psutil.pid_exists(another) or is_zombie(another)


def is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
