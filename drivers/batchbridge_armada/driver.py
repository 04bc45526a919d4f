"""The driver: Armada's calls on one side, the words of batchbridge on the other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from batchbridge.driver import BatchDriver, Capabilities, Known
from batchbridge.errors import CursorExpired
from batchbridge.fields import options_from
from batchbridge.model import (
    Batch,
    Check,
    Explanation,
    JobRef,
    JobSpec,
    Listed,
    LogPage,
    Receipt,
    Scope,
    Stream,
    Submission,
)
from batchbridge.streams import bridged
from batchbridge_armada import about, explain, health, ids, jobspec, listing
from batchbridge_armada.inflight import InFlight
from batchbridge_armada.namespaces import Namespaces
from batchbridge_armada.orders import Orders, Writer
from batchbridge_armada.pages import Pages
from batchbridge_armada.refusals import Missing, Refused
from batchbridge_armada.settings import ArmadaOptions, ArmadaSettings
from batchbridge_armada.snapshot import observations
from batchbridge_armada.submitting import Submitter
from batchbridge_armada.template import spec_of
from batchbridge_armada.translate import ENDED, Translator

if TYPE_CHECKING:
    from batchbridge_armada.api import Api

EARLIER = 300.0
"""Seconds before the oldest followed job's submit at which a stream begins: clocks differ."""

LATE = 15.0
"""Seconds by which a cluster has heard that a job is over, and its pod has begun to end."""

UPLOAD = 36 * 1024
"""Bytes of files that fit into a pod spec, as text and beside the rest of it."""


class _Connected(NamedTuple):
    """What exists from the first call on."""

    api: Api
    pages: Pages


