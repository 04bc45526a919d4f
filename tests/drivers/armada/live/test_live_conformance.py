"""The conformance kit on a real Armada with its executor and its Binoculars."""

from __future__ import annotations

import pytest

from batchbridge.testing import DriverConformance
from batchbridge_armada import ArmadaDriver
from tests.drivers.armada.live.conftest import MODEST


class TestArmada(DriverConformance):
    @pytest.fixture
    def driver(self, real, settings):
        return ArmadaDriver(settings)

    @pytest.fixture
    def unreachable(self):
        settings = ArmadaDriver.Settings(address="127.0.0.1:9", queue="q", binoculars="127.0.0.1:9")
        return ArmadaDriver(settings)

    @pytest.fixture
    def patience(self):
        """A cancelled pod may live on for its grace."""
        return 90.0

    @pytest.fixture
    def moment(self):
        """Armada looks at its pods about once a second."""
        return 3.0

    @pytest.fixture
    def job_fields(self):
        """Of the other priority class Armada preempts none, and does not say so."""
        return {**MODEST, "options": {"priority_class": "armada-preemptible"}}

    @pytest.fixture
    def crowd(self, most):
        return {"cpu": most}

    @pytest.fixture
    def lines(self):
        """Binoculars cannot page through more than 2 MB of one second."""
        return 30_000

    @pytest.fixture
    def unknown_id(self):
        return "01k00000000000000000000000"
