"""Devices, by the example plugin of Nomad's own source, whose devices are files of a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from batchbridge import Cause, Client, Job, JobState
from localdev.nomad_agent import admin_of
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.cluster import eventually
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of

pytestmark = LIVE

PLUGIN = "BATCHBRIDGE_LIVE_NOMAD_DEVICE_PLUGIN"
"""Names the program of ``plugins/device/cmd/example`` in Nomad's source; alone in its directory."""

HEALTHY = ("one", "two")
RAW = {"driver": "raw_exec"}
MODEL = {"attribute": "${device.model}", "value": "mock"}
OTHER = {"attribute": "${device.model}", "value": "other"}


@pytest.fixture(scope="module")
def agent(start: Start) -> Iterator[Agent]:
    """One whose node has two devices, and a third that is ill."""
    plugin = Path(os.environ.get(PLUGIN, ""))
    if not plugin.name:
        pytest.skip(f"{PLUGIN} names no device plugin")
    with TemporaryDirectory(prefix="devices-") as above:
        for name in HEALTHY:
            Path(above, name).touch()
        ill = Path(above, "ill")
        ill.touch()
        ill.chmod(0o777)
        made = start(config=_configuration(plugin, above))
        eventually(lambda: _instances(made) == 3, "the devices are known")
        yield made


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    with client_of(settings(agent)) as made:
        yield made


def _configuration(plugin: Path, directory: str) -> str:
    return f"""
plugin_dir = "{plugin.parent}"
plugin "{plugin.name}" {{
  config {{
    dir         = "{directory}"
    list_period = "1s"
  }}
}}
"""


def _instances(agent: Agent) -> int:
    """How many devices the node has."""
    admin = admin_of(agent)
    (node,) = admin.ask("GET", "nodes")
    groups = admin.ask("GET", f"node/{node['ID']}")["NodeResources"]["Devices"] or []
    return sum(len(group["Instances"]) for group in groups)


def given(job: Job, agent: Agent) -> list[dict[str, Any]]:
    """The devices that Nomad gave it."""
    (alloc,) = admin_of(agent).ask("GET", f"job/{job.ref.id}/allocations")
    found = admin_of(agent).ask("GET", f"allocation/{alloc['ID']}")
    devices: list[dict[str, Any]] = found["AllocatedResources"]["Tasks"]["main"]["Devices"]
    return devices


@pytest.mark.parametrize("device", ["file", "nomad/file", "nomad/file/mock"])
def test_so_many_devices_of_that_name_are_the_jobs_own(client: Client, agent: Agent, device: str):
    job = client.submit("true", gpu=2, options={**RAW, "device": device})
    assert job.result(60).state is JobState.SUCCEEDED
    (group,) = given(job, agent)
    assert (group["Vendor"], group["Type"], group["Name"]) == ("nomad", "file", "mock")
    assert sorted(group["DeviceIDs"]) == sorted(HEALTHY)


def test_a_device_that_is_what_it_must_be(client: Client, agent: Agent):
    options = {**RAW, "device": "file", "device_constraints": [MODEL]}
    job = client.submit("true", gpu=1, options=options)
    assert job.result(60).state is JobState.SUCCEEDED
    (group,) = given(job, agent)
    assert len(group["DeviceIDs"]) == 1


@pytest.mark.parametrize(
    ("gpu", "options"),
    [
        (3, {"device": "file"}),
        (1, {"device": "other/file"}),
        (1, {"device": "file", "device_constraints": [OTHER]}),
    ],
    ids=["more than there are", "another vendor's", "another model"],
)
def test_devices_that_no_node_has(client: Client, gpu: int, options: dict[str, Any]):
    job = client.submit("true", gpu=gpu, queue_timeout=4, options={**RAW, **options})
    end = job.wait(60)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.UNSCHEDULABLE)
    assert "missing devices on 1 node" in end.message


def test_who_comes_later_waits_for_the_devices_of_another(client: Client):
    options = {**RAW, "device": "file"}
    first = client.submit(["sleep", "600"], gpu=2, options=options)
    next(event for event in first.events() if event.record.state is JobState.RUNNING)
    second = client.submit("true", gpu=1, options=options)
    eventually(lambda: second.explain() is not None, "it waits")
    why = second.explain()
    assert why is not None
    assert "devices: no devices match request on 1 node" in why.summary
    first.cancel()
    assert second.result(60).state is JobState.SUCCEEDED
