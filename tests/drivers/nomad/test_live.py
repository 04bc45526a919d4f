"""The conformance kit, and what only a real cluster shows."""

from __future__ import annotations

import os
import shutil
import time

import pytest
import requests

from batchbridge import Cause, Client, JobState, as_completed
from batchbridge.errors import SpecError
from batchbridge.testing import DriverConformance
from batchbridge_nomad import NomadDriver

ADDRESS = os.environ.get("BATCHBRIDGE_NOMAD", "")

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not ADDRESS,
        reason="BATCHBRIDGE_NOMAD names no agent with raw_exec, e.g. http://127.0.0.1:4646"
        + ("" if shutil.which("nomad") else "; nor is there a nomad on PATH"),
    ),
]


def nomad(method: str, path: str, body: object = None):
    answer = requests.request(method, f"{ADDRESS}/v1/{path}", json=body, timeout=10)
    answer.raise_for_status()
    return answer.json()


class TestConformance(DriverConformance):
    @pytest.fixture
    def driver(self):
        return NomadDriver(NomadDriver.Settings(address=ADDRESS))

    @pytest.fixture
    def unreachable(self):
        return NomadDriver(NomadDriver.Settings(address="http://127.0.0.1:9"))

    @pytest.fixture
    def job_fields(self):
        return {"options": {"driver": "raw_exec"}}

    @pytest.fixture
    def crowd(self):
        """Two jobs of which each needs more than half of the one node's memory."""
        (node,) = [node for node in nomad("GET", "nodes") if node["Status"] == "ready"]
        memory = nomad("GET", f"node/{node['ID']}")["NodeResources"]["Memory"]["MemoryMB"]
        return {"memory": int(memory * 0.6) << 20}


@pytest.fixture
def client():
    with Client("nomad", settings={"address": ADDRESS}, journal=False) as made:
        yield made


def test_what_nomad_would_run_again_is_stopped_and_all_observers_agree(client):
    """An operator stops the allocation, and Nomad places another though it should not."""
    job = client.submit(["sleep", "600"], options={"driver": "raw_exec"})
    with Client("nomad", settings={"address": ADDRESS}, journal=False) as another:
        other = another.attach(str(job.ref))
        for event in job.events():
            if event.record.state is JobState.RUNNING:
                (alloc,) = nomad("GET", f"job/{job.ref.id}/allocations")
                nomad("PUT", f"allocation/{alloc['ID']}/stop", {})
        ends = [one.wait(60) for one in (job, other)]
    assert [(end.state, end.cause) for end in ends] == [(JobState.FAILED, Cause.EVICTED)] * 2
    assert nomad("GET", f"job/{job.ref.id}")["Stop"] is True
    left = [alloc["ClientStatus"] for alloc in nomad("GET", f"job/{job.ref.id}/allocations")]
    assert "running" not in left


def test_secrets_are_gone_when_the_job_is_over(client, monkeypatch):
    monkeypatch.setenv("TOKEN_HERE", "hidden")
    job = client.submit(
        'test "$TOKEN" = hidden',
        secrets={"TOKEN": "env:TOKEN_HERE"},
        options={"driver": "raw_exec"},
    )
    assert job.result(60).state is JobState.SUCCEEDED
    deadline = time.monotonic() + 30
    while nomad("GET", f"vars?prefix=nomad/jobs/{job.ref.id}"):
        assert time.monotonic() < deadline, "the variable is still there"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_burst_loses_no_end(client):
    """More events than the agent's buffer holds by default: gaps are filled by lists."""
    specs = [{"command": f"exit {n % 3}", "options": {"driver": "raw_exec"}} for n in range(200)]
    jobs = client.submit_many(specs)
    codes = {job.ref: job.record.exit_code for job in as_completed(jobs, 240)}
    assert [codes[job.ref] for job in jobs] == [n % 3 for n in range(200)]


HCL = """
job "theirs" {
  type = "batch"
  meta { cost = "team-a" }
  group "theirs" {
    task "theirs" {
      driver = "raw_exec"
      env { SITE = "1" }
    }
  }
}
"""


def test_a_template_in_hcl_is_parsed_by_nomad_and_laid_under_the_job(client):
    job = client.submit('test "$SITE" = 1', options={"template": HCL})
    assert job.result(60).state is JobState.SUCCEEDED
    assert nomad("GET", f"job/{job.ref.id}")["Meta"]["cost"] == "team-a"


def test_a_template_that_nomad_cannot_parse_is_refused_in_its_words(client):
    with pytest.raises(SpecError, match="Nomad cannot parse it"):
        client.submit("true", options={"template": 'job "x" {\n nonsense = 1\n}'})
