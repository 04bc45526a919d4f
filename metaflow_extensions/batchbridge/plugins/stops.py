"""When a step's process here must stop: a signal, or the end of the launcher."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EVERY = 0.2
"""Seconds between two looks at the launcher."""


class Stopped(BaseException):
    """Not an Exception: nothing between the wait and its end may swallow it."""


class Stops:
    """Raises Stopped in the main thread, once, at the first reason to stop."""

    def __init__(self, launcher: int) -> None:
        self._launcher = launcher
        self._held = False
        self._reason: str | None = None
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for signals, and for the launcher, as long as the block runs."""
        heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup's choice
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        threading.Thread(target=self._watch_launcher, daemon=True).start()
        try:
            yield
        finally:
            self._over.set()
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a submit come to its answer first; what came meanwhile is raised at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._reason is not None:
            raise Stopped(self._reason)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._reason is not None:
            return  # the job is being ended already
        self._reason = signal.Signals(number).name
        if not self._held:
            raise Stopped(self._reason)

    def _watch_launcher(self) -> None:
        # The launcher is this process's parent. A parent's end changes getppid() at once, and no
        # process can come to be called by its id while this one is still its child.
        while not self._over.wait(EVERY):
            if os.getppid() != self._launcher:
                os.kill(os.getpid(), signal.SIGTERM)
                return
