"""What is asked of Armada for each submission, written as JSON values or as a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from batchbridge.errors import ConfigError
from batchbridge.fields import options_from
from batchbridge.model import JobSpec, Scope, Submission
from batchbridge_armada import jobspec
from batchbridge_armada.settings import ArmadaOptions, ArmadaSettings

if TYPE_CHECKING:
    from armada_client.armada.submit_pb2 import JobSubmitRequestItem

    from batchbridge_armada.api import Api

OWN = ("command", "name", "env", "secrets", "upload", "job_set")
"""Fields of a job that are not shared with others that ask for the same."""

SHARED = tuple(field.name for field in fields(JobSpec) if field.name not in OWN)


class Writer:
    """Writes jobs for one Armada. Pure, but for reading a template's file."""

    def __init__(self, settings: ArmadaSettings) -> None:
        self._settings = settings

    def options(self, spec: JobSpec) -> ArmadaOptions:
        """What the job asks of Armada. SpecError where that is nothing it can be asked."""
        return options_from(ArmadaOptions, spec.options)

    def queue(self, options: ArmadaOptions) -> str:
        """The queue of a job. ConfigError where none is named."""
        queue = options.queue or self._settings.queue
        if not queue:
            raise ConfigError(
                "armada: no queue is named",
                remedy="set queue in the profile, -o queue=NAME, or @armada(queue=NAME)",
            )
        return queue

    def scope(self, submission: Submission, options: ArmadaOptions) -> Scope:
        """The queue and the job set."""
        return (self.queue(options), submission.job_set)

    def rendered(self, submission: Submission) -> dict[str, Any]:
        """The item as JSON values; values of secrets are ``***``. SpecError as of a submit."""
        from batchbridge_armada import wire  # here: Armada's client takes its time to import

        options = self.options(submission.spec)
        hidden = dict.fromkeys(self._secrets(submission), "***")
        own = jobspec.own(
            submission, options, scope=self.scope(submission, options), secrets=hidden
        )
        values = jobspec.item(self.shared(submission, options), own)
        wire.check(values, template=bool(options.pod))
        return values

    def shared(self, submission: Submission, options: ArmadaOptions) -> dict[str, Any]:
        """What of the item others have too that ask for the same."""
        unpacks = submission.files is not None
        namespace = self._settings.namespace
        return jobspec.shared(submission.spec, options, namespace=namespace, unpacks=unpacks)

    def own(self, submission: Submission, options: ArmadaOptions) -> jobspec.Own:
        """What of the item is this job's own, with its secrets."""
        scope, secrets = self.scope(submission, options), self._secrets(submission)
        return jobspec.own(submission, options, scope=scope, secrets=secrets)

    def _secrets(self, submission: Submission) -> Mapping[str, str]:
        allowed = self._settings.allow_plain_credentials
        return jobspec.plain_secrets(submission, allowed=allowed) if submission.secrets else {}


class Order(NamedTuple):
    """One job on its way, and what its submitter should know of it."""

    submission: Submission
    message: JobSubmitRequestItem
    notes: tuple[str, ...]


class _Shared(NamedTuple):
    """What many jobs have in common."""

    options: ArmadaOptions
    values: Mapping[str, Any]
    message: JobSubmitRequestItem


class Orders:
    """Writes the messages of one submit. What many jobs share is written once."""

    def __init__(self, writer: Writer, api: Api) -> None:
        self._writer = writer
        self._api = api
        self._shared: dict[bytes, _Shared] = {}

    def order(self, submission: Submission) -> Order:
        """The message of that job. SpecError where it cannot be written."""
        shared = self._of(submission)
        own = self._writer.own(submission, shared.options)
        notes: tuple[str, ...] = ()
        if shared.options.pod:
            (pod,) = jobspec.item(shared.values, own)["pod_specs"]
            notes = jobspec.notes(shared.options, pod)
        return Order(submission, self._api.joined(shared.message, own), notes)

    def _of(self, submission: Submission) -> _Shared:
        spec = submission.spec
        asked = [getattr(spec, name) for name in SHARED]
        key = msgspec.json.encode((asked, submission.files is not None))
        if key not in self._shared:
            options = self._writer.options(spec)
            values = self._writer.shared(submission, options)
            message = self._api.item(values, template=bool(options.pod))
            self._shared[key] = _Shared(options, values, message)
        return self._shared[key]
