"""An agent in this process, and drivers of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from batchbridge_nomad import NomadDriver
from tests.drivers.nomad.agent import Agent


@pytest.fixture
def agent() -> Iterator[Agent]:
    """A small Nomad in this process, which runs tasks as processes of this machine."""
    with Agent() as made:
        yield made


@pytest.fixture
def nomad_driver(agent: Agent) -> Iterator[NomadDriver]:
    """A driver of it."""
    with closing(NomadDriver(NomadDriver.Settings(address=agent.address))) as made:
        yield made