class ArmadaDriver(BatchDriver[ArmadaSettings]):
    """Jobs of one Armada; a scope is a queue and a job set, which is what one stream covers."""

    name = "armada"
    contract = 1
    capabilities = Capabilities(
        idempotency="best_effort",
        idempotency_window=7 * 24 * 3600.0,
        push=True,
        absence=True,
        history=True,
        no_reruns=True,
        timeout=True,
        gang=True,
        cpu="enforced",
        memory="enforced",
        disk="enforced",
        gpu="enforced",
        image=True,
        plain_secrets=True,
        upload=UPLOAD,
        streams="merged",
        logs="lines",
        labels=True,
        list="job_set",
        cancel_set=True,
        preempt=True,
        reprioritise=True,
        explain=True,
        render=True,
    )
    Settings = ArmadaSettings
    Options = ArmadaOptions

    def __init__(self, settings: ArmadaSettings) -> None:
        super().__init__(settings)
        self._writer = Writer(settings)
        self._in_flight = InFlight()
        self._namespaces = Namespaces()
        self._lock = threading.Lock()
        self._connected: _Connected | None = None
        self._translators: dict[Scope, Translator] = {}

    def scope_of(self, submission: Submission) -> Scope:
        """The queue and the job set. ConfigError where no queue is named."""
        return self._writer.scope(submission, self._writer.options(submission.spec))

    # -- the four verbs ----------------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Hand them over by the hundred. One that Armada refuses is a receipt in its words."""
        if submissions:
            scope = self.scope_of(submissions[0])
            submitter = Submitter(self._api, scope, self._in_flight, self._namespaces)
            yield from submitter.submit(submissions, Orders(self._writer, self._api))

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """The state of each known job; how those that have ended did."""
        return Batch(tuple(observations(self._api, scope, known)))

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Ask for the end of all. Armada keeps the first 50 bytes of the reason.

        A job that it then tells to be cancelled may still have a process, as :meth:`linger` says:
        its cluster is told afterwards, and nothing is said when it has done so.
        """
        for (queue, job_set), jobs in _by_scope(refs):
            self._api.cancel(queue, job_set, jobs, reason=reason)

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
        """The next lines of the job's last run; stderr stands in stdout."""
        if stream == "stderr":
            return LogPage(b"", "", eof=True)
        page = self._pages.next(ref.id, attempt, cursor, ended=ended)
        if not (page.data or page.eof or page.truncated):
            time.sleep(wait)
        return page

    # -- the others --------------------------------------------------------------------------

    def watch(self, scope: Scope, cursor: str | None, known: Known) -> Iterator[Batch]:
        """Follow the job set's stream from `cursor`, or from before the oldest followed job.

        Armada does not say that a stream is open. What it tells is settled by where it begins, so
        the first batch, which says that, comes at once.
        """
        if cursor is not None and ids.sequence(cursor) is None:
            raise CursorExpired(f"{cursor!r} is no place in a stream of Armada's")
        queue, job_set = scope
        begin = cursor or _beginning(known())
        stream = self._api.events(queue, job_set, begin, watch=True)
        translator = self._translator(scope)
        with closing(bridged(stream.read, stream.break_off)) as messages:
            yield Batch(cursor=begin)
            for message in messages:
                if message is None:
                    yield Batch()
                    continue
                seen = translator.seen(message)
                yield Batch((seen,) if seen else (), message.id)

    def list(self, job_set: str | None, user: str | None) -> Iterable[Listed]:
        """The jobs of that set in the profile's queue, from all that is stored of its stream.

        Armada stores it until two weeks have passed in which nothing happened in the job set.
        """
        scope = (self._writer.queue(ArmadaOptions()), job_set or "")
        stream = self._api.events(*scope, "", watch=False)
        return listing.jobs(scope, stream.read(), user)

    def cancel_set(self, scope: Scope, *, job_set: str, reason: str) -> None:
        """Ask for the end of all that the job set has now; what is submitted later is untouched."""
        queue, name = scope
        self._api.cancel_set(queue, name, reason=reason)

    def preempt(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Ask that they give up their places. A job that has none, or whose priority class does
        not allow it, is left as it is, and Armada does not say so.
        """
        for (queue, job_set), jobs in _by_scope(refs):
            self._api.preempt(queue, job_set, jobs, reason=reason)

    def reprioritise(self, refs: Sequence[JobRef], priority: float) -> None:
        """Give them another priority in their queue; lower goes first, fractions are rounded."""
        options_from(ArmadaOptions, {"priority": priority})
        for (queue, job_set), jobs in _by_scope(refs):
            self._api.reprioritise(queue, job_set, jobs, priority)

    def explain(self, ref: JobRef) -> Explanation | None:
        """Why it waits, from the scheduler's last report of it; else from its details."""
        job = self._api.details([ref.id]).get(ref.id)
        state = self._api.state(job) if job is not None else ""
        if job is None or state == "RUNNING":
            return None
        if state in ENDED:
            error = self._api.errors([ref.id]).get(ref.id, "")
            return explain.over(job, error, rejected=state == "REJECTED")
        return self._report(ref) if state == "QUEUED" else explain.placed(job)

    def _report(self, ref: JobRef) -> Explanation | None:
        try:
            return explain.waiting(self._api.report(ref.id))
        except (Missing, Refused):
            return None

    def render(self, submission: Submission) -> Mapping[str, Any]:
        """The JobSubmitRequestItem that submit would send; values of secrets are ``***``."""
        return self._writer.rendered(submission)

    def linger(self, spec: JobSpec) -> float:
        """The grace of its pod, once its cluster has heard of the end."""
        options = self._writer.options(spec)
        return jobspec.grace(options, spec_of(options.pod)) + LATE

    def hints(self, ref: JobRef) -> Mapping[str, str]:
        """The job in Lookout; of one that was submitted here, the command for its pod's output."""
        found = {}
        if self.settings.lookout:
            found["lookout"] = f"{self.settings.lookout.rstrip('/')}/jobs/{ref.id}"
        namespace = self._namespaces.of(ref.id)
        if namespace:
            found["logs"] = about.kubectl("logs", ref.id, namespace)
        return found

    def details(self, ref: JobRef, attempt: int) -> Mapping[str, str]:
        """Cluster, node, namespace and pod of its last run, and the command for its output."""
        job = self._api.details([ref.id]).get(ref.id)
        return about.pieces(job) if job is not None else {}

    def probe(self) -> Iterable[Check]:
        """Whether Armada answers, has the queue, and where the logs are."""
        return health.checks(self.settings, lambda: self._api)

    def close(self) -> None:
        """Let go of connections."""
        with self._lock:
            if self._connected is not None:
                self._connected.api.close()

    # -- how ---------------------------------------------------------------------------------

    @property
    def _api(self) -> Api:
        return self._connection().api

    @property
    def _pages(self) -> Pages:
        return self._connection().pages

    def _connection(self) -> _Connected:
        with self._lock:
            if self._connected is None:
                # gRPC would write some of what it raises to stderr too.
                os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
                # Not before the first call: Armada's client takes its time to import.
                from batchbridge_armada.api import Api

                api = Api(self.settings)
                self._connected = _Connected(api, Pages(api))
            return self._connected

    def _translator(self, scope: Scope) -> Translator:
        """The one of that job set: what it remembers outlives a broken stream."""
        with self._lock:
            return self._translators.setdefault(scope, Translator())


def _by_scope(refs: Sequence[JobRef]) -> Iterable[tuple[Scope, Sequence[str]]]:
    """The ids of each queue and job set."""
    scopes: dict[Scope, list[str]] = {}
    for ref in refs:
        scopes.setdefault(ref.scope, []).append(ref.id)
    return scopes.items()


def _beginning(known: Collection[str]) -> str:
    """From where a stream tells all of these jobs."""
    times = [at for at in map(ids.submitted_at, known) if at is not None]
    return ids.position(min(times, default=time.time()) - EARLIER)
