"""The kit, run on one mutant: the environment names it. Only ``test_teeth.py`` collects this."""

from __future__ import annotations

import os

import pytest

from . import test_conformance_reference as correct
from .mutants import MUTANTS

MUTANT = MUTANTS[os.environ["BATCHBRIDGE_MUTANT"]]


class TestMutant(correct.TestReference):
    kind = MUTANT.driver

    @pytest.fixture(autouse=True)
    def _broken_core(self, monkeypatch: pytest.MonkeyPatch, pace: None) -> None:
        MUTANT.patch(monkeypatch)

    @pytest.fixture
    def patience(self) -> float:
        return MUTANT.patience
