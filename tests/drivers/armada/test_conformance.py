"""The conformance kit, on an Armada in this process that runs jobs as processes."""

from __future__ import annotations

import pytest

from batchbridge.testing import DriverConformance
from batchbridge_armada import ArmadaDriver


class TestArmada(DriverConformance):
    allowed_skips = frozenset(
        {
            "test_secret",
            "test_secret_is_shown_to_nobody",
            "test_secret_is_not_rendered",
            "test_queue_timeout",
            "test_purge",
            "test_confirmed_end",
        }
    )

    @pytest.fixture
    def driver(self, driver):
        return driver

    @pytest.fixture
    def unreachable(self):
        settings = ArmadaDriver.Settings(address="127.0.0.1:9", queue="q", binoculars="127.0.0.1:9")
        return ArmadaDriver(settings)

    @pytest.fixture
    def patience(self):
        return 15.0

    @pytest.fixture
    def job_fields(self):
        options = {"priority_class": "armada-preemptible"}  # of others, none is ever preempted
        return {"image": "busybox", "cpu": 0.1, "options": options}

    @pytest.fixture
    def crowd(self):
        return {"cpu": 10}

    @pytest.fixture
    def lines(self):
        """Binoculars cannot page through more than 2 MB of one second."""
        return 30_000
