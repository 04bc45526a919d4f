"""Where else to look, in the words of Nomad's own command line and pages."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from batchbridge.model import Absent, JobRef, JobSpec, Secret, Submission
from batchbridge_nomad import NomadDriver, show
from batchbridge_nomad.api import Place
from batchbridge_nomad.wire import Alloc
from tests.drivers.nomad.agent import Agent, least, refused

ALLOC = Alloc("5ab65703", "bb-1", node_name="node-1")
TEAM = Place("team")
AWAY = Place("team", "eu")


def test_a_job_is_a_page_and_two_commands():
    assert show.job("https://nomad:4646/", TEAM, "bb-1") == {
        "ui": "https://nomad:4646/ui/jobs/bb-1@team",
        "status": "nomad job status -namespace team bb-1",
        "logs": "nomad alloc logs -namespace team -job bb-1",
    }


def test_a_region_is_named_everywhere():
    made = show.job("https://nomad:4646", AWAY, "bb-1")
    assert made["ui"].endswith("bb-1@team?region=eu")
    assert made["status"] == "nomad job status -namespace team -region eu bb-1"


def test_a_socket_has_no_pages():
    assert "ui" not in show.job("unix:///run/nomad.sock", TEAM, "bb-1")


def test_an_attempt_is_an_allocation_and_the_commands_that_show_its_output():
    assert show.attempt(TEAM, ALLOC, "dc1") == {
        "allocation": "5ab65703",
        "node": "node-1",
        "datacenter": "dc1",
        "status": "nomad alloc status -namespace team 5ab65703",
        "stdout": "nomad alloc logs -namespace team 5ab65703 main",
        "stderr": "nomad alloc logs -stderr -namespace team 5ab65703 main",
    }


def submitted(driver, **secrets):
    spec = JobSpec(command=("true",), options={"driver": "raw_exec"})
    (receipt,) = driver.submit([Submission("k", spec, "set", "me", secrets=secrets)])
    return JobRef("nomad", "p", ("default",), receipt.id)


def test_an_attempt_that_has_no_place_yet_has_no_details(nomad_driver):
    ref = submitted(nomad_driver)
    assert nomad_driver.details(ref, 7) == {}


@pytest.mark.parametrize("allowed", [True, False])
def test_a_datacenter_is_told_to_whoever_may_read_nodes(agent, nomad_driver, allowed):
    """Nobody else needs that right."""
    if not allowed:
        agent.spoil("GET", "/v1/node/", answer=refused(403, "Permission denied"))
    ref = submitted(nomad_driver)
    deadline = time.monotonic() + 30
    while not (told := nomad_driver.details(ref, 1)):
        assert time.monotonic() < deadline
    assert told["node"] == "node-1"
    assert ("datacenter" in told) is allowed


def test_a_purged_job_is_unknown_and_its_secrets_with_it(agent, nomad_driver):
    ref = submitted(nomad_driver, TOKEN=Secret("hidden"))
    nomad_driver.purge([ref])
    (absent,) = nomad_driver.snapshot(ref.scope, [ref.id]).observations
    assert isinstance(absent, Absent)
    assert agent.asked("DELETE", "/v1/var/nomad/jobs/bb-k")
    nomad_driver.purge([ref])


def test_doctor_looks_at_each_right(nomad_driver):
    checks = list(nomad_driver.probe())
    assert [check.name for check in checks] == [
        "jobs can be read",
        "jobs can be listed",
        "jobs can be submitted",
    ]
    assert all(check.ok for check in checks)


def test_doctor_names_the_right_that_is_missing():
    with Agent(policies={"t": least("default", "submit-job")}) as agent:
        driver = NomadDriver(NomadDriver.Settings(address=agent.address, token="t"))
        with closing(driver):
            checks = {check.name: check for check in driver.probe()}
    assert checks["jobs can be read"].ok
    assert not checks["jobs can be submitted"].ok
    assert "submit-job" in checks["jobs can be submitted"].remedy
