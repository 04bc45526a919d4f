"""The threads that watch: one for each scope that streams, one for all that are polled."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from batchbridge.backoff import delays
from batchbridge.driver import BatchDriver
from batchbridge.errors import CursorExpired, UsageError
from batchbridge.ledger import NEVER, Ledger
from batchbridge.model import Scope

STREAMS = 32
"""Scopes of one engine that stream at once; further ones are polled."""

GIVE_UP = 3
"""Failures of a stream at one cursor, while snapshots are answered, that make it polled, ..."""

TRY_AGAIN = 600.0
"""... for this many seconds."""

LINGER = 30.0
"""Seconds that a thread outlives the last job it watched, so that the next need not subscribe."""


class Hub:
    """All that is watched at one engine. Threads start with the first job and end with the last."""

    def __init__(self, driver: BatchDriver[Any]) -> None:
        self.driver = driver
        self._lock = threading.Lock()
        self._ledgers: dict[Scope, Ledger] = {}
        self._pumps: dict[Scope | None, _Pump] = {}
        self._closed = False

    def ledger(self, scope: Scope) -> Ledger:
        """The ledger of that scope, made when it is missing."""
        with self._lock:
            if scope not in self._ledgers:
                self._ledgers[scope] = Ledger(self.driver, scope)
            return self._ledgers[scope]

    def pump(self, scope: Scope) -> None:
        """See to it that a thread watches that scope, and let it look now."""
        ledger = self.ledger(scope)
        with self._lock:
            if self._closed:
                raise UsageError("its client is closed, and watches no more")
            pump = self._pump_of(scope)
            pump.adopt(ledger)
        ledger.wake.set()

    def close(self) -> None:
        """Stop watching, within a second or so; not waited for. Jobs go on."""
        with self._lock:
            self._closed = True
            pumps, ledgers = list(self._pumps.values()), list(self._ledgers.values())
        for pump in pumps:
            pump.stop()
        for ledger in ledgers:
            ledger.flush()

    def _pump_of(self, scope: Scope) -> _Pump:
        room = scope in self._pumps or len(self._pumps.keys() - {None}) < STREAMS
        streams = self.driver.capabilities.push and room
        key = scope if streams else None
        if key not in self._pumps:
            self._pumps[key] = _Stream(self._retire) if streams else _Pump(self._retire)
        return self._pumps[key]

    def _retire(self, pump: _Pump) -> bool:
        """Let an idle thread end, unless a job came meanwhile."""
        with self._lock:
            if pump.busy() and not self._closed:
                return False
            self._pumps = {key: kept for key, kept in self._pumps.items() if kept is not pump}
            return True


class _Pump:
    """A thread that polls the scopes it has adopted: each when something is due there."""

    def __init__(self, retire: Callable[[_Pump], bool]) -> None:
        self._retire = retire
        self._wake = threading.Event()
        self._stopped = False
        self._ledgers: list[Ledger] = []
        self._thread: threading.Thread | None = None

    def adopt(self, ledger: Ledger) -> None:
        if ledger not in self._ledgers:
            ledger.wake = self._wake
            self._ledgers = [*self._ledgers, ledger]
        if self._thread is None or not self._thread.is_alive():  # as in a forked child
            self._thread = threading.Thread(target=self._run, name="batchbridge-pump", daemon=True)
            self._thread.start()

    def busy(self) -> bool:
        return any(ledger.busy for ledger in self._ledgers)

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._stopped:
            if self.busy():
                idle_since = time.monotonic()
                self._work()
            elif time.monotonic() - idle_since > LINGER and self._retire(self):
                return
            else:
                self._rest(LINGER / 2)

    def _work(self) -> None:
        for ledger in self._ledgers:
            ledger.do_due()
        if self.busy():
            self._rest(min(ledger.next_due() for ledger in self._ledgers))

    def _rest(self, seconds: float) -> None:
        self._wake.wait(max(seconds, 0.01))
        self._wake.clear()


class _Stream(_Pump):
    """A thread that follows one scope's stream, and polls it while the stream does not work."""

    def __init__(self, retire: Callable[[_Pump], bool]) -> None:
        super().__init__(retire)
        self._cursor: str | None = None
        self._failures = 0
        self._failed_at = NEVER
        self._again_at = 0.0
        self._pauses = delays()

    def _work(self) -> None:
        (ledger,) = self._ledgers
        if time.monotonic() < self._again_at:
            super()._work()
            return
        try:
            self._follow(ledger)
        except CursorExpired:
            self._cursor = None
            self._failed(ledger)
        except Exception as error:
            self._failed(ledger)
            ledger.stream_failed(error)
        finally:
            ledger.streaming = False
        self._reconsider(ledger)

    def _follow(self, ledger: Ledger) -> None:
        """Follow the stream until it ends or nobody waits: subscribe, snapshot, then deltas."""
        begun_at = self._cursor
        batches = ledger.driver.watch(ledger.scope, begun_at, ledger.known)
        idle_since = time.monotonic()
        with contextlib.closing(batches):  # type: ignore[type-var]
            for batch in batches:
                if not ledger.streaming:
                    ledger.streaming = True
                    ledger.reset()
                ledger.observe(batch.observations)
                if batch.cursor is not None and batch.cursor != self._cursor:
                    self._progress(batch.cursor)
                ledger.do_due()
                idle_since = time.monotonic() if ledger.busy else idle_since
                if self._stopped or time.monotonic() - idle_since > LINGER:
                    return
        if self._cursor == begun_at:  # after progress, it is the driver's way to subscribe anew
            self._failed(ledger)

    def _failed(self, ledger: Ledger) -> None:
        """Count it against the stream, unless the engine has not answered at all since the last."""
        if self._failures == 0 or ledger.answered_at > self._failed_at:
            self._failures += 1
        self._failed_at = time.monotonic()

    def _progress(self, cursor: str) -> None:
        self._cursor = cursor
        self._failures = 0
        self._pauses = delays()

    def _reconsider(self, ledger: Ledger) -> None:
        """After a stream's end: pause, and after too many ends without progress poll instead."""
        if self._stopped or self._failures == 0:
            return
        if self._failures >= GIVE_UP:
            self._failures = 0
            self._cursor = None  # what it stands on may be what the stream breaks at
            self._again_at = time.monotonic() + TRY_AGAIN
            return
        until = time.monotonic() + next(self._pauses)
        while not self._stopped and time.monotonic() < until:
            ledger.do_due()
            self._rest(min(until - time.monotonic(), max(ledger.next_due(), 0.05)))
