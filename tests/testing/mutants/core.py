"""A core that concludes wrongly: the driver is correct."""

from __future__ import annotations

import time
from dataclasses import replace

from batchbridge import hub, ledger, logs, submit
from batchbridge.model import JobState, Seen
from tests.testing.mutants.registry import UNDER_FAULTS, mutant

S = JobState


@mutant(
    "the prefect integration for Armada: the watch dies with a warning",
    "cut_stream",
    "everything_at_once",
    "expired_cursor",
)
def watch_dies(monkeypatch):
    def work(self):
        (only,) = self._ledgers
        try:
            self._follow(only)
        except Exception:
            self._stopped = True

    monkeypatch.setattr(hub._Stream, "_work", work)


@mutant(
    "a watch is begun again at the cursor that has expired", "everything_at_once", "expired_cursor"
)
def cursor_is_kept(monkeypatch):
    def work(self):
        (only,) = self._ledgers
        try:
            self._follow(only)
        except Exception:
            time.sleep(0.01)

    monkeypatch.setattr(hub._Stream, "_work", work)


@mutant("no look but through the stream, once it speaks", "silence")
def stream_alone(monkeypatch):
    monkeypatch.setattr(ledger, "FULL", 1e9)


@mutant(
    "psij: a failed poll fails all jobs",
    "everything_at_once",
    "failing_snapshot",
)
def failed_poll_fails_all(monkeypatch):
    def failed(self, error):
        for job_id in self.known():
            self.observe([Seen(job_id, S.FAILED, final=True, message=str(error))])

    monkeypatch.setattr(ledger.Ledger, "failed", failed)


@mutant(
    "the last word is believed, whatever came before",
    "client_success",
    *UNDER_FAULTS,
)
def last_word(monkeypatch):
    def fold(record, said):
        before = replace_record(record)
        return _fold(before, replace(said, seq=None) if isinstance(said, Seen) else said)

    _fold = ledger.fold

    def replace_record(record):
        kept = type(record)(record.id, intent=record.intent, submitted_at=record.submitted_at)
        return record if record.state is None else kept

    monkeypatch.setattr(ledger, "fold", fold)


@mutant("a short page is taken for the last", "everything_at_once", "split_characters")
def short_page_is_last(monkeypatch):
    page = logs._Reader.page

    def short(self, *, wait):
        got = page(self, wait=wait)
        self.eof = self.eof or 0 < len(got.data) < 100
        return got

    monkeypatch.setattr(logs._Reader, "page", short)


@mutant("a lost answer is a submit that never was", "lost_acknowledgement")
def submits_anew(monkeypatch):
    monkeypatch.setattr(submit, "TRIES", 1)
