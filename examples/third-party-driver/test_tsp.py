"""The driver keeps every promise of the contract that it makes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from batchbridge.testing import DriverConformance

from batchbridge_tsp import Settings, TspDriver


class TestTsp(DriverConformance):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[TspDriver]:
        root = tmp_path / "queue"
        yield TspDriver(Settings(root=str(root)))
        subprocess.run(["tsp", "-K"], env={"TS_SOCKET": str(root / "socket")}, check=False)

    @pytest.fixture
    def crowd(self) -> Mapping[str, Any]:
        return {}  # the queue has one slot: no two jobs run at once

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> TspDriver:
        (tmp_path / "file").touch()
        return TspDriver(Settings(root=str(tmp_path / "file" / "queue")))

    @pytest.fixture
    def unknown_id(self) -> str:
        return "bb-" + 32 * "0"
