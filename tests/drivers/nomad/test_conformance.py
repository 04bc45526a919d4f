"""The conformance kit and its faults, on a Nomad in this process that runs jobs as processes."""

from __future__ import annotations

import pytest

from batchbridge.testing import DriverConformance
from batchbridge_nomad import NomadDriver


class TestNomad(DriverConformance):
    allowed_skips = frozenset(
        {
            "test_cancel_set",
            "test_gang",
            "test_no_reruns",
            "test_preempt",
            "test_queue_timeout",
            "test_reprioritise",
        }
    )

    @pytest.fixture
    def driver(self, nomad_driver):
        return nomad_driver

    @pytest.fixture
    def unreachable(self):
        return NomadDriver(NomadDriver.Settings(address="http://127.0.0.1:9"))

    @pytest.fixture
    def patience(self):
        return 15.0

    @pytest.fixture
    def job_fields(self):
        return {"options": {"driver": "raw_exec"}}

    @pytest.fixture
    def crowd(self):
        """Each needs more than half of the one node's memory."""
        return {"memory": 600 << 30}
