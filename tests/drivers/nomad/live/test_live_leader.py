"""Three servers lose their leader under jobs that run and jobs that are being submitted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchbridge import Client, Job
from tests.drivers.nomad.live.cluster import Cluster, cluster, eventually
from tests.drivers.nomad.live.conftest import client_of
from tests.drivers.nomad.live.gated import Gate

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]
RUNNING, SUBMITTED = 50, 100


@pytest.fixture
def nomad(program: str) -> Iterator[Cluster]:
    with cluster(program, servers=3) as made:
        yield made


@pytest.mark.parametrize("asked", ["a client agent", "a server that stays"])
def test_a_leader_that_is_killed(nomad: Cluster, tmp_path: Path, asked: str):
    gate, leader = Gate(tmp_path, RUNNING + SUBMITTED), nomad.leader()
    stays = next(server for server in nomad.servers if server is not leader)
    through = nomad.client if asked == "a client agent" else stays
    with client_of(through.settings) as client:
        running = client.submit_many(gate.specs(range(RUNNING)))
        submitted: list[Job] = []
        with ThreadPoolExecutor(1) as pool:
            submitting = pool.submit(submit, client, gate, submitted)
            eventually(lambda: len(submitted) >= SUBMITTED // 10, "some are submitted")
            leader.kill()
            assert len(submitted) < SUBMITTED, "all were submitted before the leader was killed"
            submitting.result(240)
        assert nomad.leader() is not leader
        gate.all_have("started")
        leader.start()
        eventually(nomad.ready, "the server is back")
        gate.finish([*running, *submitted])


def submit(client: Client, gate: Gate, submitted: list[Job]) -> None:
    """One after the other."""
    for spec in gate.specs(range(RUNNING, RUNNING + SUBMITTED)):
        submitted.append(client.submit(spec.pop("command"), **spec))
