"""What goes wrong between a client and an engine, on purpose: a driver around a driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

from batchbridge.driver import BatchDriver, Known
from batchbridge.errors import CursorExpired, TransportError
from batchbridge.model import (
    Absent,
    Batch,
    Check,
    Explanation,
    JobRef,
    Listed,
    LogPage,
    Receipt,
    Scope,
    Seen,
    Stream,
    Submission,
)

TIMES = 2
"""How often a fault strikes that would stop all progress if it went on."""

SPLIT = 3
"""Bytes of a page: most characters beyond ASCII are torn apart."""


class Fault(StrEnum):
    """One thing that goes wrong."""

    LOST_ACKNOWLEDGEMENT = "the engine accepted the jobs, and the answer was lost"
    CUT_STREAM = "the stream breaks when something was to be told"
    EXPIRED_CURSOR = "the stream breaks, and its cursor leads nowhere afterwards"
    SILENCE = "the stream says nothing any more"
    DUPLICATES = "all is told twice, and all of the past again"
    REORDERING = "what is told at once is told backwards"
    SPLIT_CHARACTERS = "pages of logs end inside characters"
    DOUBLE_CANCEL = "a cancel is sent twice"
    FAILING_SNAPSHOT = "every second snapshot fails"


class Faulty(BatchDriver[Any]):
    """`driver`, with these faults; :attr:`struck` counts how often each has struck.

    It has the driver's name, capabilities and settings, and is used in its place.
    """

    def __new__(cls, driver: BatchDriver[Any], *faults: Fault) -> Self:
        copied = ("name", "contract", "capabilities", "Settings", "Options")
        own = type(cls.__name__, (cls,), {name: getattr(driver, name) for name in copied})
        return object.__new__(own)

    def __init__(self, driver: BatchDriver[Any], *faults: Fault) -> None:
        super().__init__(driver.settings)
        self.driver = driver
        self.faults = frozenset(faults)
        self.struck: Counter[Fault] = Counter()
        self._past: list[Seen | Absent] = []
        self._snapshots = 0

    # -- where faults strike -----------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Hand them over; the answer may be lost after the engine has accepted them all."""
        receipts = list(self.driver.submit(submissions))
        if self._strikes(Fault.LOST_ACKNOWLEDGEMENT, times=TIMES):
            raise TransportError("the connection broke before the answer came")
        yield from receipts

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """What the driver says, told badly, or nothing at all."""
        self._snapshots += 1
        if self._snapshots % 2 and self._strikes(Fault.FAILING_SNAPSHOT):
            raise TransportError("the engine did not answer")
        return self._distorted(self.driver.snapshot(scope, known))

    def watch(self, scope: Scope, cursor: str | None, known: Known) -> Iterator[Batch]:
        """The driver's stream, told badly, until a fault breaks it."""
        if cursor is not None and self._strikes(Fault.EXPIRED_CURSOR):
            raise CursorExpired("the engine has forgotten what follows")
        batches: Any = self.driver.watch(scope, cursor, known)
        try:
            for batch in batches:
                if batch.observations and self._breaks():
                    raise TransportError("the connection broke")
                yield self._distorted(self._hushed(batch))
        finally:
            batches.close()

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Ask once, or twice."""
        self.driver.cancel(refs, reason=reason)
        if self._strikes(Fault.DOUBLE_CANCEL):
            self.driver.cancel(refs, reason=reason)

    def read_logs(
        self,
        ref: JobRef,
        attempt: int,
        stream: Stream,
        cursor: str | None,
        *,
        ended: bool,
        wait: float,
    ) -> LogPage:
        """The driver's page, or a few bytes of it."""
        if Fault.SPLIT_CHARACTERS not in self.faults:
            return self.driver.read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)
        told, _, own = (cursor or "0|").partition("|")
        page = self.driver.read_logs(ref, attempt, stream, own or None, ended=ended, wait=wait)
        return self._piece(page, int(told), own)

    # -- how they strike ---------------------------------------------------------------------

    def _strikes(self, fault: Fault, *, times: int | None = None) -> bool:
        if fault not in self.faults or self.struck[fault] == times:
            return False
        self.struck[fault] += 1
        return True

    def _breaks(self) -> bool:
        once_only = Fault.EXPIRED_CURSOR in self.faults and not self.struck[Fault.EXPIRED_CURSOR]
        return once_only or self._strikes(Fault.CUT_STREAM, times=TIMES)

    def _hushed(self, batch: Batch) -> Batch:
        if batch.observations and self._strikes(Fault.SILENCE):
            return Batch()
        return batch

    def _distorted(self, batch: Batch) -> Batch:
        told = batch.observations
        if told and self._strikes(Fault.DUPLICATES):
            self._past += told
            told = (*told, *told, *self._past)
        if len(told) > 1 and self._strikes(Fault.REORDERING):
            told = told[::-1]
        return Batch(told, batch.cursor)

    def _piece(self, page: LogPage, told: int, own: str) -> LogPage:
        """The next bytes of a page of which `told` bytes were given; `own` is where it begins."""
        data = page.data[told : told + SPLIT]
        if told + len(data) == len(page.data):
            return LogPage(data, f"0|{page.cursor}", page.eof, page.truncated and not told)
        self.struck[Fault.SPLIT_CHARACTERS] += 1
        return LogPage(data, f"{told + len(data)}|{own}", False, page.truncated and not told)

    # -- what is left alone ------------------------------------------------------------------

    def scope_of(self, submission: Submission) -> Scope:
        """The driver's."""
        return self.driver.scope_of(submission)

    def list(self, job_set: str | None, user: str | None) -> Iterable[Listed]:
        """The driver's."""
        return self.driver.list(job_set, user)

    def explain(self, ref: JobRef) -> Explanation | None:
        """The driver's."""
        return self.driver.explain(ref)

    def render(self, submission: Submission) -> Mapping[str, Any]:
        """The driver's."""
        return self.driver.render(submission)

    def hints(self, ref: JobRef) -> Mapping[str, str]:
        """The driver's."""
        return self.driver.hints(ref)

    def details(self, ref: JobRef, attempt: int) -> Mapping[str, str]:
        """The driver's."""
        return self.driver.details(ref, attempt)

    def release(self, refs: Sequence[JobRef]) -> None:
        """The driver's."""
        self.driver.release(refs)

    def purge(self, refs: Sequence[JobRef]) -> None:
        """The driver's."""
        self.driver.purge(refs)

    def cancel_set(self, scope: Scope, *, job_set: str, reason: str) -> None:
        """The driver's."""
        self.driver.cancel_set(scope, job_set=job_set, reason=reason)

    def preempt(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """The driver's."""
        self.driver.preempt(refs, reason=reason)

    def reprioritise(self, refs: Sequence[JobRef], priority: float) -> None:
        """The driver's."""
        self.driver.reprioritise(refs, priority)

    def probe(self) -> Iterable[Check]:
        """The driver's."""
        return self.driver.probe()

    def close(self) -> None:
        """Close the driver."""
        self.driver.close()
