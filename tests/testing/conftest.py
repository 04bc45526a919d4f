from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .reference import running_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Path]:
    """The socket of the reference engine."""
    with running_engine() as address:
        yield address
