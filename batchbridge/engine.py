"""One profile in use: its driver, the hub that watches through it, and the jobs that it holds."""

from __future__ import annotations

import time
from typing import Any

from batchbridge.driver import BatchDriver
from batchbridge.errors import BatchBridgeError, DriverBug
from batchbridge.hub import Hub
from batchbridge.jobs import Job
from batchbridge.model import (
    JobRef,
    JobSpec,
    JobState,
    Listed,
    Receipt,
    Scope,
    Seen,
    Submission,
)
from batchbridge.settings import Resolved
from batchbridge.watched import Policy


class Engine:
    """What jobs are submitted to, and asked about, under one profile."""

    def __init__(self, resolved: Resolved, driver: BatchDriver[Any] | None = None) -> None:
        self.resolved = resolved
        self.driver: BatchDriver[Any] = driver or resolved.driver_cls(resolved.settings)
        self.hub = Hub(self.driver)

    @property
    def address(self) -> str:
        """How references begin here: ``backend://profile``."""
        return self.ref((), "").engine

    def ref(self, scope: Scope, job_id: str) -> JobRef:
        """The reference of that job here."""
        return JobRef(self.resolved.backend, self.resolved.ref_profile, scope, job_id)

    def job(self, ref: JobRef, *, name: str = "", job_set: str = "") -> Job:
        """The handle of that job; no I/O."""
        return Job(self, self.hub.ledger(ref.scope).follow(ref, name=name, job_set=job_set))

    def accepted(
        self, scope: Scope, submission: Submission, receipt: Receipt
    ) -> Job | BatchBridgeError:
        """The job that the engine owns now, or why it does not."""
        if receipt.error is not None or receipt.id is None:
            return receipt.error or DriverBug(f"{self.driver.name!r} gave neither id nor error")
        spec, older = submission.spec, receipt.created is False
        ledger, ref = self.hub.ledger(scope), self.ref(scope, receipt.id)
        job_set = submission.job_set
        watched = ledger.follow(ref, name=spec.name, job_set=job_set, anew=not older)
        at = None if older else time.time()  # a receipt tells no time; ours is near the engine's
        ledger.observe([Seen(receipt.id, JobState.SUBMITTED, at=at)])
        ledger.police(watched, self._policy(spec))
        watched.notes = receipt.notes
        return Job(self, watched)

    def listed(self, listed: Listed) -> Job:
        """A job as the engine lists it. Nothing is asked of the engine on account of it."""
        ref, seen = self.ref(listed.scope, listed.seen.id), [listed.seen]
        if listed.submitted_at is not None:
            seen.insert(0, Seen(ref.id, JobState.SUBMITTED, at=listed.submitted_at))
        ledger = self.hub.ledger(ref.scope)
        watched = ledger.follow(ref, name=listed.name, job_set=listed.job_set)
        ledger.observe(seen, duties=False)
        return Job(self, watched)

    def close(self) -> None:
        """Stop watching and let go of connections."""
        self.hub.close()
        self.driver.close()

    def _policy(self, spec: JobSpec) -> Policy:
        """What the client enforces for such a job, because the engine does not."""
        has = self.driver.capabilities
        return Policy(
            once=not (spec.reruns or has.no_reruns),
            timeout=None if has.timeout else spec.timeout,
            queue_timeout=None if has.queue_timeout else spec.queue_timeout,
            start_timeout=None if has.start_timeout else spec.start_timeout,
        )
