"""An Armada in this process, and drivers of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
