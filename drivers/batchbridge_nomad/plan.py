"""What becomes of a submission: where its job goes, and what is sent to register it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from batchbridge.errors import SpecError
from batchbridge.fields import options_from
from batchbridge.model import Scope, Submission
from batchbridge.templates import text_of
from batchbridge_nomad import jobspec, template
from batchbridge_nomad.api import Api, Place
from batchbridge_nomad.replies import Refused
from batchbridge_nomad.settings import NomadOptions, NomadSettings
from batchbridge_nomad.template import Block


@dataclass(frozen=True, slots=True)
class Plan:
    """One job, ready to be registered."""

    submission: Submission
    scope: Scope
    place: Place
    payload: Block
    notes: tuple[str, ...] = ()

    @property
    def job_id(self) -> str:
        """What Nomad is to call it."""
        return str(self.payload["Job"]["ID"])


class Planner:
    """Makes plans. Safe from several threads; asks Nomad only for templates in HCL."""

    def __init__(self, settings: NomadSettings, api: Api) -> None:
        self._settings = settings
        self._api = api
        self._bases: dict[str, Block] = {}

    def place(self, scope: Scope) -> Place:
        """The place that a scope means; SpecError where it is none of ours."""
        if not 1 <= len(scope) <= 2:
            words = "a reference of Nomad's names a namespace, and a region if need be"
            raise SpecError(f"{words}: nomad://PROFILE/NAMESPACE/ID", path="ref")
        return Place(scope[0], scope[1] if len(scope) > 1 else self._settings.region)

    def scope(self, options: NomadOptions) -> Scope:
        """The namespace, and the region where one is named: of the job, else of the settings."""
        namespace = options.namespace or self._settings.namespace
        return tuple(filter(None, (namespace, options.region or self._settings.region)))

    def plan(self, submission: Submission) -> Plan:
        """The job of that submission. SpecError where what is asked for does not go together."""
        options = options_of(submission)
        scope = self.scope(options)
        place = self.place(scope)
        site = jobspec.Site(place.namespace, place.region, self._settings.mhz_per_core)
        base = self._base(place, options.template)
        made = jobspec.payload(submission, options, site, base)
        told = template.notes(base or {}, made["Job"]), jobspec.unused(submission.spec, options)
        return Plan(submission, scope, place, made, tuple(chain(*told)))

    def _base(self, place: Place, option: str) -> Block | None:
        """The job of a template, read and parsed once while its text stays the same."""
        if not option:
            return None
        text = text_of(option, path=template.PATH)
        if text not in self._bases:
            self._bases[text] = template.base(template.decoded(text) or self._parsed(place, text))
        return self._bases[text]

    def _parsed(self, place: Place, text: str) -> Mapping[str, Any]:
        try:
            return self._api.parse(place, text)
        except Refused as error:
            words = f"{template.PATH}: Nomad cannot parse it: {error}"
            raise SpecError(words, path=template.PATH) from error


def options_of(submission: Submission) -> NomadOptions:
    """What the job asks of Nomad."""
    return options_from(NomadOptions, submission.spec.options)
