"""The command line, in this process and with nothing of the user's."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager

from click.testing import CliRunner

from batchbridge.cli import cli


@contextmanager
def commands(monkeypatch, place, address, queue):
    """``bb("submit", …, code=2, token="t")``: settings of a call are words of it."""
    for name in [name for name in os.environ if name.startswith(("BATCHBRIDGE_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("BATCHBRIDGE_STATE_DIR", str(place / "state"))
    monkeypatch.setenv("BATCHBRIDGE_ARMADA_ADDRESS", address)
    monkeypatch.setenv("BATCHBRIDGE_ARMADA_QUEUE", queue)

    def bb(*words, code=0, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"BATCHBRIDGE_ARMADA_{name.upper()}", value)
        result = CliRunner().invoke(cli, [str(word) for word in words])
        shown = f"{result.exit_code}\n{result.stdout}\n{result.stderr}"
        assert result.exit_code == code, shown
        assert "Traceback" not in result.stderr, shown
        return result

    yield bb
    deadline = time.monotonic() + 30
    while left := [t.name for t in threading.enumerate() if "batchbridge" in t.name]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def submitted(bb, *words, code, **settings):
    """What a submit says on stderr: the problem, and the remedy."""
    job = ("submit", "--backend", "armada", "--image", "busybox", *words, "--", "true")
    result = bb(*job, code=code, **settings)
    assert not result.stdout
    problem, remedy = result.stderr.strip().splitlines()
    assert problem.startswith("error: ")
    assert remedy.startswith("  → ")
    return problem, remedy
