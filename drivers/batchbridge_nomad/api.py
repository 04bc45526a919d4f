"""The calls to Nomad: python-nomad's where it has them, the session's for what it cannot say.

All go through one :class:`~batchbridge_nomad.session.Session`, and raise its errors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from nomad import api as endpoints

from batchbridge.errors import BatchBridgeError, TransportError
from batchbridge_nomad.replies import Missing, Unauthorized
from batchbridge_nomad.rights import VARIABLES, to_register
from batchbridge_nomad.session import Answer, Session, Unsent
from batchbridge_nomad.settings import NomadSettings
from batchbridge_nomad.transfer import Broken, Reply
from batchbridge_nomad.wire import Alloc, Evaluation, Job, Node, Registered, Validity, read

M = TypeVar("M")
T = TypeVar("T")


class Place(NamedTuple):
    """Where a job is: every call names it."""

    namespace: str
    region: str = ""

    @property
    def params(self) -> dict[str, str]:
        """It as a query."""
        return {k: v for k, v in self._asdict().items() if v}


@dataclass(frozen=True, slots=True)
class Allocations:
    """The allocations of a namespace, and Nomad's index of them."""

    index: int
    allocs: tuple[Alloc, ...]


class _Nomad:
    """python-nomad's endpoints for one place.

    Made one by one, because ``nomad.Nomad`` takes what it was not given from the environment: a
    token that belongs to another address would be sent here.
    """

    def __init__(self, session: Session | Unsent, place: Place) -> None:
        named = {
            "address": "",  # the session's
            "namespace": place.namespace,
            "region": place.region or None,
            "session": session,
        }
        self.job = endpoints.Job(**named)
        self.jobs = endpoints.Jobs(**named)
        self.allocations = endpoints.Allocations(**named)
        self.evaluations = endpoints.Evaluations(**named)
        self.node = endpoints.Node(**named)
        self.validate = endpoints.Validate(**named)
        self.variable = endpoints.Variable(**named)


