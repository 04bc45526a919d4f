"""The driver: Armada's calls on one side, the words of batchbridge on the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from batchbridge.driver import BatchDriver, Capabilities, Known
from batchbridge.errors import BatchBridgeError, ConfigError, CursorExpired
from batchbridge.fields import options_from
from batchbridge.model import (
    Batch,
    Check,
    Explanation,
    JobRef,
    LogPage,
    Receipt,
    Scope,
    Stream,
    Submission,
)
from batchbridge.streams import bridged
from batchbridge_armada import explain, ids, jobspec
from batchbridge_armada.pages import Pages
from batchbridge_armada.refusals import Missing, Refused
from batchbridge_armada.settings import ArmadaOptions, ArmadaSettings
from batchbridge_armada.snapshot import observations
from batchbridge_armada.submitting import Submitter
from batchbridge_armada.translate import Translator

if TYPE_CHECKING:
    from batchbridge_armada.api import Api

EARLIER = 300.0
"""Seconds before the oldest followed job's submit at which a stream begins: clocks differ."""

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
        upload=UPLOAD,
        streams="merged",
        logs="lines",
        labels=True,
        explain=True,
        render=True,
    )
    Settings = ArmadaSettings
    Options = ArmadaOptions

    def __init__(self, settings: ArmadaSettings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._connected: _Connected | None = None
        self._translators: dict[Scope, Translator] = {}

    def scope_of(self, submission: Submission) -> Scope:
        """The queue and the job set. ConfigError where no queue is named."""
        return self._scope(submission, self._options(submission))

    # -- the four verbs ----------------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Hand them over by the hundred. One that Armada refuses is a receipt in its words."""
        if submissions:
            submitter = Submitter(self._api, self.scope_of(submissions[0]))
            yield from submitter.submit(submissions, self.render)

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """The state of each known job; how those that have ended did."""
        return Batch(tuple(observations(self._api, scope, known)))

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Ask for the end of all. Armada keeps the first 50 bytes of the reason."""
        by_scope: dict[Scope, list[str]] = {}
        for ref in refs:
            by_scope.setdefault(ref.scope, []).append(ref.id)
        for (queue, job_set), jobs in by_scope.items():
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

    def explain(self, ref: JobRef) -> Explanation | None:
        """Why it waits, from the scheduler's last report of it."""
        try:
            return explain.explanation(self._api.report(ref.id))
        except (Missing, Refused):
            return None

    def render(self, submission: Submission) -> Mapping[str, Any]:
        """The JobSubmitRequestItem that submit would send."""
        options = self._options(submission)
        scope, namespace = self._scope(submission, options), self.settings.namespace
        return jobspec.item(submission, options, scope=scope, namespace=namespace)

    def hints(self, ref: JobRef) -> Mapping[str, str]:
        """The job in Lookout, and the command that shows its pod's output."""
        pages = {}
        if self.settings.lookout:
            pages["lookout"] = f"{self.settings.lookout.rstrip('/')}/jobs/{ref.id}"
        namespace = self.settings.namespace
        return {**pages, "logs": f"kubectl -n {namespace} logs armada-{ref.id}-0"}

    def probe(self) -> Iterable[Check]:
        """Whether Armada answers, has the queue, and where the logs are."""
        yield _check("Armada answers", self._address)
        if self.settings.queue:
            yield _check("the queue is there", self._queue)
        if not (self.settings.binoculars or self.settings.binoculars_of):
            yield Check("logs", True, "no address of Binoculars is set: no job has logs here")

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
                # Not before the first call: Armada's client takes its time to import.
                from batchbridge_armada.api import Api

                api = Api(self.settings)
                self._connected = _Connected(api, Pages(api))
            return self._connected

    def _translator(self, scope: Scope) -> Translator:
        """The one of that job set: what it remembers outlives a broken stream."""
        with self._lock:
            return self._translators.setdefault(scope, Translator())

    def _scope(self, submission: Submission, options: ArmadaOptions) -> Scope:
        queue = options.queue or self.settings.queue
        if not queue:
            raise ConfigError(
                "armada: no queue is named", remedy="set queue in the profile, or -o queue=NAME"
            )
        return (queue, submission.job_set)

    def _options(self, submission: Submission) -> ArmadaOptions:
        return options_from(ArmadaOptions, submission.spec.options)

    def _address(self) -> str:
        self._api.health()
        return self.settings.address

    def _queue(self) -> str:
        if not self._api.queue_exists(self.settings.queue):
            raise ConfigError(
                f"Armada has no queue {self.settings.queue!r}",
                remedy="armadactl get queues lists them",
            )
        return self.settings.queue


def _beginning(known: Collection[str]) -> str:
    """From where a stream tells all of these jobs."""
    times = [at for at in map(ids.submitted_at, known) if at is not None]
    return ids.position(min(times, default=time.time()) - EARLIER)


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except BatchBridgeError as error:
        return Check(name, False, str(error), error.remedy)
