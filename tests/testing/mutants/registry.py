"""What a mutant is, and all of them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.testing.reference import ReferenceDriver


@dataclass(frozen=True)
class Mutant:
    kind: str
    because: str
    caught_by: frozenset[str]
    perhaps_by: frozenset[str]
    driver: type[ReferenceDriver] = ReferenceDriver
    patch: Callable[[pytest.MonkeyPatch], None] = lambda monkeypatch: None
    patience: float = 6.0


MUTANTS: dict[str, Mutant] = {}

UNDER_FAULTS = (
    "cut_stream",
    "double_cancel",
    "duplicates",
    "everything_at_once",
    "expired_cursor",
    "failing_snapshot",
    "lost_acknowledgement",
    "reordering",
    "silence",
    "split_characters",
)
"""The kit's tests under faults; what ends a job wrongly ends it wrongly in each."""


def mutant(
    because: str, *caught_by: str, perhaps_by: Iterable[str] = (), patience: float = 6.0
) -> Callable[[Any], Any]:
    """Register a driver class, or a function that breaks the core."""

    def register(broken: Any) -> Any:
        what = {"driver": broken} if isinstance(broken, type) else {"patch": broken}
        tests = [frozenset(f"test_{name}" for name in names) for names in (caught_by, perhaps_by)]
        kind = broken.__module__.rpartition(".")[2]
        MUTANTS[broken.__name__] = Mutant(kind, because, *tests, patience=patience, **what)
        return broken

    return register
