"""The driver: Nomad's calls on one side, the words of batchbridge on the other."""

from __future__ import annotations

import os.path
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from typing import Any

from batchbridge.driver import BatchDriver, Capabilities
from batchbridge.driver import Known as Followed
from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    CursorExpired,
    KeyConflict,
    Rejected,
    TransportError,
)
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
from batchbridge_nomad import events, explain, jobs, jobspec, logs, translate
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.book import Book
from batchbridge_nomad.replies import Conflict, Refused, Unauthorized
from batchbridge_nomad.script import variable_path
from batchbridge_nomad.settings import NomadOptions, NomadSettings
from batchbridge_nomad.translate import Known
from batchbridge_nomad.wire import Alloc, Job, Line

ONE_BY_ONE = 8
"""Up to so many jobs are asked for each by itself; more are taken from lists."""

FIRST_LINE = 5
"""Seconds within which a stream that is allowed says something."""

PRUNE = 60.0
"""Seconds between two looks at which jobs are still followed."""

UNTOLD = "@"
"""How a cursor begins before the stream has told anything: it proves nothing when resumed."""

ALREADY_THERE = "job already exists"


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
        list=True,
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
        few = len(known) <= ONE_BY_ONE
        found = self._each(scope, known) if few else self._listed(scope, known)
        book, at = self._book(scope), time.time()
        told = [seen for job in found.values() for seen in translate.history(book.enter(job))]
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
            first = self._first(place, lines)
            if resumed:
                first = _at_cursor(chain([first], lines), start)
            yield Batch(cursor=cursor or f"{UNTOLD}{start}")
            yield from _follow(chain([first], lines), book, known)

    def list(self, job_set: str | None, user: str | None) -> Iterator[Listed]:
        """The jobs of that set and that user in the settings' namespace."""
        scope: Scope = (self.settings.namespace,)
        place = self._place(scope)
        where = jobs.where({"job_set": job_set, "user": user})
        found = self._api.jobs(place, prefix=jobspec.PREFIX, where=where)
        allocs = self._allocs(place, [job.id for job in found])
        return (jobs.listed(scope, job, allocs.get(job.id, [])) for job in found)

    def explain(self, ref: JobRef) -> Explanation | None:
        """Why it waits, from the scheduler's last look at it."""
        found = self._each(ref.scope, [ref.id]).get(ref.id)
        if found is None:
            return None
        return explain.explanation(found, self._api.evaluations_of(self._place(ref.scope), ref.id))

    def render(self, submission: Submission) -> Mapping[str, Any]:
        """The JSON that submit would send."""
        return jobspec.payload(submission, self._options(submission), self._site(submission))

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
            job = self._book(ref.scope).get(ref.id) or self._each(ref.scope, [ref.id]).get(ref.id)
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
        key, scope = submission.key, self.scope_of(submission)
        payload = self.render(submission)
        try:
            with self._secrets(scope, submission):
                self._api.register(self._place(scope), payload)
        except Refused as error:
            if ALREADY_THERE in str(error):
                return self._repeated(scope, submission)
            return Receipt(key, error=Rejected(f"Nomad refuses the job: {error}"))
        made = Job(payload["Job"]["ID"], submit_time=time.time_ns(), meta=payload["Job"]["Meta"])
        self._book(scope).enter(jobs.known(made, []))
        return Receipt(key, id=made.id, created=True)

    @contextmanager
    def _secrets(self, scope: Scope, submission: Submission) -> Iterator[None]:
        """Write the job's secrets first; take them back where it is refused, if they are new.

        Those of a job that is there already are left as they are.
        """
        if not submission.secrets:
            yield
            return
        place, job_id = self._place(scope), jobspec.job_id(submission.key)
        path = variable_path(job_id)
        values = {name: secret.reveal() for name, secret in submission.secrets.items()}
        try:
            self._api.write_variable(place, path, values, new=True)
        except Conflict:
            if self._api.job(place, job_id) is None:
                self._api.write_variable(place, path, values, new=False)
        except Unauthorized as error:
            remedy = f'the token needs: variables {{ path "{variable_path("*")}" {{ ... }} }}'
            raise AuthError(
                f"the job's secrets cannot be written: {error}", remedy=remedy
            ) from error
        try:
            yield
        except Refused as error:
            if ALREADY_THERE not in str(error):
                self._api.delete_variable(place, path)
            raise

    def _repeated(self, scope: Scope, submission: Submission) -> Receipt:
        """The answer to a key whose job is there already."""
        key, job_id = submission.key, jobspec.job_id(submission.key)
        job = self._api.job(self._place(scope), job_id)
        if job is None:
            raise TransportError(f"Nomad refused {job_id} as known, and then did not know it")
        if jobs.digest(job) == submission.digest:
            return Receipt(key, id=job_id, created=False)
        conflict = KeyConflict(
            f"the key {key!r} belongs to the job {job_id}, whose spec is another",
            remedy="use another key, or submit the same spec",
        )
        return Receipt(key, error=conflict)

    def _each(self, scope: Scope, ids: Collection[str]) -> dict[str, Known]:
        """What Nomad knows of each, asked for by itself: the job before its allocations.

        In this order a job that was stopped then has all the allocations that it will ever have.
        """
        place, found = self._place(scope), {}
        for job_id in ids:
            job = self._api.job(place, job_id)
            if job is not None:
                found[job_id] = jobs.known(job, self._api.allocations_of(place, job_id))
        return found

    def _listed(self, scope: Scope, ids: Collection[str]) -> dict[str, Known]:
        """What Nomad knows of many, by two lists; who is in neither is asked for by itself."""
        place = self._place(scope)
        listed = [job for job in self._api.jobs(place, prefix=_beginning(ids)) if job.id in ids]
        allocs = self._allocs(place, ids)
        found = {job.id: jobs.known(job, allocs.get(job.id, [])) for job in listed}
        return {**found, **self._each(scope, [id for id in ids if id not in found])}

    def _allocs(self, place: Place, ids: Collection[str]) -> Mapping[str, Sequence[Alloc]]:
        by_job: dict[str, list[Alloc]] = {}
        for alloc in self._api.allocations(place, prefix=_beginning(ids)) if ids else ():
            by_job.setdefault(alloc.job_id, []).append(alloc)
        return by_job

    def _alloc(self, ref: JobRef, attempt: int) -> Alloc | None:
        book = self._book(ref.scope)
        job = book.get(ref.id)
        if job is None or len(job.allocs) < attempt:
            for fresh in self._each(ref.scope, [ref.id]).values():
                job = book.enter(fresh)
        return job.allocs[attempt - 1] if job and attempt <= len(job.allocs) else None

    def _first(self, place: Place, lines: Iterator[Line | None]) -> Line:
        """The first line, which only a stream that is allowed has."""
        for line in islice(lines, FIRST_LINE):
            if line is not None:
                return line
        self._api.index(place)
        raise AuthError(
            "Nomad's event stream says nothing, as it does to a token that may not read it",
            remedy="the token needs read-job in the namespace",
        )


def _at_cursor(lines: Iterator[Line | None], cursor: int) -> Line:
    """The line that the cursor stands for: Nomad sends it again where it still has it.

    It gives no other sign of a gap; one that has moved on, or begun anew, starts elsewhere.
    """
    told = (line for line in islice(lines, FIRST_LINE) if line is not None and line.index)
    line = next(told, None)
    if line is None or line.index != cursor:
        raise CursorExpired(f"Nomad's event stream no longer leads on from {cursor}")
    return line


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


def _beginning(ids: Iterable[str]) -> str:
    """What all these ids begin with; the keys of one day have much in common."""
    return os.path.commonprefix(list(ids))  # noqa: RUF071 - by characters is what is meant


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except BatchBridgeError as error:
        return Check(name, False, str(error), error.remedy)
