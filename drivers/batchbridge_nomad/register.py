"""Registering one job, with the secrets that it reads: each outcome as a receipt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from batchbridge.errors import BatchBridgeError, KeyConflict, TransportError
from batchbridge.model import Receipt, Submission
from batchbridge_nomad.api import Api
from batchbridge_nomad.jobs import digest
from batchbridge_nomad.jobspec import job_id
from batchbridge_nomad.plan import Plan
from batchbridge_nomad.replies import Conflict, Refused, rejected
from batchbridge_nomad.secrets import variable_path


class AlreadyThere(Refused):
    """A job of that id is registered, or was, and is not collected yet."""


@dataclass(frozen=True, slots=True)
class Registrar:
    """Registers what was planned. Safe to repeat: a key is one job, whose secrets stay."""

    api: Api
    plan: Plan

    def submit(self, submission: Submission) -> Receipt:
        """Register the job. One that Nomad refuses is a receipt in its words."""
        key, notes = submission.key, self.plan.notes
        try:
            with self._secrets(submission):
                notes += self._register()
        except AlreadyThere:
            return self._repeated(submission)
        except Refused as error:
            return Receipt(key, error=rejected(str(error)))
        return Receipt(key, id=job_id(key), created=True, notes=notes)

    def _register(self) -> tuple[str, ...]:
        """Nomad's own warnings."""
        try:
            said = self.api.register(self.plan.place, self.plan.payload).warnings
        except Refused as error:
            if "job already exists" in str(error):
                raise AlreadyThere(str(error)) from error
            raise
        return (f"Nomad warns: {' '.join(said.split())}",) if said else ()

    @contextmanager
    def _secrets(self, submission: Submission) -> Iterator[None]:
        """Write the job's secrets first, and take them back where there will be no job."""
        path = variable_path(job_id(submission.key))
        written = bool(submission.secrets) and self._write(path, submission)
        try:
            yield
        except (AlreadyThere, TransportError):
            raise
        except BatchBridgeError:
            if written:
                self._take_back(path)
            raise

    def _take_back(self, path: str) -> None:
        """Delete them, as far as that is allowed: why there is no job is what must be told."""
        with suppress(BatchBridgeError):
            self.api.delete_variable(self.plan.place, path)

    def _write(self, path: str, submission: Submission) -> bool:
        """Write them anew; whether it did: those of a job that is there are left as they are."""
        values = {name: secret.reveal() for name, secret in submission.secrets.items()}
        try:
            self.api.write_variable(self.plan.place, path, values, new=True)
        except Conflict:
            if self.api.job(self.plan.place, job_id(submission.key)) is not None:
                return False
            self.api.write_variable(self.plan.place, path, values, new=False)
        return True

    def _repeated(self, submission: Submission) -> Receipt:
        """The answer to a key whose job is there already."""
        key, known = submission.key, job_id(submission.key)
        job = self.api.job(self.plan.place, known)
        if job is None:
            raise TransportError(f"Nomad refused {known} as known, and then did not know it")
        if digest(job) == submission.digest:
            return Receipt(key, id=known, created=False)
        conflict = KeyConflict(
            f"the key {key!r} belongs to the job {known}, whose spec is another",
            remedy="use another key, or submit the same spec",
        )
        return Receipt(key, error=conflict)
