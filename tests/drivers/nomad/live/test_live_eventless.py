"""Servers that keep no events: however many jobs are watched, one query after the other does it."""

from __future__ import annotations

import re
import time

from batchbridge import as_completed
from batchbridge_nomad.changes import REST
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
JOBS = 50
ASKED = re.compile(r'http: request complete: method=GET path="?([^\s"]+)')
"""What the agent's log says of each request."""


def test_one_query_serves_all_jobs(eventless: Agent):
    log = eventless.place.log
    before, began = log.stat().st_size, time.monotonic()
    modest = {"memory": "16M", "disk": "1M", "options": {"driver": "raw_exec", "cpu_mhz": 5}}
    specs = [{"command": f"sleep 2; exit {n % 3}", **modest} for n in range(JOBS)]
    with client_of(settings(eventless)) as client:
        jobs = client.submit_many(specs)
        codes = {job.ref: job.record.exit_code for job in as_completed(jobs, 240)}
    assert [codes[job.ref] for job in jobs] == [n % 3 for n in range(JOBS)]
    assert {job.record.attempt for job in jobs} == {1}
    asked = ASKED.findall(log.read_bytes()[before:].decode())
    assert not [path for path in asked if path.startswith("/v1/job/")]
    queries = [path for path in asked if "wait=" in path]
    assert 0 < len(queries) <= 1 + (time.monotonic() - began) / REST
