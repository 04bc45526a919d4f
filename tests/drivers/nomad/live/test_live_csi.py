"""A volume of CSI, by Kubernetes' own host path driver, whose volumes are directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from batchbridge import Client, JobState
from localdev.nomad_admin import Admin
from localdev.nomad_agent import admin_of
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.cluster import eventually
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of

pytestmark = LIVE

PLUGIN = "BATCHBRIDGE_LIVE_CSI_PLUGIN"
"""Names the program ``hostpathplugin`` of csi-driver-host-path."""

ID, VOLUME = "hostpath", "data"
WRITER = {"access_mode": "single-node-writer", "attachment_mode": "file-system"}


@pytest.fixture(scope="module")
def agent(start: Start) -> Iterator[Agent]:
    """One with a volume of that driver."""
    program = os.environ.get(PLUGIN)
    if not program:
        pytest.skip(f"{PLUGIN} names no hostpathplugin")
    made = start()
    admin = admin_of(made)
    admin.ask("PUT", "jobs", {"Job": _plugin_job(Path(program), made)})
    eventually(lambda: _healthy(admin), "the plugin is there")
    admin.ask("PUT", f"volume/csi/{VOLUME}/create", {"Volumes": [_volume()]})
    yield made
    eventually(lambda: _deleted(admin), "the volume is free, and deleted")
    admin.ask("DELETE", f"job/{ID}")


def _plugin_job(program: Path, agent: Agent) -> dict[str, Any]:
    """As raw_exec sees the node as it is, the driver is told where Nomad looks on it."""
    there = agent.place.data / "client" / "csi" / "monolith" / ID
    state = agent.place.root / "csi"
    task = {
        "Name": ID,
        "Driver": "raw_exec",
        "Config": {
            "command": str(program),
            "args": ["--endpoint=${CSI_ENDPOINT}", "--nodeid=here", f"--statedir={state}"],
        },
        "CSIPluginConfig": {"ID": ID, "Type": "monolith", "StagePublishBaseDir": str(there)},
    }
    return {"ID": ID, "Type": "system", "TaskGroups": [{"Name": ID, "Tasks": [task]}]}


def _volume() -> dict[str, Any]:
    capability = {"AccessMode": WRITER["access_mode"], "AttachmentMode": WRITER["attachment_mode"]}
    return {
        "ID": VOLUME,
        "Name": VOLUME,
        "PluginID": ID,
        "RequestedCapacityMin": 1 << 20,
        "RequestedCapabilities": [capability],
    }


def _healthy(admin: Admin) -> bool:
    found = [plugin for plugin in admin.ask("GET", "plugins?type=csi") if plugin["ID"] == ID]
    return [(p["NodesHealthy"], p["ControllersHealthy"]) for p in found] == [(1, 1)]


def _deleted(admin: Admin) -> bool:
    try:
        admin.ask("DELETE", f"volume/csi/{VOLUME}/delete")
    except requests.RequestException:
        return False
    return True


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    with client_of(settings(agent)) as made:
        yield made


def using(volume: str = VOLUME, **more: Any) -> dict[str, Any]:
    """Fields of a job that has it."""
    mounted = {"source": volume, "path": "/data", "type": "csi", **WRITER, **more}
    return {"options": {"driver": "exec", "volumes": [mounted]}}


def given_back(agent: Agent) -> None:
    """Wait until no job has it: Nomad does not look again then at one that waits for it."""
    admin = admin_of(agent)
    eventually(
        lambda: [v["CurrentWriters"] for v in admin.ask("GET", "volumes?type=csi")] == [0],
        "the volume is free",
    )


def test_what_a_job_leaves_in_a_volume_the_next_one_finds(client: Client, agent: Agent):
    written = client.submit("echo kept > /data/file", **using())
    assert written.result(120).state is JobState.SUCCEEDED
    given_back(agent)
    read = client.submit("cat /data/file", **using())
    assert b"".join(chunk.data for chunk in read.logs(streams=["stdout"])) == b"kept\n"
    assert read.result(120).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ("no-such", "missing CSI volume(s) no-such on 1 node"),
        (VOLUME, f"CSI volume {VOLUME} has exhausted its available writer claims on 1 node"),
    ],
    ids=["not there", "in use"],
)
def test_a_volume_that_is_waited_for(client: Client, agent: Agent, volume: str, said: str):
    given_back(agent)
    first = client.submit(["sleep", "600"], **using())
    next(event for event in first.events() if event.record.state is JobState.RUNNING)
    second = client.submit("true", **using(volume))
    eventually(lambda: second.explain() is not None, "it waits")
    why = second.explain()
    assert why is not None
    assert why.summary == f"no place: {said}"
    assert "nomad volume status" in why.remedy
    client.cancel([first, second])
    assert {job.wait(60).state for job in (first, second)} == {JobState.CANCELLED}
