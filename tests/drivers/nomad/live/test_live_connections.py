"""An agent that allows a client few connections: what is refused is asked again, and all end."""

from __future__ import annotations

import pytest

from batchbridge import as_completed
from localdev.nomad_config import settings
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of

pytestmark = LIVE
JOBS = 100


@pytest.mark.parametrize("allowed", [3, 10])
def test_many_jobs_over_few_connections(start: Start, allowed: int):
    agent = start(config=f"limits {{ http_max_conns_per_client = {allowed} }}")
    modest = {"memory": "16M", "disk": "1M", "options": {"driver": "raw_exec", "cpu_mhz": 5}}
    specs = [{"command": f"echo {n}; exit {n % 3}", **modest} for n in range(JOBS)]
    with client_of(settings(agent)) as client:
        jobs = client.submit_many(specs)
        codes = {job.ref: job.record.exit_code for job in as_completed(jobs, 240)}
        assert [codes[job.ref] for job in jobs] == [n % 3 for n in range(JOBS)]
        assert {job.record.attempt for job in jobs} == {1}
        assert b"".join(chunk.data for chunk in jobs[-1].logs()) == b"%d\n" % (JOBS - 1)
    assert "Too many concurrent connections" in agent.place.log.read_text()
