"""The calls to Nomad: python-nomad's where it has them, the session's for what it cannot say.

Every call raises errors of :mod:`batchbridge.errors` and is sent once; only a refused token is
read again, from its file or command, before the call is sent a second time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import requests
from nomad import api as endpoints
from nomad.api.exceptions import BaseNomadException
from requests.exceptions import JSONDecodeError, RequestException
from urllib3.exceptions import HTTPError

from batchbridge.errors import BatchBridgeError, TransportError
from batchbridge_nomad.replies import Missing, Unauthorized, problem, unreachable
from batchbridge_nomad.session import Identity, base_url, new_session
from batchbridge_nomad.settings import NomadSettings
from batchbridge_nomad.wire import Alloc, Evaluation, Job, read

T = TypeVar("T")

VARIABLES = 'variables { path "nomad/jobs/*" { capabilities = ["write", "destroy"] } }'
"""The right to hand over secrets, as a policy says it."""


class Place(NamedTuple):
    """Where a job is: every call names it."""

    namespace: str
    region: str = ""

    @property
    def params(self) -> dict[str, str]:
        """It as a query."""
        return {k: v for k, v in self._asdict().items() if v}


class _Nomad(NamedTuple):
    """python-nomad's endpoints for one place.

    Made one by one, because ``nomad.Nomad`` takes what it was not given from the environment: a
    token that belongs to another address would be sent here.
    """

    job: endpoints.Job
    jobs: endpoints.Jobs
    allocations: endpoints.Allocations
    variable: endpoints.Variable


class Api:
    """One cluster, as one identity. Safe from several threads; connects at the first call."""

    def __init__(self, settings: NomadSettings) -> None:
        self._settings = settings
        self._address, self._url = settings.address, base_url(settings)
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._clients: dict[Place, _Nomad] = {}

    def close(self) -> None:
        """Let go of every connection."""
        with self._lock:
            if self._session is not None:
                self._session.close()

    # -- jobs --------------------------------------------------------------------------------

    def register(self, place: Place, payload: Mapping[str, Any]) -> None:
        """Register a job. Refused in Nomad's words where it is not valid or is there already."""
        self._call("submit-job", lambda: self._at(place).jobs.register_job(payload))

    def parse(self, place: Place, hcl: str) -> Mapping[str, Any]:
        """A job in HCL as JSON. Refused in Nomad's words where it is none."""
        found = self._call("parse-job", lambda: self._at(place).jobs.parse(hcl))
        return read(found, dict[str, Any])

    def job(self, place: Place, job_id: str) -> Job | None:
        """That job; None if Nomad denies holding it."""
        try:
            found = self._call("read-job", lambda: self._at(place).job.get_job(job_id))
            return read(found, Job)
        except Missing as error:
            if "job not found" in str(error):
                return None
            raise TransportError(f"this 404 is not Nomad's: {error}") from error

    def jobs(self, place: Place, *, prefix: str = "", where: str = "") -> tuple[Job, ...]:
        """The jobs whose ids begin so, and of which the expression holds, with their Meta."""
        found = self._call(
            "list-jobs",
            lambda: self._at(place).jobs.get_jobs(prefix=prefix, filter_=where or None, meta=True),
        )
        return read(found, tuple[Job, ...])

    def allocations(self, place: Place, *, prefix: str) -> tuple[Alloc, ...]:
        """The allocations, with their tasks' events, of all jobs whose ids begin so."""
        where = f'JobID matches "^{prefix}"'
        found = self._call(
            "read-job",
            lambda: self._at(place).allocations.get_allocations(filter_=where, task_states=True),
        )
        return read(found, tuple[Alloc, ...])

    def allocations_of(self, place: Place, job_id: str) -> tuple[Alloc, ...]:
        """The allocations of one job, with their tasks' events."""
        found = self._call("read-job", lambda: self._at(place).job.get_allocations(job_id))
        return read(found, tuple[Alloc, ...])

    def evaluations_of(self, place: Place, job_id: str) -> tuple[Evaluation, ...]:
        """The evaluations of one job. (python-nomad's other ways to them drop the namespace.)"""
        found = self._call("read-job", lambda: self._at(place).job.get_evaluations(job_id))
        return read(found, tuple[Evaluation, ...])

    def deregister(self, place: Place, job_id: str) -> None:
        """Ask Nomad to stop a job; one that it does not hold is fine."""
        self._call("submit-job", lambda: self._at(place).job.deregister_job(job_id))

    # -- variables (python-nomad drops the namespace, so each call names it) ------------------

    def write_variable(
        self, place: Place, path: str, items: Mapping[str, str], *, new: bool
    ) -> None:
        """Write a variable. Conflict where it has to be `new`, and is not."""
        body, cas = {"Path": path, "Items": dict(items)}, 0 if new else None
        self._call(
            VARIABLES,
            lambda: self._at(place).variable.create_variable(
                path, body, namespace=place.namespace, cas=cas
            ),
        )

    def delete_variable(self, place: Place, path: str) -> None:
        """Delete a variable; one that is not there is fine."""
        self._call(
            VARIABLES,
            lambda: self._at(place).variable.delete_variable(path, namespace=place.namespace),
        )

    # -- what python-nomad cannot say --------------------------------------------------------

    def index(self, place: Place) -> int:
        """Nomad's index now. (python-nomad drops the header that has it.)"""
        params = {**place.params, "per_page": "1"}
        answer = self._call("read-job", lambda: self._checked("/v1/allocations", params))
        with answer:
            index = answer.headers.get("X-Nomad-Index", "")
        if not index.isdecimal():
            raise TransportError(f"{self._address} answers, but is not Nomad: it has no index")
        return int(index)

    def stream(
        self, needs: str, path: str, params: Mapping[str, Any], *, silence: float | None = None
    ) -> requests.Response:
        """An answer that is read as it comes, with at most `silence` seconds between two bytes.

        (python-nomad's stream loses the tail, and its logs wait for an end that does not come.)
        Close it. What it raises while it is read is :func:`broken`'s to translate.
        """
        return self._call(needs, lambda: self._checked(path, params, silence=silence))

    # -- how ---------------------------------------------------------------------------------

    def _call(self, needs: str, ask: Callable[[], T]) -> T:
        """What `ask` answers; AuthError naming the capability that it `needs`."""
        try:
            return self._renewed(ask)
        except Unauthorized as error:
            remedy = f"the token needs {needs} in the namespace"
            raise Unauthorized(str(error), remedy=remedy) from error

    def _renewed(self, ask: Callable[[], T]) -> T:
        try:
            return self._translated(ask)
        except Unauthorized:
            identity = self._open().auth
            if not (isinstance(identity, Identity) and identity.renewed()):
                raise
            return self._translated(ask)

    def _translated(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except BaseNomadException as error:
            raise self._meant(error.nomad_resp) from error
        except JSONDecodeError as error:
            raise TransportError(f"{self._address} answers, but not as Nomad: {error}") from error
        except RequestException as error:
            raise unreachable(error, self._address) from error

    def _meant(self, answer: Any) -> BatchBridgeError:
        if isinstance(answer, requests.Response):
            return problem(answer.status_code, answer.text, answer.headers)
        if isinstance(answer, RequestException):
            return unreachable(answer, self._address)
        return TransportError(f"{self._address}: {answer}")

    def _checked(
        self, path: str, params: Mapping[str, Any], *, silence: float | None = None
    ) -> requests.Response:
        wait = self._settings.request_timeout
        answer = self._open().get(
            self._url + path,
            params=params,
            stream=True,
            timeout=(wait, silence or wait),
            # Compressed, an answer arrives when the compressor is full.
            headers={"Accept-Encoding": "identity"},
        )
        if answer.ok:
            return answer
        with answer:
            raise problem(answer.status_code, answer.text, answer.headers)

    def _open(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = new_session(self._settings)
            return self._session

    def _at(self, place: Place) -> _Nomad:
        session = self._open()
        with self._lock:
            if place not in self._clients:
                named = {
                    "address": self._url,
                    "namespace": place.namespace,
                    "region": place.region or None,
                    "timeout": self._settings.request_timeout,
                    "verify": True,
                    "session": session,
                }
                self._clients[place] = _Nomad(
                    endpoints.Job(**named),
                    endpoints.Jobs(**named),
                    endpoints.Allocations(**named),
                    endpoints.Variable(**named),
                )
            return self._clients[place]


def broken(error: HTTPError | OSError | ValueError) -> TransportError:
    """The error of an answer that ended while it was read."""
    return TransportError(f"Nomad's answer was cut off: {error}")
