"""The kit passes where it should: on a driver that keeps every promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchbridge.testing import DriverConformance

from .reference import ReferenceDriver, Settings


class TestReference(DriverConformance):
    allowed_skips = frozenset()

    @pytest.fixture
    def moment(self) -> float:
        return 0.4

    @pytest.fixture
    def driver(self, tmp_path: Path) -> ReferenceDriver:
        root = tmp_path / "engine"
        root.mkdir()
        return ReferenceDriver(Settings(root))

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> ReferenceDriver:
        return ReferenceDriver(Settings(tmp_path / "elsewhere"))

    @pytest.fixture
    def crowd(self) -> dict[str, object]:
        return {"options": {"exclusive": True}}
