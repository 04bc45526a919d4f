"""Handing jobs over: by the hundred, and those that Armada takes whatever becomes of the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from batchbridge.errors import BatchBridgeError, DriverBug, KeyConflict, Rejected
from batchbridge.model import Receipt, Scope, Submission
from batchbridge.streams import mapped
from batchbridge_armada import ids, jobspec
from batchbridge_armada.inflight import InFlight
from batchbridge_armada.namespaces import Namespaces
from batchbridge_armada.orders import Order, Orders
from batchbridge_armada.refusals import NoQueue, Refused

if TYPE_CHECKING:
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


class Submitter:
    """Hands jobs over to one queue and job set."""

    def __init__(self, api: Api, scope: Scope, in_flight: InFlight, namespaces: Namespaces) -> None:
        self._api = api
        self._queue, self._job_set = scope
        self._in_flight = in_flight
        self._namespaces = namespaces

    def submit(self, submissions: Iterable[Submission], orders: Orders) -> Iterator[Receipt]:
        """A receipt for each, as the answers come; the first are sent while others are written."""
        refused: list[Receipt] = []

        def written() -> Iterator[Order]:
            for submission in submissions:
                order = _written(submission, orders)
                if isinstance(order, Order):
                    yield order
                else:
                    refused.append(order)

        for receipts in mapped(self._hand_over, requests(written()), workers=4):
            yield from receipts
        yield from refused

    def _hand_over(self, orders: Sequence[Order]) -> list[Receipt]:
        """Armada refuses a request whole for one bad job; halving finds it. Keys make it safe."""
        asked = time.time()
        try:
            with self._in_flight.alone({order.message.client_id for order in orders}):
                job_ids = self._accepted(orders)
        except Refused as error:
            if len(orders) == 1:
                refused = Rejected(f"Armada refuses the job: {error}", remedy=CHANGE)
                return [Receipt(orders[0].submission.key, error=refused)]
            half = len(orders) // 2
            return [*self._hand_over(orders[:half]), *self._hand_over(orders[half:])]
        named = {id: o.message.namespace for id, o in zip(job_ids, orders, strict=True)}
        self._namespaces.keep(named)
        return self._receipts(orders, job_ids, asked)

    def _accepted(self, orders: Sequence[Order]) -> list[str]:
        """The jobs' ids. A queue that is there is waited for until the server has heard of it."""
        deadline = time.monotonic() + QUEUE_KNOWN
        while True:
            try:
                messages = [order.message for order in orders]
                return self._api.submit(self._queue, self._job_set, messages)
            except NoQueue:
                late = time.monotonic() > deadline
                if late or not self._api.queue_exists(self._queue):
                    raise
            time.sleep(1)

    def _receipts(
        self, orders: Sequence[Order], job_ids: Sequence[str], asked: float
    ) -> list[Receipt]:
        ages = {job_id: asked - (ids.submitted_at(job_id) or asked) for job_id in job_ids}
        digests = self._digests([job_id for job_id, age in ages.items() if age > DOUBTED])
        return [
            _receipt(order, job_id, digests.get(job_id), older=ages[job_id] > SKEW)
            for order, job_id in zip(orders, job_ids, strict=True)
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


def _written(submission: Submission, orders: Orders) -> Order | Receipt:
    """The job's order; its receipt where none can be written, whatever the others' are."""
    try:
        return orders.order(submission)
    except BatchBridgeError as error:
        return Receipt(submission.key, error=error)
    except Exception as error:  # nothing was sent: this job is certain not to run
        words = f"{type(error).__name__}: {error}"
        return Receipt(submission.key, error=DriverBug(f"armada cannot write the job: {words}"))


def requests(orders: Iterable[Order]) -> Iterator[list[Order]]:
    """The jobs of each request, in order."""
    some: list[Order] = []
    size = 0
    for order in orders:
        more = order.message.ByteSize()
        if some and (len(some) == ITEMS or size + more > BYTES):
            yield some
            some, size = [], 0
        some.append(order)
        size += more
    if some:
        yield some


def _receipt(order: Order, job_id: str, digest: str | None, *, older: bool) -> Receipt:
    """Armada does not say that it knew the key; the job's digest and its age do."""
    submission = order.submission
    if digest not in (None, submission.digest):
        return Receipt(submission.key, error=KeyConflict.of(submission.key, job_id))
    created = False if older else None
    return Receipt(submission.key, id=job_id, created=created, notes=order.notes)
