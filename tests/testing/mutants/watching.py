"""What a stream tells."""

from __future__ import annotations

import time
from dataclasses import replace

from batchbridge.model import Batch
from tests.testing.mutants.registry import UNDER_FAULTS, mutant
from tests.testing.reference import ReferenceDriver


@mutant(
    "the first batch is sent before the engine was asked",
    "first_batch_means_subscribed",
    "resuming",
    "stream_and_snapshot_agree",
)
class SubscribesLate(ReferenceDriver):
    def watch(self, scope, cursor, known):
        if cursor is None:
            yield Batch(cursor="0")
            time.sleep(0.3)
        yield from super().watch(scope, cursor, known)


@mutant(
    "python-nomad: blocked in the read while nothing happens",
    "closing_is_prompt",
    "silence_is_filled",
    perhaps_by={
        "first_batch_means_subscribed",
        "resuming",
        "stream_and_snapshot_agree",
        *UNDER_FAULTS,
    },
    patience=5.0,
)
class NoHeartbeat(ReferenceDriver):
    def watch(self, scope, cursor, known):
        for batch in super().watch(scope, cursor, known):
            if batch.observations or batch.cursor != cursor:
                yield batch
            cursor = batch.cursor


@mutant(
    "Nomad starts at the closest index that it has, and says nothing", "a_cursor_that_leads_nowhere"
)
class ClosestCursor(ReferenceDriver):
    def watch(self, scope, cursor, known):
        end = self.told(0)[1]
        yield from super().watch(scope, cursor and str(min(int(cursor), end)), known)


@mutant("a watch begins now, wherever it had been", "resuming")
class ResumesNow(ReferenceDriver):
    def watch(self, scope, cursor, known):
        if cursor and int(cursor) < 1e9:
            cursor = None
        yield from super().watch(scope, cursor, known)


@mutant(
    "the stream and the query have different words for one end",
    "first_batch_means_subscribed",
    "resuming",
    "stream_and_snapshot_agree",
    perhaps_by={"client_failure", "client_many", *UNDER_FAULTS},
)
class StreamDiffers(ReferenceDriver):
    def watch(self, scope, cursor, known):
        for batch in super().watch(scope, cursor, known):
            yield replace(batch, observations=tuple(map(self.shift, batch.observations)))

    def shift(self, one):
        return replace(one, exit_code=one.exit_code + 1) if one.exit_code else one
