from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.local.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A spool of its own, wide enough for every job of a test to run at once."""
    rig = Rig(tmp_path / "spool", {"max_cpu": 8.0})
    yield rig
    rig.clean()
