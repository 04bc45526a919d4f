"""When a step's process here must stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from metaflow_extensions.batchbridge.plugins.stops import SIGNALS, Stopped, Stops

from .conftest import DEADLINE


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_it_once(number: signal.Signals) -> None:
    with Stops(os.getppid()).watched():
        with pytest.raises(Stopped, match=number.name):
            _signalled(number)
        _signalled(number)  # it is stopping already


def _signalled(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)


def _submit(stops: Stops, answers: list[str], outcome: Exception | None = None) -> None:
    with stops.held():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)  # the handler has run by now
        if outcome is not None:
            raise outcome
        answers.append("yes")


def test_a_signal_waits_for_a_submit_to_be_answered() -> None:
    stops = Stops(os.getppid())
    answers: list[str] = []
    with stops.watched(), pytest.raises(Stopped):
        _submit(stops, answers)
    assert answers == ["yes"]


def test_a_failed_submit_keeps_its_own_error() -> None:
    stops = Stops(os.getppid())
    with stops.watched(), pytest.raises(ValueError, match="refused"):
        _submit(stops, [], ValueError("refused"))


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stops(os.getppid()).watched():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_handlers_from_before_come_back() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with Stops(os.getppid()).watched():
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


CHILD = """
import os, sys, time
from metaflow_extensions.batchbridge.plugins.stops import Stopped, Stops
try:
    with Stops(int(sys.argv[1])).watched():
        print("watching", flush=True)
        time.sleep(60)
except Stopped as stopped:
    print("stopped by", stopped, flush=True)
"""

PARENT = """
import os, subprocess, sys
python = [sys.executable, "-c"]
child = subprocess.Popen([*python, sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
subprocess.Popen([*python, "import sys; print(sys.stdin.read(), end='')"], stdin=child.stdout)
os._exit(0)
"""


def test_the_launchers_end_stops_it() -> None:
    """The launcher ends without a word; what its child says then comes by way of a third."""
    done = subprocess.run(
        [sys.executable, "-c", PARENT, CHILD], capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.stdout == "stopped by SIGTERM\n"
