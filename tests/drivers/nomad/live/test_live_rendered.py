"""What cannot be run here is shown to a real agent: it is valid, and lacks what is not here."""

from __future__ import annotations

import pytest

from batchbridge.model import JobSpec, Submission
from batchbridge_nomad import NomadDriver
from batchbridge_nomad.api import Api, Place
from localdev.nomad_config import settings
from tests.drivers.nomad.live.conftest import LIVE

pytestmark = LIVE

CSI = {
    "source": "data",
    "path": "/data",
    "type": "csi",
    "access_mode": "single-node-writer",
    "attachment_mode": "file-system",
}
LARGE = {"attribute": "${device.attr.memory}", "operator": ">=", "value": "40 GiB"}
LACKING = {
    "CSI volume": {"options": {"volumes": [CSI]}},
    "host volume": {"options": {"volumes": [{"source": "no", "path": "/data"}]}},
    "GPU": {"gpu": 2, "options": {"device": "nvidia/gpu", "device_constraints": [LARGE]}},
    "podman": {"image": "debian:12", "options": {"driver": "podman", "shm_size": "64M"}},
}
PLACED = {
    "ports": {"options": {"network": "host", "ports": [{"label": "http", "to": 80}]}},
    "affinity": {"options": {"affinities": [{"attribute": "${node.class}", "value": "fast"}]}},
    "spread": {"options": {"spreads": [{"attribute": "${node.datacenter}"}]}},
    "variables": {"options": {"variables": {"PASSWORD": "team/db#password"}}},
    "cores": {"options": {"cores": 1}},
}


def shown(reached_by, fields):
    options = {"driver": "raw_exec", **fields.get("options", {})}
    spec = JobSpec(command=("true",), **{**fields, "options": options})
    return NomadDriver(reached_by).render(Submission("shown", spec, "set", "me"))


@pytest.mark.parametrize("name", [*LACKING, *PLACED])
def test_what_is_rendered_is_valid_and_waits_for_what_is_not_here(agent, admin, name):
    payload = shown(settings(agent), {**LACKING, **PLACED}[name])
    valid = Api(settings(agent)).validate(Place("default"), payload)
    assert not valid.validation_errors
    plan = admin.ask("PUT", f"job/{payload['Job']['ID']}/plan", {"Job": payload["Job"]})
    unplaced = (plan["FailedTGAllocs"] or {}).values()
    assert [bool(group["ConstraintFiltered"]) for group in unplaced] == [True] * (name in LACKING)


def test_a_vault_that_is_not_connected_is_named(agent):
    fields = {"options": {"vault": {"KEY": "secret/data/app#key"}, "vault_role": "team"}}
    valid = Api(settings(agent)).validate(Place("default"), shown(settings(agent), fields))
    assert 'Vault "default" not enabled' in " ".join(valid.validation_errors or ())
