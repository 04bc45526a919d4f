"""What cannot be: one sentence each, with the remedy, and nothing is left on the cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from batchbridge import BatchBridgeError, Cause, Client, JobState
from batchbridge.errors import AuthError
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
RAW = {"driver": "raw_exec"}


def refused(client: Client, **fields: Any) -> BatchBridgeError:
    """The error of a submit."""
    with pytest.raises(BatchBridgeError) as caught:
        client.submit("true", **fields)
    assert "\n" not in str(caught.value)
    return caught.value


NOT_BATCH = """
job "theirs" {
  type = "service"
  group "theirs" {
    task "theirs" { driver = "raw_exec" }
  }
}
"""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"namespace": "nowhere"}, 'nonexistent namespace "nowhere"'),
        ({"region": "nowhere"}, "No path to region"),
        ({"node_pool": "nowhere"}, '"nowhere"'),
        ({"template": NOT_BATCH}, "is not a plain batch job"),
        ({"config": {"image": "x"}, "driver": "docker", "volumes": [{"source": ""}]}, "path"),
    ],
    ids=["namespace", "region", "node-pool", "no-batch-job", "half-a-volume"],
)
def test_nomad_or_we_refuse_it_in_words_and_nothing_is_left(client, admin, options, words):
    before = {job["ID"] for job in admin.ask("GET", "jobs?namespace=*")}
    assert words in str(refused(client, options={**RAW, **options}))
    assert {job["ID"] for job in admin.ask("GET", "jobs?namespace=*")} == before


@pytest.mark.parametrize("path", ["/ui", "/v1"])
def test_an_address_with_a_path_of_nomads_is_told(agent: Agent, path: str):
    there = settings(agent)
    with client_of(replace(there, address=there.address + path)) as astray:
        error = refused(astray, options=RAW)
    assert "without a path" in error.remedy
    assert "--key" not in error.remedy


WAITS = {
    "datacenter": ({"options": {**RAW, "datacenters": ["nowhere"]}}, "no node in the datacenters"),
    "disk": ({"disk": "100T", "options": RAW}, "disk exhausted on 1 node"),
    "memory": ({"memory": "100T", "options": RAW}, "memory exhausted on 1 node"),
    "gpu": ({"gpu": 1, "options": RAW}, "1 node lacks"),
    "driver": ({"options": {"driver": "nothing"}}, "1 node lacks"),
}


@pytest.mark.parametrize("which", WAITS)
def test_what_fits_nowhere_waits_is_explained_and_ends_by_its_queue_timeout(client, admin, which):
    fields, words = WAITS[which]
    job = client.submit("true", queue_timeout=4, **fields)
    end = job.wait(90)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.UNSCHEDULABLE)
    assert words in end.message
    assert admin.ask("GET", f"job/{job.ref.id}")["Stop"] is True


def test_an_unknown_token(guarded: Agent, tmp_path):
    (tmp_path / "token").write_text("11111111-2222-3333-4444-555555555555")
    with client_of(replace(settings(guarded), token_file=str(tmp_path / "token"))) as client:
        error = refused(client, options=RAW)
    assert isinstance(error, AuthError)
    assert "token" in str(error)


ON_PAPER = {
    "csi-volume": {
        "volumes": [
            {
                "source": "data",
                "path": "/data",
                "type": "csi",
                "access_mode": "single-node-writer",
                "attachment_mode": "file-system",
            }
        ]
    },
    "gpu": {
        "device": "nvidia/gpu",
        "device_constraints": [
            {"attribute": "${device.attr.memory}", "operator": ">=", "value": "40 GiB"}
        ],
    },
    "spread-and-affinity": {
        "spreads": [{"attribute": "${node.datacenter}", "targets": {"dc1": 100}}],
        "affinities": [{"attribute": "${attr.kernel.name}", "value": "linux", "weight": 100}],
    },
    "network": {"network": "host", "ports": [{"label": "http", "to": 8080}]},
}


@pytest.mark.parametrize("which", ON_PAPER)
def test_what_this_machine_has_not_is_valid_at_least(client, admin, which):
    """Nomad's own validation; nothing runs."""
    gpu = {"gpu": 1} if which == "gpu" else {}
    spec = {"command": ["true"], "options": {**RAW, **ON_PAPER[which]}, **gpu}
    answer = admin.ask("PUT", "validate/job", dict(client.render(spec)))
    assert answer["ValidationErrors"] is None, answer
