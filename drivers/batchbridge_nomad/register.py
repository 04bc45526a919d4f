"""Registering jobs, with the secrets that they read: each outcome as a receipt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from batchbridge.errors import BatchBridgeError, KeyConflict, SpecError, TransportError
from batchbridge.model import Receipt, Submission
from batchbridge.streams import foremost, mapped
from batchbridge_nomad.api import Api
from batchbridge_nomad.jobs import digest
from batchbridge_nomad.plan import Plan, Planner
from batchbridge_nomad.replies import Conflict, Refused, rejected
from batchbridge_nomad.secrets import variable_path
from batchbridge_nomad.wire import Registered, sentence

CALLS = 16
"""Requests at once where there is one for each job: Nomad writes many to disk as fast as one."""


@dataclass(frozen=True, slots=True)
class Registrar:
    """Registers jobs, once. Safe to repeat: a key is one job, whose secrets stay."""

    api: Api
    planner: Planner
    note: Callable[[Plan], None]  #: called with each job that is new
    longer: list[Callable[[], Receipt]] = field(default_factory=list)
    refused: list[Receipt] = field(default_factory=list)
    problems: list[BatchBridgeError] = field(default_factory=list)

    def register(self, submissions: Iterable[Submission]) -> Iterator[Receipt]:
        """Register each. A job that Nomad refuses is a receipt in its words; they come as answered.

        What Nomad cannot be asked for is raised once no request is under way; what was not begun by
        then is not registered.
        """
        asked = ((plan, plan.place, plan.payload) for plan in self._short(submissions))
        for plan, answer in self.api.register_all(asked, at_once=CALLS):
            if isinstance(answer, Registered):
                yield self._created(plan, answer)
            elif not isinstance(answer, Refused):
                self.problems.append(answer)
            elif _known(answer):
                self.longer.append(partial(self._repeated, plan))
            else:
                yield _refused(plan, answer)
        yield from self.refused
        if self.problems:
            raise foremost(self.problems)
        yield from mapped(lambda work: work(), self.longer, workers=CALLS)

    def _short(self, submissions: Iterable[Submission]) -> Iterator[Plan]:
        """The plans that take one request, each made when it may go; the others are for later."""
        for submission in submissions:
            if self.problems:
                return
            try:
                plan = self.planner.plan(submission)
            except SpecError as error:
                self.refused.append(Receipt(submission.key, error=error))
                continue
            except BatchBridgeError as error:  # Nomad reads templates in HCL for us
                self.problems.append(error)
                return
            if submission.secrets:
                self.longer.append(partial(self._with_secrets, plan))
            else:
                yield plan

    def _with_secrets(self, plan: Plan) -> Receipt:
        try:
            with self._secrets(plan):
                return self._created(plan, self.api.register(plan.place, plan.payload))
        except Refused as error:
            return self._repeated(plan) if _known(error) else _refused(plan, error)

    def _created(self, plan: Plan, said: Registered) -> Receipt:
        self.note(plan)
        warnings = sentence(said.warnings)
        notes = (*plan.notes, *([f"Nomad warns: {warnings}"] if warnings else []))
        return Receipt(plan.submission.key, id=plan.job_id, created=True, notes=notes)

    @contextmanager
    def _secrets(self, plan: Plan) -> Iterator[None]:
        """Write the job's secrets first, and take them back where there will be no job."""
        written = self._write(plan)
        try:
            yield
        except TransportError:
            raise
        except BatchBridgeError as error:
            if written and not _known(error):
                self._take_back(plan)
            raise

    def _take_back(self, plan: Plan) -> None:
        """Delete them, as far as that is allowed: why there is no job is what must be told."""
        with suppress(BatchBridgeError):
            self.api.delete_variable(plan.place, variable_path(plan.job_id))

    def _write(self, plan: Plan) -> bool:
        """Write them anew; whether it did: those of a job that is there are left as they are."""
        path = variable_path(plan.job_id)
        values = {name: secret.reveal() for name, secret in plan.submission.secrets.items()}
        try:
            self.api.write_variable(plan.place, path, values, new=True)
        except Conflict:
            if self.api.job(plan.place, plan.job_id) is not None:
                return False
            self.api.write_variable(plan.place, path, values, new=False)
        return True

    def _repeated(self, plan: Plan) -> Receipt:
        """The answer to a key whose job is there already."""
        key, known = plan.submission.key, plan.job_id
        job = self.api.job(plan.place, known)
        if job is None:
            raise TransportError(f"Nomad refused {known} as known, and then did not know it")
        if digest(job) == plan.submission.digest:
            return Receipt(key, id=known, created=False)
        return Receipt(key, error=KeyConflict.of(key, known))


def _refused(plan: Plan, refusal: Refused) -> Receipt:
    return Receipt(plan.submission.key, error=rejected(str(refusal)))


def _known(refusal: BatchBridgeError) -> bool:
    """Whether a job of that id is registered, or was, and is not collected yet."""
    return isinstance(refusal, Refused) and "job already exists" in str(refusal)
