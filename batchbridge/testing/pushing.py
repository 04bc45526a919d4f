"""The watch contract, for drivers that declare ``push``."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from batchbridge.errors import CursorExpired
from batchbridge.model import Batch, JobRef, JobState, Scope
from batchbridge.states import Record, fold
from batchbridge.testing.needs import needs
from batchbridge.testing.probes import Probes
from batchbridge.testing.rig import Driver, Rig

Item = Batch | Exception | None


class Watching:
    """A watch that is read in a thread of its own, as the hub does; None marks its end."""

    def __init__(
        self, driver: Driver, scope: Scope, cursor: str | None, known: Callable[[], list[str]]
    ) -> None:
        self.items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.cursor = cursor
        self.records: dict[str, Record] = {}
        self._stop = threading.Event()
        # A daemon: a watch that never lets go fails its test, and would keep pytest from ending.
        self._thread = threading.Thread(
            target=self._run, args=(driver, scope, cursor, known), daemon=True
        )
        self._thread.start()

    def _run(self, driver: Driver, scope: Scope, cursor: str | None, known: Any) -> None:
        try:
            batches: Any = driver.watch(scope, cursor, known)
            for batch in batches:
                self.items.put(batch)
                if self._stop.is_set():
                    break
            batches.close()
        except Exception as error:
            self.items.put(error)
        self.items.put(None)

    def next(self, patience: float) -> Batch:
        """The next batch; fails the test when none comes, raises what the watch raised."""
        try:
            item = self.items.get(timeout=patience)
        except queue.Empty:
            pytest.fail(f"no batch for {patience:g} s: an empty one is due each second")
        if isinstance(item, Exception):
            raise item
        assert item is not None, "the watch ended by itself"
        self.cursor = self.cursor if item.cursor is None else item.cursor
        for said in item.observations:
            record = self.records.get(said.id) or Record(said.id)
            self.records[said.id], _ = fold(record, said)
        return item

    def until(self, holds: Callable[[], bool], patience: float) -> None:
        """Read on until `holds`."""
        deadline = time.monotonic() + patience
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"the stream did not tell it in {patience:g} s")
            self.next(patience)

    def close(self, patience: float) -> None:
        """Stop reading; the watch must let go within `patience` seconds."""
        self._stop.set()
        self._thread.join(patience)
        assert not self._thread.is_alive(), f"the watch is not closed after {patience:g} s"


class Pushing:
    """A stream tells what happens, and tells where it can be resumed."""

    @pytest.fixture
    def watching(self, rig: Rig) -> Iterator[Callable[..., Watching]]:
        """Begins watches, and ends them with the test."""
        begun: list[Watching] = []

        def begin(ref: JobRef, cursor: str | None = None) -> Watching:
            def known() -> list[str]:
                return [one.id for one in rig.refs]

            begun.append(Watching(rig.driver, ref.scope, cursor, known))
            return begun[-1]

        yield begin
        for one in begun:
            one.close(rig.patience)

    @needs("push")
    def test_first_batch_means_subscribed(
        self, rig: Rig, probes: Probes, watching: Callable[..., Watching]
    ) -> None:
        """Nothing that happens after the first batch is missed, whatever job it happens to."""
        watch = watching(rig.submit(probes.exits(0)))
        watch.next(rig.patience)
        ref = rig.submit(probes.exits(3))
        watch.until(lambda: _over(watch, ref), rig.patience)
        record = watch.records[ref.id]
        assert (record.state, record.exit_code) == (JobState.FAILED, 3)

    @needs("push")
    def test_silence_is_filled(
        self, rig: Rig, probes: Probes, watching: Callable[..., Watching]
    ) -> None:
        """While nothing happens, empty batches come, so that the reader may do other things."""
        rig.running(ref := rig.submit(probes.sleeps(600)))
        watch = watching(ref)
        for _ in range(3):
            watch.next(min(rig.patience, 10.0))

    @needs("push")
    def test_closing_is_prompt(
        self, rig: Rig, probes: Probes, watching: Callable[..., Watching]
    ) -> None:
        """A watch that is closed at a silent moment lets go of its thread."""
        rig.running(ref := rig.submit(probes.sleeps(600)))
        watch = watching(ref)
        watch.next(rig.patience)
        watch.close(min(rig.patience, 10.0))

    @needs("push")
    def test_resuming(self, rig: Rig, probes: Probes, watching: Callable[..., Watching]) -> None:
        """From a cursor on nothing is missed that happened while nobody watched."""
        first = rig.submit(probes.sleeps(600))
        watch = watching(first)
        watch.next(rig.patience)
        done = rig.submit(probes.exits(0))
        watch.until(lambda: _over(watch, done), rig.patience)
        watch.close(rig.patience)
        assert watch.cursor is not None, "no cursor was given"
        missed = rig.submit(probes.exits(3))
        rig.ended(missed)
        resumed = watching(first, watch.cursor)
        resumed.until(lambda: _over(resumed, missed), rig.patience)
        assert resumed.records[missed.id].exit_code == 3

    @needs("push")
    def test_a_cursor_that_leads_nowhere(
        self, rig: Rig, probes: Probes, watching: Callable[..., Watching]
    ) -> None:
        """A cursor that the engine does not have any more is CursorExpired."""
        watch = watching(rig.submit(probes.exits(0)), "99999999999999")
        with pytest.raises(CursorExpired):
            watch.next(rig.patience)

    @needs("push")
    def test_stream_and_snapshot_agree(
        self, rig: Rig, probes: Probes, watching: Callable[..., Watching]
    ) -> None:
        """One record, fed by both, ends as either says."""
        watch = watching(rig.submit(probes.exits(0)))
        watch.next(rig.patience)
        ref = rig.submit(probes.exits(3))
        watch.until(lambda: _over(watch, ref), rig.patience)
        told, _ = watch.records[ref.id], rig.ended(ref)
        for said in rig.told(ref):
            told, changes = fold(told, said)
            assert not changes
        alone = rig.records[ref.id]
        assert (told.state, told.attempt, told.exit_code) == (alone.state, alone.attempt, 3)


def _over(watch: Watching, ref: JobRef) -> bool:
    """Whether the stream alone has told an ending."""
    record = watch.records.get(ref.id)
    return record is not None and (record.terminal or record.settling)
