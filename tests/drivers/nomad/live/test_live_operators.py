"""What operators do beside us, templates, and what is left of secrets."""

from __future__ import annotations

import time

import pytest

from batchbridge import Cause, JobState
from batchbridge.errors import SpecError
from localdev.nomad_config import settings
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
RAW = {"driver": "raw_exec"}


def test_what_nomad_would_run_again_is_stopped_and_all_observers_agree(client, agent, admin):
    """An operator stops the allocation, and Nomad places another though it should not."""
    job = client.submit(["sleep", "600"], options=RAW)
    with client_of(settings(agent)) as another:
        other = another.attach(str(job.ref))
        for event in job.events():
            if event.record.state is JobState.RUNNING:
                (alloc,) = admin.ask("GET", f"job/{job.ref.id}/allocations")
                admin.ask("PUT", f"allocation/{alloc['ID']}/stop", {})
        ends = [one.wait(60) for one in (job, other)]
    assert [(end.state, end.cause) for end in ends] == [(JobState.FAILED, Cause.EVICTED)] * 2
    assert admin.ask("GET", f"job/{job.ref.id}")["Stop"] is True
    left = [alloc["ClientStatus"] for alloc in admin.ask("GET", f"job/{job.ref.id}/allocations")]
    assert "running" not in left


def test_secrets_are_gone_when_the_job_is_over(client, admin, monkeypatch):
    monkeypatch.setenv("TOKEN_HERE", "hidden")
    job = client.submit('test "$TOKEN" = hidden', secrets={"TOKEN": "env:TOKEN_HERE"}, options=RAW)
    assert job.result(60).state is JobState.SUCCEEDED
    deadline = time.monotonic() + 30
    while admin.ask("GET", f"vars?prefix=nomad/jobs/{job.ref.id}"):
        assert time.monotonic() < deadline, "the variable is still there"
        time.sleep(0.1)


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

WAITING = """
job "theirs" {
  type = "batch"
  group "theirs" {
    task "theirs" {
      driver = "raw_exec"
      template {
        data        = "{{ with nomadVar \\"nomad/jobs\\" }}{{ .nothing }}{{ end }}"
        destination = "local/theirs"
      }
    }
  }
}
"""


def test_a_template_in_hcl_is_parsed_by_nomad_and_laid_under_the_job(client, admin):
    job = client.submit('test "$SITE" = 1', options={"template": HCL})
    assert job.result(60).state is JobState.SUCCEEDED
    assert admin.ask("GET", f"job/{job.ref.id}")["Meta"]["cost"] == "team-a"


def test_a_template_that_nomad_cannot_parse_is_refused_in_its_words(client):
    with pytest.raises(SpecError, match="Nomad cannot parse it"):
        client.submit("true", options={"template": 'job "x" {\n nonsense = 1\n}'})


def test_a_template_that_waits_for_a_variable_ends_by_start_timeout(client):
    """Without the limit it would be prepared for ever; with it Nomad's words say for what."""
    job = client.submit("true", options={"template": WAITING}, start_timeout=5)
    end = job.wait(90)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.START_ERROR)
    assert "Missing: nomad.var.block(nomad/jobs" in end.message


def test_what_waits_for_a_variable_is_explained(client):
    job = client.submit("true", options={"template": WAITING})
    deadline = time.monotonic() + 60
    while not ((why := job.explain()) and "Missing" in why.summary):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    assert "write the variable" in why.remedy
    job.cancel()
    assert job.wait(60).state is JobState.CANCELLED
