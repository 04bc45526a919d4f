"""What tests of single answers share: a server that is told what to answer, and its driver."""

from __future__ import annotations

from batchbridge.model import JobSpec, Secret, Submission
from batchbridge_nomad.api import Place

SCOPE = ("team",)
TEAM = Place("team")

EXISTS = "Enforcing job modify index 0: job already exists"
"""How Nomad refuses a job whose id is taken."""


def submission(key="k", **fields):
    """A small job of raw_exec's."""
    secrets = {name: Secret("hidden") for name in fields.pop("secrets", ())}
    options = {"driver": "raw_exec", **fields.pop("options", {})}
    spec = JobSpec(command=("true",), options=options, **fields)
    return Submission(key, spec, "set", "me", secrets=secrets)
