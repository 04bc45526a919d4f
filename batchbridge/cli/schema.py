"""The JSON schema of a job as users write it: the model's, with the text forms that it reads."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from batchbridge.cli.flags import FIELDS
from batchbridge.model import JobSpec

_NUMBER: Final = r"^\s*\d+(\.\d+)?"
_TEXTS: Final = {
    "SIZE": {"type": "string", "pattern": _NUMBER + r"\s*[KMGTPkmgtp]?[iI]?[bB]?\s*$"},
    "TIME": {"type": "string", "pattern": _NUMBER + r"\s*(ms|s|m|h|d)?\s*$"},
    "CORES": {"type": "string", "pattern": _NUMBER + r"\s*$"},
}
"""By metavar: the text that stands for a number."""


def job_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one job in a file."""
    _, parts = msgspec.json.schema_components([JobSpec])
    job: dict[str, Any] = parts["JobSpec"]
    properties = {name: _property(name, job["properties"][name]) for name in FIELDS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A job of batchbridge",
        "type": "object",
        "properties": properties,
        "required": job["required"],
        "additionalProperties": False,
    }


def _property(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    field = FIELDS[name]
    forms = schema.get("anyOf") or [{k: v for k, v in schema.items() if k != "default"}]
    text = _TEXTS.get(field.metavar) or ({"type": "string"} if name == "command" else None)
    bound = {"minimum": 0} if field.metavar == "COUNT" else {"exclusiveMinimum": 0}
    forms = [form | bound if form["type"] in ("integer", "number") else form for form in forms]
    accepted = [*forms, text] if text else forms
    described: dict[str, Any] = {"description": field.in_files or field.help}
    return described | (accepted[0] if len(accepted) == 1 else {"anyOf": accepted})
