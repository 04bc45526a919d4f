"""Which capability a test of the kit is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from batchbridge.driver import BatchDriver, Capabilities

DRIVER: pytest.StashKey[BatchDriver[Any]] = pytest.StashKey()
"""The driver that a test is about, in the stash of its item."""

F = TypeVar("F", bound=Callable[..., Any])
ABSENT = (False, None, "absent", "none")


def needs(*capabilities: str) -> Callable[[F], F]:
    """Skip the test where one of these is not declared."""

    def mark(test: F) -> F:
        test.__batchbridge_needs__ = capabilities  # type: ignore[attr-defined]
        return test

    return mark


def lacking(test: Callable[..., Any], declared: Capabilities) -> list[str]:
    """The capabilities that the test needs and the driver does not declare."""
    needed = getattr(test, "__batchbridge_needs__", ())
    return [name for name in needed if getattr(declared, name) in ABSENT]
