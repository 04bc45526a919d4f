"""The kit passes where it should: on a driver that keeps every promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchbridge.testing import DriverConformance

from .reference import ReferenceDriver, Settings


class TestReference(DriverConformance):
    allowed_skips = frozenset()
    kind = ReferenceDriver

    @pytest.fixture
    def driver(self, tmp_path: Path, engine: Path) -> ReferenceDriver:
        root = tmp_path / "engine"
        root.mkdir()
        return self.kind(Settings(root, engine))

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> ReferenceDriver:
        return self.kind(Settings(tmp_path / "elsewhere", tmp_path / "elsewhere"))

    @pytest.fixture
    def crowd(self) -> dict[str, object]:
        return {"options": {"exclusive": True}}

    @pytest.fixture
    def moment(self) -> float:
        return 0.4
