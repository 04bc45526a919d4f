"""An agent in this process, and drivers of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from pytest_httpserver import HTTPServer

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


@pytest.fixture
def httpserver() -> Iterator[HTTPServer]:
    """A server that is told what to answer, and answers while a stream is open."""
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def address(httpserver: HTTPServer) -> str:
    """Where it listens."""
    return httpserver.url_for("").rstrip("/")


@pytest.fixture
def driver(address: str) -> Iterator[NomadDriver]:
    """A driver of it, for the namespace ``team``."""
    with closing(NomadDriver(NomadDriver.Settings(address=address, namespace="team"))) as made:
        yield made
