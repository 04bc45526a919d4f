"""An agent that allows a client few connections: what is refused is asked again, and all end."""

from __future__ import annotations

import pytest

from localdev.nomad_config import settings
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of
from tests.drivers.nomad.live.numbered import check_ends, numbered

pytestmark = LIVE
JOBS = 100


@pytest.mark.parametrize("allowed", [3, 10])
def test_many_jobs_over_few_connections(start: Start, allowed: int):
    agent = start(config=f"limits {{ http_max_conns_per_client = {allowed} }}")
    with client_of(settings(agent)) as client:
        jobs = client.submit_many(numbered(JOBS, "echo {n}"))
        check_ends(jobs)
        assert b"".join(chunk.data for chunk in jobs[-1].logs()) == b"%d\n" % (JOBS - 1)
    assert "Too many concurrent connections" in agent.place.log.read_text()
