"""Reading a job's output: where its last run is, and the next lines from there."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchbridge.model import LogPage
from batchbridge_armada.about import last_run
from batchbridge_armada.logs import Cursor, page
from batchbridge_armada.refusals import Missing, NotStarted
from batchbridge_armada.translate import ENDED

if TYPE_CHECKING:
    from armada_client.armada.job_pb2 import JobDetails

    from batchbridge_armada.api import Api

KEPT = 10_000
"""Jobs of which it is remembered where their output is."""

BEFORE = ("RUN_STATE_LEASED", "RUN_STATE_PENDING")
"""States of a run whose command has not begun; one that was over at once is in another."""

INGESTED = 5.0
"""Seconds within which a job's details tell what its stream has told."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's pod is."""

    run: str
    cluster: str
    namespace: str


class Pages:
    """The output of jobs. Safe from several threads.

    Binoculars knows pods by their names, and each run of a job has a pod of the same name: whose
    output it is, the job's details tell.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._places: dict[str, dict[int, Place]] = {}
        self._awaited: dict[tuple[str, int], float] = {}

    def next(self, job_id: str, attempt: int, cursor: str | None, *, ended: bool) -> LogPage:
        """The next lines of that attempt's run; none before it has started.

        An end whose run the details never tell of is truncated: who asks again is let wait first.
        """
        place, never = self._place(job_id, attempt, ended)
        at = Cursor.parse(cursor)
        if place is None:
            lost = ended and not never and self._waited(job_id, attempt)
            return LogPage(b"", str(at), eof=lost or (ended and never), truncated=lost)
        if at.run != place.run:
            at = Cursor(place.run)
        try:
            lines = self._api.logs(place.cluster, job_id, place.namespace, at.stamp)
        except NotStarted:
            return LogPage(b"", str(at), eof=ended)
        except Missing:
            # Not there yet; or gone, with whatever it had that was not read.
            lost = ended and not self._never_began(job_id)
            return LogPage(b"", str(at), eof=ended, truncated=lost)
        if ended and self._replaced(job_id, place):
            return LogPage(b"", str(at), eof=True, truncated=True)
        return page(lines, at, ended=ended)

    def _place(self, job_id: str, attempt: int, ended: bool) -> tuple[Place | None, bool]:
        """Where the attempt's run is; else whether the details say that it never had one."""
        with self._lock:
            known = dict(self._places.get(job_id, {}))
        if attempt in known:
            return known[attempt], False
        details = self._api.details([job_id]).get(job_id)
        place = _last(details, ended) if details else None
        if place is None or place in known.values():
            return None, details is not None and self._api.state(details) in ENDED
        with self._lock:
            self._places.setdefault(job_id, {})[attempt] = place
            _bound(self._places)
        return place, False

    def _waited(self, job_id: str, attempt: int) -> bool:
        """Whether the details were asked for that run for long enough, since they first were."""
        now = time.monotonic()
        with self._lock:
            until = self._awaited.setdefault((job_id, attempt), now + INGESTED)
            _bound(self._awaited)
        return now >= until

    def _replaced(self, job_id: str, place: Place) -> bool:
        """Whether the pod of that name may be a later run's."""
        details = self._api.details([job_id]).get(job_id)
        return details is not None and details.latest_run_id != place.run

    def _never_began(self, job_id: str) -> bool:
        """Whether the last run is over, and had not come so far that it could write."""
        details = self._api.details([job_id]).get(job_id)
        run = last_run(details) if details else None
        return (
            run is not None and self._api.run_state(run) in BEFORE and run.HasField("finished_ts")
        )


def _last(job: JobDetails, ended: bool) -> Place | None:
    """The last run; one that is over belongs to an attempt that is."""
    run = last_run(job)
    if run is None or (run.finished_ts.seconds and not ended):
        return None
    return Place(run.run_id, run.cluster, job.namespace)


def _bound(kept: dict[Any, Any]) -> None:
    if len(kept) > KEPT:
        kept.pop(next(iter(kept)))
