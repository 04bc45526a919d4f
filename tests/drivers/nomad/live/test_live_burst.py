"""More jobs at once than the agent's buffer holds events of: no end is missed."""

from __future__ import annotations

import os

import pytest

from localdev.nomad_config import settings
from tests.drivers.nomad.live.conftest import Start, client_of
from tests.drivers.nomad.live.numbered import check_ends

JOBS = int(os.environ.get("BATCHBRIDGE_LIVE_BURST", "3000"))
SECONDS = 2.0 * JOBS
"""More than a client on two busy cores takes."""

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300 + SECONDS)]
BUFFER = "server { event_buffer_size = 100 }"
"""What an agent has by default."""

CHEAP = """
job "cheap" {
  type = "batch"
  group "cheap" {
    task "cheap" {
      driver = "raw_exec"
      logs { disabled = true }
      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}
"""
"""A process less for each, and place for many at once."""


def test_every_end_of_a_burst_is_seen(start: Start):
    agent = start(config=BUFFER)
    specs = [{"command": f"exit {n % 3}", "options": {"template": CHEAP}} for n in range(JOBS)]
    with client_of(settings(agent)) as client:
        check_ends(client.submit_many(specs), SECONDS)