class Api:
    """One cluster, as one identity. Safe from several threads; connects at the first call."""

    def __init__(self, settings: NomadSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._clients: dict[Place, _Nomad] = {}

    def close(self) -> None:
        """Let go of every connection; another call makes new ones."""
        with self._lock:
            session, self._session = self._session, None
            self._clients.clear()
        if session is not None:
            session.close()

    # -- jobs --------------------------------------------------------------------------------

    def register(self, place: Place, payload: Mapping[str, Any]) -> Registered:
        """Register a job. Refused in Nomad's words where it is not valid or is there already."""
        needs = to_register(payload)
        found = self._ask(place, needs, lambda at: at.jobs.register_job(payload))
        return read(found, Registered)

    def register_all(
        self, jobs: Iterable[tuple[M, Place, Mapping[str, Any]]], *, at_once: int
    ) -> Iterator[tuple[M, Registered | BatchBridgeError]]:
        """Register many, so many at once: what stood beside each, and what came of it, as it comes.

        The next of `jobs` is only asked for when it may go.
        """
        asked = (
            ((mark, place, payload), _unsent(place).jobs.register_job(payload))
            for mark, place, payload in jobs
        )
        for (mark, place, payload), answer in self._open().send_all(asked, at_once=at_once):
            yield mark, self._registered(place, payload, answer)

    def parse(self, place: Place, hcl: str) -> Mapping[str, Any]:
        """A job in HCL as JSON. Refused in Nomad's words where it is none."""
        found = self._ask(place, "parse-job", lambda at: at.jobs.parse(hcl))
        return read(found, dict[str, Any])

    def validate(self, place: Place, payload: Mapping[str, Any]) -> Validity:
        """What Nomad says of a job without registering it. (python-nomad drops the namespace.)"""
        answer = self._ask(
            place,
            "submit-job",
            lambda at: at.validate.request(
                "job", method="post", json=payload, params=dict(place.params)
            ),
        )
        return read(answer.json(), Validity)

    def job(self, place: Place, job_id: str) -> Job | None:
        """That job; None if Nomad denies holding it."""
        try:
            return read(self._ask(place, "read-job", lambda at: at.job.get_job(_safe(job_id))), Job)
        except Missing as error:
            if "job not found" in str(error):
                return None
            words = f"Nomad does not say whether it knows {job_id}: {error}"
            raise TransportError(words, remedy=error.remedy) from error

    def jobs(self, place: Place, *, prefix: str = "", where: str = "") -> tuple[Job, ...]:
        """The jobs whose ids begin so, and of which the expression holds, with their Meta."""
        found = self._ask(
            place,
            "list-jobs",
            lambda at: at.jobs.get_jobs(prefix=prefix, filter_=where or None, meta=True),
        )
        return read(found, tuple[Job, ...])

    def allocations(self, place: Place, *, prefix: str) -> tuple[Alloc, ...]:
        """The allocations, with their tasks' events, of all jobs whose ids begin so."""
        where = of_jobs(prefix)
        found = self._ask(
            place,
            "read-job",
            lambda at: at.allocations.get_allocations(filter_=where, task_states=True),
        )
        return read(found, tuple[Alloc, ...])

    def allocations_of(self, place: Place, job_id: str) -> tuple[Alloc, ...]:
        """The allocations of one job, with their tasks' events."""
        found = self._ask(place, "read-job", lambda at: at.job.get_allocations(_safe(job_id)))
        return read(found, tuple[Alloc, ...])

    def evaluations_of(self, place: Place, job_id: str) -> tuple[Evaluation, ...]:
        """The evaluations of one job."""
        found = self._ask(place, "read-job", lambda at: at.job.get_evaluations(_safe(job_id)))
        return read(found, tuple[Evaluation, ...])

    def stops(self, place: Place, *, prefix: str) -> tuple[Evaluation, ...]:
        """The evaluations of jobs that were stopped. (python-nomad drops namespace and filter.)"""
        where = f'{of_jobs(prefix)} and TriggeredBy == "job-deregister"'
        asked = {**place.params, "filter": where}
        answer = self._ask(
            place, "read-job", lambda at: at.evaluations.request(method="get", params=asked)
        )
        return read(answer.json(), tuple[Evaluation, ...])

    def deregister(self, place: Place, job_id: str, *, purge: bool = False) -> None:
        """Ask Nomad to stop a job, or to forget it; one that it does not hold is fine."""
        self._ask(
            place,
            "submit-job",
            lambda at: at.job.deregister_job(_safe(job_id), purge=purge or None),
        )

    def node(self, place: Place, node_id: str) -> Node:
        """A node; AuthError where the token may not read them, as it need not."""
        return read(self._ask(place, "node:read", lambda at: at.node.get_node(node_id)), Node)

    # -- variables (python-nomad drops the namespace, so each call names it) ------------------

    def write_variable(
        self, place: Place, path: str, items: Mapping[str, str], *, new: bool
    ) -> None:
        """Write a variable. Conflict where it has to be `new`, and is not."""
        body, cas = {"Path": path, "Items": dict(items)}, 0 if new else None
        self._ask(
            place,
            VARIABLES,
            lambda at: at.variable.create_variable(path, body, namespace=place.namespace, cas=cas),
        )

    def delete_variable(self, place: Place, path: str) -> None:
        """Delete a variable; one that is not there is fine."""
        self._ask(
            place,
            VARIABLES,
            lambda at: at.variable.delete_variable(path, namespace=place.namespace),
        )

    # -- what python-nomad cannot say --------------------------------------------------------

    def index(self, place: Place) -> int:
        """Nomad's index now. (python-nomad drops the header that has it.)"""
        params = {**place.params, "per_page": "1"}
        return self._index(self._get(place, "read-job", "/v1/allocations", params))

    def allocations_after(
        self, place: Place, index: int, *, prefix: str, wait: float
    ) -> Allocations:
        """As :meth:`allocations`, once their index is beyond that one, or after `wait` seconds.

        (python-nomad can neither name an index nor tell it.)
        """
        params = {
            **place.params,
            "filter": of_jobs(prefix),
            "task_states": "true",
            "index": index,
            "wait": f"{wait:.0f}s",
        }
        answer = self._get(place, "read-job", "/v1/allocations", params)
        return Allocations(self._index(answer), read(answer.json(), tuple[Alloc, ...]))

    def stream(
        self,
        place: Place,
        needs: str,
        path: str,
        params: Mapping[str, Any],
        *,
        silence: float = 0,
        breakable: bool = False,
    ) -> Reply:
        """An answer that is read as it comes, with at most `silence` seconds between two bytes.

        (python-nomad's stream loses the tail, and its logs wait for an end that does not come.)
        Close it. What it raises while it is read is :func:`broken`'s to translate.
        """
        session, asked = self._open(), {**place.params, **params}
        silence = silence or self._settings.request_timeout
        return self._ask(
            place,
            needs,
            lambda _: session.open(path, asked, silence=silence, breakable=breakable),
        )

    # -- how ---------------------------------------------------------------------------------

    def _ask(self, place: Place, needs: str, ask: Callable[[_Nomad], T]) -> T:
        """What python-nomad answers; AuthError naming the capability that it `needs`."""
        try:
            return ask(self._at(place))
        except Unauthorized as error:
            raise self._lacking(error, place, needs) from error

    def _registered(
        self, place: Place, payload: Mapping[str, Any], answer: Answer | BatchBridgeError
    ) -> Registered | BatchBridgeError:
        if isinstance(answer, Unauthorized):
            return self._lacking(answer, place, to_register(payload))
        if isinstance(answer, BatchBridgeError):
            return answer
        try:
            return read(answer.json(), Registered)
        except TransportError as error:
            return error

    def _lacking(self, error: Unauthorized, place: Place, needs: str) -> Unauthorized:
        """That refusal, with all that it may mean: Nomad's words are one for each."""
        named, right = self._settings, f"{needs} in the namespace {place.namespace}"
        if named.token or named.token_file or named.token_command:
            remedy = f"the token is unknown here, has expired, or lacks {right}"
        else:
            remedy = f"no token is set (NOMAD_TOKEN, token_file, token_command) that has {right}"
        return Unauthorized(str(error), remedy=error.remedy or remedy)

    def _get(self, place: Place, needs: str, path: str, params: Mapping[str, Any]) -> Answer:
        session = self._open()
        return self._ask(place, needs, lambda _: session.get(path, params=params))

    def _index(self, answer: Answer) -> int:
        index = answer.headers.get("x-nomad-index", "")
        if not index.isdecimal():
            address = self._settings.address
            raise TransportError(f"{address} answers, but is not Nomad: it has no index")
        return int(index)

    def _open(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = Session(self._settings)
            return self._session

    def _at(self, place: Place) -> _Nomad:
        session = self._open()
        with self._lock:
            if place not in self._clients:
                self._clients[place] = _Nomad(session, place)
            return self._clients[place]


@cache
def _unsent(place: Place) -> _Nomad:
    """python-nomad's calls, that give their requests."""
    return _Nomad(Unsent(), place)


def of_jobs(prefix: str) -> str:
    """The filter that keeps what belongs to jobs whose ids begin so."""
    return f'JobID matches "^{prefix}"'


def broken(error: Broken | ValueError) -> TransportError:
    """The error of an answer that ended while it was read."""
    return TransportError(f"Nomad's answer was cut off: {error}")


def _safe(job_id: str) -> str:
    """An id as a part of a path: whoever names a job may have called it anything."""
    return quote(job_id, safe="")
