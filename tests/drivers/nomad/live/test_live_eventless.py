"""Servers that keep no events: however many jobs are watched, one query after the other does it."""

from __future__ import annotations

import re
import time

from batchbridge_nomad.changes import REST
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.conftest import LIVE, client_of
from tests.drivers.nomad.live.numbered import check_ends, numbered

pytestmark = LIVE
JOBS = 50
ASKED = re.compile(r'http: request complete: method=GET path="?([^\s"]+)')
"""What the agent's log says of each request."""


def test_one_query_serves_all_jobs(eventless: Agent):
    log = eventless.place.log
    before, began = log.stat().st_size, time.monotonic()
    with client_of(settings(eventless)) as client:
        check_ends(client.submit_many(numbered(JOBS, "sleep 2")))
    asked = ASKED.findall(log.read_bytes()[before:].decode())
    assert not [path for path in asked if path.startswith("/v1/job/")]
    queries = [path for path in asked if "wait=" in path]
    assert 0 < len(queries) <= 1 + (time.monotonic() - began) / REST
