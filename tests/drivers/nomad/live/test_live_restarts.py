"""A server, or a client, is killed under 200 running jobs and starts again: nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbridge import Client, Job, JobState, as_completed
from tests.drivers.nomad.live.cluster import Cluster, cluster, eventually
from tests.drivers.nomad.live.conftest import client_of

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]
JOBS = 200
COMMAND = """
echo $BATCHBRIDGE_TEST_NUMBER >> {root}/started
while [ ! -e {root}/gate ]; do sleep 1; done
echo $BATCHBRIDGE_TEST_NUMBER >> {root}/ended
exit $((BATCHBRIDGE_TEST_NUMBER % 3))
"""


@pytest.fixture
def nomad(program: str) -> Iterator[Cluster]:
    with cluster(program) as made:
        yield made


@pytest.fixture
def client(nomad: Cluster) -> Iterator[Client]:
    with client_of(nomad.settings) as made:
        yield made


def numbers(file: Path) -> Counter[int]:
    """How often each job wrote its number there."""
    return Counter(map(int, file.read_text().split())) if file.exists() else Counter()


ONCE = Counter(range(JOBS))
"""What every job does, each once."""


def submit(client: Client, root: Path) -> list[Job]:
    """200 jobs that all run, and wait."""
    modest = {"memory": "16M", "disk": "1M", "options": {"driver": "raw_exec", "cpu_mhz": 5}}
    specs = [
        {
            "command": COMMAND.format(root=root),
            "env": {"BATCHBRIDGE_TEST_NUMBER": str(n)},
            **modest,
        }
        for n in range(JOBS)
    ]
    jobs = client.submit_many(specs)
    eventually(lambda: numbers(root / "started") == ONCE, "all jobs run", within=240)
    return jobs


def finish(jobs: list[Job], root: Path) -> None:
    """Let them end; each must end once, as it does by itself, and be seen to."""
    (root / "gate").touch()
    codes = {job.ref: job.record.exit_code for job in as_completed(jobs, 240)}
    assert [codes[job.ref] for job in jobs] == [n % 3 for n in range(JOBS)]
    assert Counter(job.record.state for job in jobs)[JobState.SUCCEEDED] == 67
    assert {job.record.attempt for job in jobs} == {1}
    assert numbers(root / "started") == ONCE
    assert numbers(root / "ended") == ONCE


def test_a_server_that_is_killed_and_started_again(nomad: Cluster, client: Client, tmp_path):
    jobs = submit(client, tmp_path)
    nomad.server.kill()
    nomad.server.start()
    eventually(nomad.ready, "the server is back")
    finish(jobs, tmp_path)


def test_a_client_that_is_killed_and_started_again(nomad: Cluster, client: Client, tmp_path):
    jobs = submit(client, tmp_path)
    nomad.client.kill()
    nomad.client.start()
    eventually(nomad.ready, "the client is back")
    finish(jobs, tmp_path)


def test_jobs_that_end_while_there_is_no_server(nomad: Cluster, client: Client, tmp_path):
    jobs = submit(client, tmp_path)
    nomad.server.kill()
    (tmp_path / "gate").touch()
    eventually(lambda: numbers(tmp_path / "ended") == ONCE, "all commands have ended")
    nomad.server.start()
    finish(jobs, tmp_path)
