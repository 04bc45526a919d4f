"""An Armada in this process, and drivers of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer

from batchbridge_armada import ArmadaDriver
from tests.drivers.armada.server import Armada

QUEUE = "q"


@pytest.fixture
def armada() -> Iterator[Armada]:
    server = Armada()
    server.cluster.queues.add(QUEUE)
    yield server
    server.close()


@pytest.fixture
def driver_here(armada: Armada) -> Iterator[ArmadaDriver]:
    settings = ArmadaDriver.Settings(address=armada.address, queue=QUEUE, binoculars=armada.address)
    driver = ArmadaDriver(settings)
    yield driver
    driver.close()


@pytest.fixture
def provider() -> Iterator[HTTPServer]:
    """Where an OpenID Connect provider can be."""
    server = HTTPServer(host="127.0.0.1")
    server.start()
    yield server
    server.stop()
