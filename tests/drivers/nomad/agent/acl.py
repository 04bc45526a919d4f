"""Who may do what. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Policy:
    """What a token may do, in one namespace.

    `variables`: what it may do with the variables whose paths match a pattern.
    """

    namespace: str = "default"
    capabilities: frozenset[str] = frozenset()
    variables: Mapping[str, frozenset[str]] = field(default_factory=dict)
    node: bool = False

    def allows(self, capability: str, namespace: str) -> bool:
        """Whether it may do that there; submit-job includes what it was split into."""
        return namespace == self.namespace and bool(
            self.capabilities & {capability, *_INCLUDED.get(capability, ())}
        )

    def allows_variable(self, capability: str, namespace: str, path: str) -> bool:
        """Whether it may do that with the variable at that path."""
        matching = [
            given for pattern, given in self.variables.items() if fnmatchcase(path, pattern)
        ]
        return namespace == self.namespace and any(capability in given for given in matching)


_INCLUDED = {
    "register-job": ("submit-job",),
    "deregister-job": ("submit-job",),
    "purge-job": ("submit-job",),
    "plan-job": ("submit-job",),
    "parse-job": ("submit-job",),
    "read-logs": ("read-fs",),
}

LEAST = frozenset({"submit-job", "read-job", "list-jobs", "read-logs"})
"""What batchbridge asks of a namespace."""


def least(namespace: str = "default", *without: str) -> Policy:
    """The policy that batchbridge asks for, or one that lacks some of it."""
    variables = {"nomad/jobs/*": frozenset({"read", "write", "destroy", "list"})}
    return Policy(namespace, LEAST - {*without}, {} if "variables" in without else variables)
