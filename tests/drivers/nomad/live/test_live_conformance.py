"""The conformance kit, unchanged: on a plain agent, with the least rights over TLS, and without
Nomad's event stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from shutil import which
from typing import Any

import pytest

from batchbridge.testing import DriverConformance
from batchbridge_nomad import NomadDriver
from localdev.nomad_agent import admin_of
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad import test_conformance
from tests.drivers.nomad.live.conftest import LIVE, crowd_of

pytestmark = LIVE


class _Kit(DriverConformance):
    # Without an agent all of it is skipped, and says so.
    allowed_skips = test_conformance.TestNomad.allowed_skips if which("nomad") else None

    @pytest.fixture
    def on(self, agent: Agent) -> Agent:
        """The agent that the kit runs on."""
        return agent

    @pytest.fixture
    def driver(self, on: Agent) -> Iterator[NomadDriver]:
        driver = NomadDriver(settings(on))
        yield driver
        driver.close()

    @pytest.fixture
    def unreachable(self, on: Agent) -> NomadDriver:
        return NomadDriver(replace(settings(on), address="http://127.0.0.1:9"))

    @pytest.fixture
    def patience(self) -> float:
        return 180.0

    @pytest.fixture
    def job_fields(self) -> dict[str, Any]:
        return {"options": {"driver": "raw_exec"}}

    @pytest.fixture
    def crowd(self, on: Agent) -> dict[str, Any]:
        return crowd_of(admin_of(on))


class TestPlain(_Kit):
    """As it is."""


class TestLeastRightsOverTLS(_Kit):
    """With the shipped policy's token, and certificates of both sides."""

    @pytest.fixture
    def on(self, guarded: Agent) -> Agent:
        return guarded


class TestWithoutEvents(_Kit):
    """Where the servers keep no events: by one blocking query."""

    @pytest.fixture
    def on(self, eventless: Agent) -> Agent:
        return eventless
