"""Handing jobs over: by the hundred, and those that Armada takes whatever becomes of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from batchbridge.errors import KeyConflict, Rejected, SpecError
from batchbridge.model import Receipt, Scope, Submission
from batchbridge.streams import mapped
from batchbridge_armada import ids, jobspec
from batchbridge_armada.refusals import NoQueue, Refused

if TYPE_CHECKING:
    from armada_client.armada.submit_pb2 import JobSubmitRequestItem

    from batchbridge_armada.api import Api

ITEMS = 200
"""Jobs of one request: as many as Armada's own client sends."""

BYTES = 3 << 20
"""Bytes of one request: gRPC takes four million."""

QUEUE_KNOWN = 15.0
"""Seconds after which every server knows a queue that was made."""

DOUBTED = 2.0
"""Seconds by which a job that is older than the request that named it is looked at."""

SKEW = 60.0
"""Seconds by which it must be older to be an older job for certain: clocks differ."""

CHANGE = "change what the job asks for; the submission settings of the server say what it takes"


class Order(NamedTuple):
    """What is asked of Armada for one submission, and what the submitter should know of it."""

    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Item(NamedTuple):
    """One job on its way."""

    submission: Submission
    message: JobSubmitRequestItem
    notes: tuple[str, ...]


class Submitter:
    """Hands jobs over to one queue and job set."""

    def __init__(self, api: Api, scope: Scope) -> None:
        self._api = api
        self._queue, self._job_set = scope

    def submit(
        self, submissions: Iterable[Submission], ordered: Callable[[Submission], Order]
    ) -> Iterator[Receipt]:
        """A receipt for each, as the answers come; the first are sent while others are written."""
        refused: list[Receipt] = []

        def items() -> Iterator[Item]:
            for submission in submissions:
                try:
                    values, notes = ordered(submission)
                    yield Item(submission, self._api.item(values), notes)
                except SpecError as error:
                    refused.append(Receipt(submission.key, error=error))

        for receipts in mapped(self._hand_over, requests(items()), workers=4):
            yield from receipts
        yield from refused

    def _hand_over(self, items: Sequence[Item]) -> list[Receipt]:
        """Armada refuses a request whole for one bad job; halving finds it. Keys make it safe."""
        asked = time.time()
        try:
            job_ids = self._accepted(items)
        except Refused as error:
            if len(items) == 1:
                refused = Rejected(f"Armada refuses the job: {error}", remedy=CHANGE)
                return [Receipt(items[0].submission.key, error=refused)]
            half = len(items) // 2
            return [*self._hand_over(items[:half]), *self._hand_over(items[half:])]
        return self._receipts(items, job_ids, asked)

    def _accepted(self, items: Sequence[Item]) -> list[str]:
        """The jobs' ids. A queue that is there is waited for until the server has heard of it."""
        deadline = time.monotonic() + QUEUE_KNOWN
        while True:
            try:
                messages = [item.message for item in items]
                return self._api.submit(self._queue, self._job_set, messages)
            except NoQueue:
                late = time.monotonic() > deadline
                if late or not self._api.queue_exists(self._queue):
                    raise
            time.sleep(1)

    def _receipts(
        self, items: Sequence[Item], job_ids: Sequence[str], asked: float
    ) -> list[Receipt]:
        ages = {job_id: asked - (ids.submitted_at(job_id) or asked) for job_id in job_ids}
        digests = self._digests([job_id for job_id, age in ages.items() if age > DOUBTED])
        return [
            _receipt(item, job_id, digests.get(job_id), older=ages[job_id] > SKEW)
            for item, job_id in zip(items, job_ids, strict=True)
        ]

    def _digests(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Of what specs these jobs are, where Armada still knows it."""
        name = jobspec.OURS + "digest"
        if not job_ids:
            return {}
        return {
            job_id: job.job_spec.annotations[name]
            for job_id, job in self._api.details(job_ids, spec=True).items()
            if name in job.job_spec.annotations
        }


def requests(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The jobs of each request, in order."""
    some: list[Item] = []
    size = 0
    for item in items:
        more = item.message.ByteSize()
        if some and (len(some) == ITEMS or size + more > BYTES):
            yield some
            some, size = [], 0
        some.append(item)
        size += more
    if some:
        yield some


def _receipt(item: Item, job_id: str, digest: str | None, *, older: bool) -> Receipt:
    """Armada does not say that it knew the key; the job's digest and its age do."""
    submission = item.submission
    if digest not in (None, submission.digest):
        conflict = KeyConflict(
            f"the key {submission.key!r} belongs to the job {job_id}, whose spec is another",
            remedy="use another key, or submit the same spec",
        )
        return Receipt(submission.key, error=conflict)
    created = False if older else None
    return Receipt(submission.key, id=job_id, created=created, notes=item.notes)
