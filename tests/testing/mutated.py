"""The kit, run on one mutant: the environment names it. Only ``test_teeth.py`` collects this."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import test_conformance_reference as correct
from .mutants import MUTANTS
from .reference import ReferenceDriver, Settings

MUTANT = MUTANTS[os.environ["BATCHBRIDGE_MUTANT"]]


class TestMutant(correct.TestReference):
    @pytest.fixture
    def driver(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: None
    ) -> ReferenceDriver:
        MUTANT.patch(monkeypatch)
        root = tmp_path / "engine"
        root.mkdir()
        return MUTANT.driver(Settings(root))

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> ReferenceDriver:
        return MUTANT.driver(Settings(tmp_path / "elsewhere"))

    @pytest.fixture
    def patience(self) -> float:
        return MUTANT.patience
