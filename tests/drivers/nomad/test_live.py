"""The conformance kit, and what only a real cluster shows."""

from __future__ import annotations

import os
import shutil

import pytest
import requests

from batchbridge.testing import DriverConformance
from batchbridge_nomad import NomadDriver

ADDRESS = os.environ.get("BATCHBRIDGE_NOMAD", "")

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not ADDRESS,
        reason="BATCHBRIDGE_NOMAD names no agent with raw_exec, e.g. http://127.0.0.1:4646"
        + ("" if shutil.which("nomad") else "; nor is there a nomad on PATH"),
    ),
]


class TestConformance(DriverConformance):
    @pytest.fixture
    def driver(self):
        return NomadDriver(NomadDriver.Settings(address=ADDRESS))

    @pytest.fixture
    def unreachable(self):
        return NomadDriver(NomadDriver.Settings(address="http://127.0.0.1:9"))

    @pytest.fixture
    def job_fields(self):
        return {"options": {"driver": "raw_exec"}}

    @pytest.fixture
    def crowd(self):
        """Two jobs of which each needs more than half of the one node's memory."""
        (node,) = requests.get(f"{ADDRESS}/v1/nodes", timeout=10).json()
        shown = requests.get(f"{ADDRESS}/v1/node/{node['ID']}", timeout=10).json()
        return {"memory": int(shown["NodeResources"]["Memory"]["MemoryMB"] * 0.6) << 20}
