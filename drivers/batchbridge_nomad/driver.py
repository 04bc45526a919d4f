"""The driver: Nomad's calls on one side, the words of batchbridge on the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from batchbridge.driver import BatchDriver, Capabilities
from batchbridge.driver import Known as Followed
from batchbridge.errors import AuthError, BatchBridgeError
from batchbridge.model import (
    Absent,
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
from batchbridge.streams import mapped
from batchbridge_nomad import explain, jobs, jobspec, lists, logs, show, translate, watch
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.book import Book
from batchbridge_nomad.plan import Plan, Planner, options_of
from batchbridge_nomad.register import CALLS, Registrar
from batchbridge_nomad.secrets import variable_path
from batchbridge_nomad.settings import NomadOptions, NomadSettings
from batchbridge_nomad.translate import Known
from batchbridge_nomad.wire import Alloc, Job


class NomadDriver(BatchDriver[NomadSettings]):
    """Batch jobs of one Nomad cluster; a scope is a namespace, of a region where one is named."""

    name = "nomad"
    contract = 1
    capabilities = Capabilities(
        idempotency="exact",
        push=True,
        absence=True,
        history=True,
        confirms_end=True,
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
        purge=True,
        explain=True,
        render=True,
    )
    Settings = NomadSettings
    Options = NomadOptions

    def __init__(self, settings: NomadSettings) -> None:
        super().__init__(settings)
        self._api = Api(settings)
        self._lock = threading.Lock()
        self._planner = Planner(settings, self._api)
        self._books: dict[Scope, Book] = {}

    def scope_of(self, submission: Submission) -> Scope:
        """The namespace, and the region where one is named."""
        return self._planner.scope(options_of(submission))

    # -- the four verbs ----------------------------------------------------------------------

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Register each, create-only. A job that Nomad refuses is a receipt in its words."""
        return Registrar(self._api, self._planner, self._note).register(submissions)

    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """The history of each known job; Absent where Nomad denies it, asked for by itself."""
        found, at = self._known(scope, known), time.time()
        told = [seen for job in found.values() for seen in translate.history(job)]
        return Batch((*told, *(Absent(id, at) for id in known if id not in found)))

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Deregister each, those without an allocation first. Nomad keeps no reason."""
        for _ in mapped(self._deregister, sorted(refs, key=self._placed), workers=CALLS):
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
        """Follow the namespace's event stream from `cursor`, or from now."""
        return watch.watch(self._api, self._place(scope), self._book(scope), cursor, known)

    def list(self, job_set: str | None, user: str | None) -> Iterator[Listed]:
        """The jobs of that set and that user in the settings' namespace."""
        scope = self._planner.scope(NomadOptions())
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
        return self._planner.plan(submission).payload

    def hints(self, ref: JobRef) -> Mapping[str, str]:
        """The job in Nomad's web pages, and the commands that show it."""
        return show.job(self.settings.address, self._place(ref.scope), ref.id)

    def details(self, ref: JobRef, attempt: int) -> Mapping[str, str]:
        """The allocation, its node, and the commands that show its output."""
        alloc, place = self._alloc(ref, attempt), self._place(ref.scope)
        return show.attempt(place, alloc, self._datacenter(place, alloc)) if alloc else {}

    def release(self, refs: Sequence[JobRef]) -> None:
        """Delete the variables that held their secrets."""
        for ref in refs:
            job = self._book(ref.scope).get(ref.id) or self._known(ref.scope, [ref.id]).get(ref.id)
            if job is not None and job.secrets:
                self._api.delete_variable(self._place(ref.scope), variable_path(ref.id))

    def purge(self, refs: Sequence[JobRef]) -> None:
        """Have Nomad forget them with all that it kept, and delete what held their secrets."""
        self.release(refs)
        for _ in mapped(self._forget, refs, workers=CALLS):
            pass

    def probe(self) -> Iterable[Check]:
        """Whether Nomad answers, and whether the token may read the namespace."""
        place = self._place((self.settings.namespace,))
        yield _check("jobs can be read", lambda: f"index {self._api.index(place)}")
        yield _check("jobs can be listed", lambda: f"{len(self._api.jobs(place, prefix='bb-'))}")
        yield _check("jobs can be submitted", lambda: self._validated(place))

    def close(self) -> None:
        """Let go of connections."""
        self._api.close()

    # -- how ---------------------------------------------------------------------------------

    def _place(self, scope: Scope) -> Place:
        return self._planner.place(scope)

    def _book(self, scope: Scope) -> Book:
        with self._lock:
            return self._books.setdefault(scope, Book())

    def _deregister(self, ref: JobRef) -> None:
        self._api.deregister(self._place(ref.scope), ref.id)

    def _forget(self, ref: JobRef) -> None:
        self._api.deregister(self._place(ref.scope), ref.id, purge=True)

    def _placed(self, ref: JobRef) -> bool:
        job = self._book(ref.scope).get(ref.id)
        return job is None or bool(job.allocs)

    def _note(self, plan: Plan) -> None:
        """That job is new: there is no more to know of it."""
        meta = plan.payload["Job"]["Meta"]
        job = Job(plan.job_id, submit_time=time.time_ns(), meta=meta)
        self._book(plan.scope).enter(jobs.known(job, []))

    def _known(self, scope: Scope, ids: Collection[str]) -> dict[str, Known]:
        """What Nomad knows of these jobs now, noted."""
        book, place = self._book(scope), self._place(scope)
        return {id: book.enter(job) for id, job in lists.known(self._api, place, ids).items()}

    def _alloc(self, ref: JobRef, attempt: int) -> Alloc | None:
        job = self._book(ref.scope).get(ref.id)
        if job is None or len(job.allocs) < attempt:
            job = self._known(ref.scope, [ref.id]).get(ref.id)
        return job.allocs[attempt - 1] if job and attempt <= len(job.allocs) else None

    def _validated(self, place: Place) -> str:
        """What Nomad says of a job that it is only shown; AuthError where it may not be sent."""
        spec = JobSpec(command=("true",), options={"driver": "raw_exec"})
        shown = self.render(Submission("probe", spec, "probe", "probe"))
        found = self._api.validate(place, shown)
        return ", ".join(found.validation_errors or ()) or found.warnings or "a job is valid"

    def _datacenter(self, place: Place, alloc: Alloc) -> str:
        """Where its node is; empty to whoever may not read nodes, as nobody else need."""
        try:
            return self._api.node(place, alloc.node_id).datacenter
        except AuthError:
            return ""


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except BatchBridgeError as error:
        return Check(name, False, str(error), error.remedy)
