"""What a client owes an engine: to ask for the ends of jobs, and to release what is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

from batchbridge.backoff import PATIENCE, Backoff
from batchbridge.driver import BatchDriver
from batchbridge.errors import of_driver
from batchbridge.model import JobRef

log = logging.getLogger("batchbridge")


class Duties:
    """What is still to be asked for the jobs of one scope. Safe from several threads.

    Nothing is asked until :meth:`ask`; what fails then is kept for the next time.
    """

    def __init__(self, driver: BatchDriver[Any]) -> None:
        self.backoff = Backoff()
        self._driver = driver
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._ends: dict[JobRef, str] = {}
        self._over: set[JobRef] = set()

    def end(self, ref: JobRef, reason: str) -> None:
        """The engine is to end this job."""
        with self._lock:
            self._ends[ref] = reason

    def release(self, ref: JobRef) -> None:
        """This job is over: the engine is to let go of what it kept for it."""
        with self._lock:
            self._over.add(ref)

    def forget(self, ref: JobRef) -> None:
        """Nothing is to be asked for this job: it is over, and its id another's by now."""
        with self._lock:
            self._ends.pop(ref, None)
            self._over.discard(ref)

    @property
    def ends(self) -> bool:
        """There are jobs to end."""
        return bool(self._ends)

    @property
    def releases(self) -> bool:
        """There are jobs to release."""
        return bool(self._over)

    def ask(self) -> None:
        """Ask for all of it, whatever of it fails; then raise the first failure.

        One thread at a time, so that whoever closes waits for what is under way.
        """
        with self._asking:
            problems = [*self._cancel(), *self._release()]
            if problems:
                raise problems[0]
            self.backoff.succeeded()

    def failed(self, error: Exception) -> None:
        """Note that :meth:`ask` has raised this; tell the user of a lasting failure, once."""
        problem = of_driver(self._driver.name, error)
        self.backoff.failed(problem)
        if self.backoff.failures == PATIENCE:
            text = "%s does not hear that jobs are to end, or have; trying on: %s"
            log.warning(text, self._driver.name, problem)

    def flush(self) -> None:
        """Ask now, for the last time: nobody will watch any more."""
        try:
            self.ask()
        except Exception as error:
            log.warning("%s was not told of jobs' ends: %s", self._driver.name, error)

    def _cancel(self) -> Iterator[Exception]:
        """One call for each reason."""
        with self._lock:
            ends, self._ends = self._ends, {}
        for reason in sorted(set(ends.values())):
            refs = [ref for ref, why in ends.items() if why == reason]
            try:
                self._driver.cancel(refs, reason=reason)
            except Exception as error:
                with self._lock:
                    self._ends = {**dict.fromkeys(refs, reason), **self._ends}
                yield error

    def _release(self) -> Iterator[Exception]:
        with self._lock:
            over, self._over = self._over, set()
        if not over or type(self._driver).release is BatchDriver.release:
            return
        try:
            self._driver.release(sorted(over, key=lambda ref: ref.id))
        except Exception as error:
            with self._lock:
                self._over |= over
            yield error
