"""The local driver keeps every promise of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbridge.testing import DriverConformance
from batchbridge_local import LocalDriver


class TestLocal(DriverConformance):
    allowed_skips = frozenset({"test_gang", "test_cancel_set", "test_preempt", "test_reprioritise"})

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[LocalDriver]:
        settings = LocalDriver.Settings(root=str(tmp_path / "spool"), max_cpu=2.0, grace=1.0)
        driver = LocalDriver(settings)
        yield driver
        driver.close()

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> LocalDriver:
        """The spool would lie in a file."""
        (tmp_path / "file").touch()
        return LocalDriver(LocalDriver.Settings(root=str(tmp_path / "file" / "spool")))

    @pytest.fixture
    def crowd(self) -> dict[str, object]:
        return {"cpu": 2.0}
