"""The driver: Nomad's calls on one side, the words of batchbridge on the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

from batchbridge.driver import BatchDriver, Capabilities
from batchbridge.driver import Known as Followed
from batchbridge.errors import AuthError, BatchBridgeError, SpecError
from batchbridge.fields import options_from
from batchbridge.model import (
    Absent,
    Batch,
    Check,
    Explanation,
    JobRef,
    Listed,
    LogPage,
    Receipt,
    Scope,
    Stream,
    Submission,
)
from batchbridge.streams import bridged, mapped
from batchbridge_nomad import events, explain, jobs, jobspec, lists, logs, template, translate
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.book import Book
from batchbridge_nomad.register import Registrar
from batchbridge_nomad.replies import Refused
from batchbridge_nomad.script import variable_path
from batchbridge_nomad.settings import NomadOptions, NomadSettings
from batchbridge_nomad.translate import Known
from batchbridge_nomad.wire import Alloc, Job, Line

_log = logging.getLogger("batchbridge.nomad")

PRUNE = 60.0
"""Seconds between two looks at which jobs are still followed."""

UNTOLD = "@"
"""How a cursor begins before the stream has told anything: it proves nothing when resumed."""


class NomadDriver(BatchDriver[NomadSettings]):
    """Batch jobs of one Nomad cluster; a scope is a namespace, of a region where one is named."""

    name = "nomad"
    contract = 1
    capabilities = Capabilities(
        idempotency="exact",
        push=True,
        absence=True,
        history=True,
        counts_attempts=True,
        timeout=True,
        cpu="accounted",
        memory="enforced",
        disk="accounted",
        gpu="accounted",
        image=True,
        upload=256 * 1024,
        secrets=True,
        labels=True,
        list="all",
        explain=True,
        render=True,
    )
    Settings = NomadSettings
    Options = NomadOptions

    def __init__(self, settings: NomadSettings) -> None:
        super().__init__(settings)
        self._api = Api(settings)
        self._lock = threading.Lock()
        self._books: dict[Scope, Book] = {}
        self._bases: dict[str, template.Block] = {}

    def scope_of(self, submission: Submission) -> Scope:
        """The namespace; with the region where the job asks for another than the settings'."""
        options = self._options(submission)
        region = options.region if options.region != self.settings.region else ""
        return tuple(filter(None, (options.namespace or self.settings.namespace, region)))

    # -- the four verbs ----------------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Register each, create-only. A job that Nomad refuses is a receipt in its words."""
        yield from mapped(self._submit, submissions)

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """The history of each known job; Absent where Nomad denies it, asked for by itself."""
        found, at = self._known(scope, known), time.time()
        told = [seen for job in found.values() for seen in translate.history(job)]
        return Batch((*told, *(Absent(id, at) for id in known if id not in found)))

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Deregister each, those without an allocation first. Nomad keeps no reason."""
        for _ in mapped(self._deregister, sorted(refs, key=self._placed)):
            pass

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
        """The next bytes of that allocation's task, from whichever node has them."""
        alloc = self._alloc(ref, attempt)
        if alloc is None:
            page = LogPage(b"", cursor or str(logs.Cursor()), eof=ended)
        else:
            place = self._place(ref.scope)
            page = logs.Log(self._api, place, alloc.id, stream).page(cursor, ended=ended)
        if not (page.data or page.eof):
            time.sleep(wait)
        return page

    # -- the others --------------------------------------------------------------------------

    def watch(self, scope: Scope, cursor: str | None, known: Followed) -> Iterator[Batch]:
        """Follow the namespace's event stream from `cursor`, or from now.

        The index is asked for first: one who may not read is told so there, while the stream would
        say nothing at all.
        """
        place, book = self._place(scope), self._book(scope)
        index = self._api.index(place)
        resumed = cursor is not None and not cursor.startswith(UNTOLD)
        if not resumed:
            book.clear()
        start = int(cursor.removeprefix(UNTOLD)) if cursor else index
        stream = events.Stream(self._api, place, start)
        with closing(bridged(stream.read, stream.break_off)) as lines:
            first = events.first_line(lines)
            if first is None:
                raise self._denied(place)
            if resumed:
                first = events.line_at(chain([first], lines), start)
            yield Batch(cursor=cursor or f"{UNTOLD}{start}")
            yield from _follow(chain([first], lines), book, known)

    def list(self, job_set: str | None, user: str | None) -> Iterator[Listed]:
        """The jobs of that set and that user in the settings' namespace."""
        scope: Scope = (self.settings.namespace,)
        place = self._place(scope)
        where = jobs.where({"job_set": job_set, "user": user})
        found = self._api.jobs(place, prefix=jobspec.PREFIX, where=where)
        allocs = lists.allocations(self._api, place, [job.id for job in found])
        return (jobs.listed(scope, job, allocs.get(job.id, [])) for job in found)

    def explain(self, ref: JobRef) -> Explanation | None:
        """Why it waits, from the scheduler's last look at it."""
        found = self._known(ref.scope, [ref.id]).get(ref.id)
        if found is None:
            return None
        return explain.explanation(found, self._api.evaluations_of(self._place(ref.scope), ref.id))

    def render(self, submission: Submission) -> Mapping[str, Any]:
        """The JSON that submit would send; a template in HCL is parsed by Nomad for it."""
        options = self._options(submission)
        base = self._base(self._place(self.scope_of(submission)), options.template)
        made = jobspec.payload(submission, options, self._site(submission), base)
        for place in template.overridden(base or {}, made["Job"]):
            _log.info("%s is set by batchbridge, and not by the template", place)
        return made

    def hints(self, ref: JobRef) -> Mapping[str, str]:
        """The job in Nomad's web pages, and the commands that show it."""
        namespace = self._place(ref.scope).namespace
        at = f"-namespace {namespace} {ref.id}"
        pages = {} if self.settings.address.startswith("unix") else {"ui": self._page(ref)}
        return {
            **pages,
            "status": f"nomad job status {at}",
            "logs": f"nomad alloc logs -job {at}",
        }

    def release(self, refs: Sequence[JobRef]) -> None:
        """Delete the variables that held their secrets."""
        for ref in refs:
            job = self._book(ref.scope).get(ref.id) or self._known(ref.scope, [ref.id]).get(ref.id)
            if job is not None and job.secrets:
                self._api.delete_variable(self._place(ref.scope), variable_path(ref.id))

    def probe(self) -> Iterable[Check]:
        """Whether Nomad answers, and whether the token may read the namespace."""
        place = self._place((self.settings.namespace,))
        yield _check("jobs can be read", lambda: f"index {self._api.index(place)}")
        yield _check("jobs can be listed", lambda: f"{len(self._api.jobs(place, prefix='bb-'))}")

    def close(self) -> None:
        """Let go of connections."""
        self._api.close()

    # -- how ---------------------------------------------------------------------------------

    def _options(self, submission: Submission) -> NomadOptions:
        return options_from(NomadOptions, submission.spec.options)

    def _base(self, place: Place, option: str) -> template.Block | None:
        """The job of a template, read and parsed once while its text stays the same."""
        if not option:
            return None
        text = template.text_of(option)
        if text not in self._bases:
            self._bases[text] = template.base(template.decoded(text) or self._parsed(place, text))
        return self._bases[text]

    def _parsed(self, place: Place, text: str) -> Mapping[str, Any]:
        try:
            return self._api.parse(place, text)
        except Refused as error:
            words = f"options.template: Nomad cannot parse it: {error}"
            raise SpecError(words, path="options.template") from error

    def _place(self, scope: Scope) -> Place:
        return Place(scope[0], scope[1] if len(scope) > 1 else self.settings.region)

    def _site(self, submission: Submission) -> jobspec.Site:
        place = self._place(self.scope_of(submission))
        return jobspec.Site(place.namespace, place.region, self.settings.mhz_per_core)

    def _page(self, ref: JobRef) -> str:
        return f"{self.settings.address}/ui/jobs/{ref.id}@{self._place(ref.scope).namespace}"

    def _book(self, scope: Scope) -> Book:
        with self._lock:
            return self._books.setdefault(scope, Book())

    def _deregister(self, ref: JobRef) -> None:
        self._api.deregister(self._place(ref.scope), ref.id)

    def _placed(self, ref: JobRef) -> bool:
        job = self._book(ref.scope).get(ref.id)
        return job is None or bool(job.allocs)

    def _submit(self, submission: Submission) -> Receipt:
        scope = self.scope_of(submission)
        try:
            payload = self.render(submission)
        except SpecError as error:
            return Receipt(submission.key, error=error)
        receipt = Registrar(self._api, self._place(scope)).submit(submission, payload)
        if receipt.created and receipt.id:
            job = Job(receipt.id, submit_time=time.time_ns(), meta=payload["Job"]["Meta"])
            self._book(scope).enter(jobs.known(job, []))
        return receipt

    def _known(self, scope: Scope, ids: Collection[str]) -> dict[str, Known]:
        """What Nomad knows of these jobs now, noted."""
        book, place = self._book(scope), self._place(scope)
        return {id: book.enter(job) for id, job in lists.known(self._api, place, ids).items()}

    def _alloc(self, ref: JobRef, attempt: int) -> Alloc | None:
        job = self._book(ref.scope).get(ref.id)
        if job is None or len(job.allocs) < attempt:
            job = self._known(ref.scope, [ref.id]).get(ref.id)
        return job.allocs[attempt - 1] if job and attempt <= len(job.allocs) else None

    def _denied(self, place: Place) -> AuthError:
        """What a stream means that says nothing, unless asking again raises something better."""
        self._api.index(place)
        return AuthError(
            "Nomad's event stream says nothing, as it does to a token that may not read it",
            remedy="the token needs read-job in the namespace",
        )


def _follow(lines: Iterator[Line | None], book: Book, known: Followed) -> Iterator[Batch]:
    looked = time.monotonic()
    for line in lines:
        if time.monotonic() - looked > PRUNE:
            book.keep(set(known()))
            looked = time.monotonic()
        if line is None or not line.index:
            yield Batch()
        else:
            told = [seen for job in book.told(line) for seen in translate.history(job)]
            yield Batch(tuple(told), str(line.index))


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except BatchBridgeError as error:
        return Check(name, False, str(error), error.remedy)
