"""Where a step's job goes, as the step says it: what another process needs to reach it too.

Standard library alone: Metaflow imports this everywhere, in the job too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A profile or an engine, and what the step says of how it is reached. It holds no secret."""

    engine: str  #: the decorator's name
    profile: str | None
    named: bool = False  #: whether the step, or the command line, names that profile
    told: tuple[tuple[str, Any], ...] = ()  #: places among the settings -> values
    job_set: str | None = None  #: where it is not the run's own

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> Target:
        """The target that was written as JSON. Raises TypeError, KeyError, where it is none."""
        told = tuple((place, value) for place, value in form["told"])
        return cls(**{**form, "told": told})
