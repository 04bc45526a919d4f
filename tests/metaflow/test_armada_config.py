"""What METAFLOW_ARMADA_* says of a step's job, as Armada has it in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from batchbridge.model import JobRef
from batchbridge_armada.api import Api
from batchbridge_armada.settings import ArmadaSettings

from .conftest import Place
from .engines import LIVE, There, real_armada, settings_of, small_armada

pytestmark = pytest.mark.timeout(300)

POD = """
containers: [{name: main, env: [{name: SITE, value: berlin}]}]
terminationGracePeriodSeconds: 7
"""
CONFIGURED = {
    "CPU": "700m",
    "MEMORY": "128Mi",
    "DISK": "64Mi",
    "DEFAULT_IMAGE": "python:3.11",
    "INSECURE_NO_SSL": "true",
    "JOB_SET_ID": "one-of-ours",
    "NAMESPACE": "default",
    "PRIORITY": "3",
    "PRIORITY_CLASS": "armada-preemptible",
    "LABELS": '{"team": "site", "floor": "2"}',
    "ANNOTATIONS": '{"site/room": "b"}',
    "NODE_SELECTOR": '{"kubernetes.io/hostname": "NODE"}',
    "TOLERATIONS": '[{"key": "batch", "operator": "Exists"}]',
    "SERVICE_ACCOUNT": "default",
}


@pytest.fixture(
    params=[small_armada, pytest.param(real_armada, marks=LIVE)], ids=["armada", "armada-live"]
)
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    with request.param() as found:
        yield found


def asked(there: There, ref: str) -> dict[str, Any]:
    """The job as Armada was asked for it."""
    settings, job_id = settings_of(there), JobRef.parse(ref).id
    with closing(Api(ArmadaSettings(**settings))) as api:
        details = api.details([job_id], spec=True)[job_id]
    return MessageToDict(details.job_spec, preserving_proto_field_name=True)


def test_what_is_configured_stands_unless_the_step_says_otherwise(
    place: Place, there: There
) -> None:
    (place.root / "pod.yaml").write_text(POD)
    said = {name: value.replace("NODE", there.node) for name, value in CONFIGURED.items()}
    said["POD_TEMPLATE"] = str(place.root / "pod.yaml")
    env = {**there.env, **{f"METAFLOW_ARMADA_{name}": value for name, value in said.items()}}
    console = place.flow("configured_flow.py", "run", env=env, within=200)
    start = place.show("ConfiguredFlow", console)["steps"]["start"][0]
    assert start["artifacts"]["seen"]["SITE"] == "berlin"
    ref = dict(start["metadata"])["batchbridge-job"]
    job = asked(there, ref)
    pod = job["pod_spec"]
    (main,) = pod["containers"]
    limits = {name: amount["string"] for name, amount in main["resources"]["limits"].items()}
    assert limits == {"cpu": "150m", "memory": str(300 << 20), "ephemeral-storage": str(64 << 20)}
    assert (main["image"], job["job_set_id"]) == ("python:3.11", "one-of-ours")
    assert (job["namespace"], job["priority"]) == ("default", 3)
    assert pod["priorityClassName"] == "armada-preemptible"
    assert job["labels"]["team"] == "step"
    assert job["annotations"]["site/room"] == "b"
    assert pod["nodeSelector"] == json.loads(said["NODE_SELECTOR"])
    assert pod["tolerations"][0] == {"key": "batch", "operator": "Exists"} | _rest(pod)
    assert pod["serviceAccountName"] == "default"
    assert int(pod["terminationGracePeriodSeconds"]) == 7
    listed = place.flow("configured_flow.py", "armada", "list", "--job-set", "one-of-ours", env=env)
    assert "No unfinished jobs" in listed


def _rest(pod: dict[str, Any]) -> dict[str, str]:
    """What a server that reads Go's structures tells of a toleration too."""
    return {name: "" for name in ("value", "effect") if name in pod["tolerations"][0]}
