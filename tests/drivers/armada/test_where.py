"""Where a job's output is, as somebody at the command line is told it."""

from __future__ import annotations

import pytest

from tests.drivers.armada.commands import commands
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import ref, submission, submit

JOB = ("submit", "--backend", "armada", "--image", "busybox", "-o", "namespace=team")


@pytest.fixture
def bb(armada, tmp_path, monkeypatch):
    """The command line, on the Armada of this process."""
    with commands(monkeypatch, tmp_path, armada.address, QUEUE) as run:
        yield run


def test_the_command_names_the_job_s_own_namespace_and_cluster(bb, armada):
    told = bb(*JOB, "--follow", "--", "false", code=1).stderr.splitlines()
    (job_id,) = armada.cluster.jobs
    line = f"logs: kubectl --context cluster-1 -n team logs armada-{job_id}-0"
    assert f"note: {line}" in told
    explained = bb(
        "explain", f"armada://armada/{QUEUE}/{armada.cluster.jobs[job_id].job_set}/{job_id}"
    )
    assert f"  → {line}" in explained.stdout.splitlines()


def test_a_hint_names_the_job_s_own_namespace(driver):
    (receipt,) = submit(driver, submission(options={"namespace": "team"}))
    assert driver.hints(ref(receipt))["logs"] == f"kubectl -n team logs armada-{receipt.id}-0"
