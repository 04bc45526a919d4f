"""An Armada in this process, a driver of it, and a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from pytest_httpserver import HTTPServer

from batchbridge import Client
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
def driver(armada: Armada) -> Iterator[ArmadaDriver]:
    settings = ArmadaDriver.Settings(address=armada.address, queue=QUEUE, binoculars=armada.address)
    with closing(ArmadaDriver(settings)) as driver:
        yield driver


@pytest.fixture
def client(driver: ArmadaDriver) -> Iterator[Client]:
    with Client(driver=driver, journal=False) as client:
        yield client


@pytest.fixture
def provider() -> Iterator[HTTPServer]:
    """Where an OpenID Connect provider can be."""
    server = HTTPServer(host="127.0.0.1")
    server.start()
    yield server
    server.stop()
