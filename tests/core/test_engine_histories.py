"""What a correct driver tells of each thing that Nomad and Armada do, and what must come of it.

Nomad's driver numbers attempts (allocations) and has no order beyond that; Armada's orders what it
says (the stream's message ids) and counts nothing, and its status query has no order at all.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from batchbridge.model import Cause, Intent, JobState, Observation
from batchbridge.states import Record

from .histories import absents, seen, ticks, told

S, C = JobState, Cause


class Row(NamedTuple):
    what: str
    history: list[Observation]
    state: JobState
    attempt: int = 1
    cause: Cause | None = None
    exit_code: int | None = None
    signal: int | None = None
    terminal: bool = True


def _facts(record: Record) -> tuple[object, ...]:
    facts = (record.state, record.attempt, record.cause, record.exit_code, record.signal)
    return (*facts, record.terminal)


START = [seen(S.SUBMITTED), seen(S.PENDING, 1, node="n1"), seen(S.RUNNING, 1, node="n1")]
SECOND = [seen(S.PENDING, 2, node="n2"), seen(S.RUNNING, 2, node="n2")]
SETTLED = ticks(0, 10, 20, 30)


def _nomad_ends(state: JobState, **facts) -> list[Observation]:
    return [*START, seen(state, 1, final=True, **facts)]


NOMAD = [
    Row("success", _nomad_ends(S.SUCCEEDED, exit_code=0), S.SUCCEEDED, exit_code=0),
    Row("exit 3", _nomad_ends(S.FAILED, exit_code=3), S.FAILED, 1, C.EXIT_CODE, 3),
    Row("kill -9", _nomad_ends(S.FAILED, signal=9), S.FAILED, 1, C.SIGNAL, None, 9),
    Row("OOM", _nomad_ends(S.FAILED, cause=C.OOM, signal=9), S.FAILED, 1, C.OOM, None, 9),
    Row(
        "missing command",
        [*START[:2], seen(S.FAILED, 1, cause=C.START_ERROR, final=True)],
        S.FAILED,
        cause=C.START_ERROR,
    ),
    Row(
        "image pull refused",
        [*START[:2], seen(S.FAILED, 1, cause=C.IMAGE, final=True)],
        S.FAILED,
        cause=C.IMAGE,
    ),
    Row(
        "unknown key of the task driver's config",
        [START[0], seen(S.FAILED, 1, cause=C.SPEC, final=True)],
        S.FAILED,
        cause=C.SPEC,
    ),
    Row("template waits", [*START[:2], *SETTLED], S.PENDING, terminal=False),
    Row(
        "too much memory",
        [START[0], seen(S.QUEUED, 1, message="memory exhausted on 3 nodes"), *SETTLED],
        S.QUEUED,
        terminal=False,
    ),
    Row("capacity frees", [START[0], seen(S.QUEUED, 1), *START[1:]], S.RUNNING, terminal=False),
    Row("deregister running", _nomad_ends(S.CANCELLED), S.CANCELLED, cause=C.CANCELLED),
    Row(
        "deregister before placement",
        [START[0], seen(S.QUEUED, 1), seen(S.CANCELLED, final=True)],
        S.CANCELLED,
        cause=C.CANCELLED,
    ),
    Row(
        "purged while running, by us",
        [*START, Intent(C.CANCELLED, 0.0), *absents(0, 10, 70)],
        S.CANCELLED,
        cause=C.CANCELLED,
    ),
    Row("purged by another", [*START, *absents(0, 10, 70)], S.LOST, cause=C.UNKNOWN),
    Row(
        "alloc stop: a new allocation starts",
        [*START, seen(S.FAILED, 1, cause=C.EVICTED), *ticks(0, 10), *SECOND],
        S.RUNNING,
        2,
        terminal=False,
    ),
    Row(
        "drained, no replacement",
        [*START, seen(S.FAILED, 1, cause=C.EVICTED, signal=2), *SETTLED],
        S.FAILED,
        1,
        C.EVICTED,
        signal=2,
    ),
    Row(
        "preempted, and run again",
        [
            *START,
            seen(S.FAILED, 1, cause=C.PREEMPTED),
            *ticks(0),
            seen(S.QUEUED, 2),
            *SETTLED,
            *SECOND,
            seen(S.SUCCEEDED, 2, exit_code=0, final=True),
        ],
        S.SUCCEEDED,
        2,
        exit_code=0,
    ),
    Row(
        "client killed, replaced, and back again",
        [
            *START,
            seen(S.FAILED, 1, cause=C.NODE_LOST),
            *SECOND,
            seen(S.RUNNING, 1),
            seen(S.FAILED, 1, cause=C.EVICTED, exit_code=137),
        ],
        S.RUNNING,
        2,
        terminal=False,
    ),
    Row(
        "client killed, not replaced, and back again",
        [
            *START,
            seen(S.FAILED, 1, cause=C.NODE_LOST),
            *ticks(0, 20),
            seen(S.FAILED, 1, cause=C.EVICTED, exit_code=137),
            *ticks(30),
        ],
        S.FAILED,
        1,
        C.NODE_LOST,
        137,
    ),
    Row(
        "disconnected, and reconnected",
        [*START, seen(S.RUNNING, 1, message="disconnected"), seen(S.RUNNING, 1), *SETTLED],
        S.RUNNING,
        terminal=False,
    ),
    Row(
        "restarted twice, then given up",
        [
            *START,
            seen(S.FAILED, 1, exit_code=1),
            *SECOND,
            seen(S.FAILED, 2, exit_code=1),
            seen(S.RUNNING, 3),
            seen(S.FAILED, 3, exit_code=7, final=True),
        ],
        S.FAILED,
        3,
        C.EXIT_CODE,
        7,
    ),
    Row(
        "max_run_duration",
        _nomad_ends(S.FAILED, cause=C.TIMEOUT, exit_code=143),
        S.FAILED,
        1,
        C.TIMEOUT,
        143,
    ),
    Row(
        "collected before its ending was final",
        [*START, seen(S.FAILED, 1, exit_code=3), *absents(0, 10, 70)],
        S.FAILED,
        1,
        C.EXIT_CODE,
        3,
    ),
]

SENT = [seen(S.SUBMITTED, seq=0), seen(S.QUEUED, seq=1)]
RUN = [seen(S.LEASED, seq=2), seen(S.PENDING, seq=3), seen(S.RUNNING, seq=4, node="n1")]
RERUN = [seen(S.LEASED, seq=6), seen(S.PENDING, seq=7), seen(S.RUNNING, seq=8, node="n2")]
WHOLE = [*SENT, *RUN, seen(S.SUCCEEDED, seq=5, exit_code=0, final=True)]

ARMADA = [
    Row("typical", WHOLE, S.SUCCEEDED, exit_code=0),
    Row("delivered twice", [*WHOLE, *WHOLE], S.SUCCEEDED, exit_code=0),
    Row("resumed from the start while it runs", WHOLE[:4] + WHOLE, S.SUCCEEDED, exit_code=0),
    Row("a fast pod", [*SENT, *RUN[:2], WHOLE[-1]], S.SUCCEEDED, exit_code=0),
    Row(
        "pending, then failed",
        [*SENT, *RUN[:2], seen(S.FAILED, seq=5, cause=C.IMAGE, final=True)],
        S.FAILED,
        cause=C.IMAGE,
    ),
    Row(
        "failed",
        [*SENT, *RUN, seen(S.FAILED, seq=5, exit_code=3, final=True)],
        S.FAILED,
        1,
        C.EXIT_CODE,
        3,
    ),
    Row(
        "out of memory",
        [*SENT, *RUN, seen(S.FAILED, seq=5, cause=C.OOM, exit_code=137, final=True)],
        S.FAILED,
        1,
        C.OOM,
        137,
    ),
    Row(
        "failed retryable, next event is leased",
        [*SENT, *RUN, seen(S.FAILED, seq=5, exit_code=3, again=True), *RERUN],
        S.RUNNING,
        2,
        terminal=False,
    ),
    Row(
        "lease returned, then run elsewhere",
        [
            *SENT,
            *RUN[:2],
            seen(S.FAILED, seq=5, cause=C.START_ERROR, again=True),
            *RERUN,
            seen(S.SUCCEEDED, seq=9, exit_code=0, final=True),
        ],
        S.SUCCEEDED,
        2,
        exit_code=0,
    ),
    Row(
        "lease returned with fail fast",
        [*SENT, *RUN[:2], seen(S.FAILED, seq=5, cause=C.START_ERROR, final=True)],
        S.FAILED,
        cause=C.START_ERROR,
    ),
    Row(
        "preempted, and the failure that follows",
        [
            *SENT,
            *RUN,
            seen(S.FAILED, seq=5, cause=C.PREEMPTED),
            seen(S.FAILED, seq=6, message="preempted by 01j", final=True),
        ],
        S.FAILED,
        cause=C.PREEMPTED,
    ),
    Row(
        "running arrives after cancelled",
        [*SENT, seen(S.CANCELLED, seq=2, final=True), seen(S.RUNNING, seq=3)],
        S.CANCELLED,
        cause=C.CANCELLED,
    ),
    Row(
        "running arrives after preempted",
        [*SENT, seen(S.FAILED, seq=2, cause=C.PREEMPTED), seen(S.RUNNING, seq=3), *SETTLED],
        S.FAILED,
        cause=C.PREEMPTED,
    ),
    Row(
        "can never fit",
        [*SENT, seen(S.FAILED, seq=2, cause=C.REJECTED, final=True)],
        S.FAILED,
        cause=C.REJECTED,
    ),
    Row(
        "lease expired",
        [*SENT, *RUN, seen(S.FAILED, seq=6, cause=C.NODE_LOST, final=True)],
        S.FAILED,
        cause=C.NODE_LOST,
    ),
    Row(
        "the status query lags behind the stream",
        [*SENT, *RUN, seen(S.QUEUED), seen(S.LEASED)],
        S.RUNNING,
        terminal=False,
    ),
    Row(
        "the status query knows an end that the stream lost",
        [*SENT, *RUN, seen(S.FAILED, exit_code=3, final=True)],
        S.FAILED,
        1,
        C.EXIT_CODE,
        3,
    ),
    Row("the status query alone", [seen(S.RUNNING)], S.RUNNING, terminal=False),
    Row(
        "cancelled because its time was up",
        [*SENT, *RUN, Intent(C.TIMEOUT, 9.0), seen(S.CANCELLED, seq=5, final=True)],
        S.FAILED,
        cause=C.TIMEOUT,
    ),
]


@pytest.mark.parametrize("row", NOMAD, ids=lambda row: row.what)
def test_nomad(row: Row) -> None:
    assert _facts(told(row.history)) == row[2:]


@pytest.mark.parametrize("row", ARMADA, ids=lambda row: row.what)
def test_armada(row: Row) -> None:
    assert _facts(told(row.history)) == row[2:]
