"""A whole flow through ``@nomad`` in containers of a real Nomad, in an image that is made here."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from localdev.common import runs
from localdev.s3_server import Running, environment
from tests.drivers.nomad.images import KEEP, Keeper, need_busybox, python_root
from tests.drivers.nomad.live.podman import podman

from . import whole_flow
from .conftest import Place
from .engines import There, nomad_env, nomad_of_localdev

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


@pytest.fixture
def docker() -> tuple[Keeper, str]:
    if not runs("docker", "info"):
        pytest.skip("docker info does not succeed")
    return Keeper(), KEEP


@pytest.fixture(name="podman")
def podman_fixture() -> Iterator[tuple[Keeper, str]]:
    with podman() as made:
        yield made


@pytest.mark.parametrize("driver", ["docker", "podman"])
def test_a_whole_flow_in_containers(
    driver: str, request: pytest.FixtureRequest, place: Place, s3_server: Running
) -> None:
    """Artifacts go both ways over S3, which a template's host networking leads to.

    Metaflow reads from S3 by dozens of processes at once, which take their time and memory.
    """
    need_busybox()
    keeper, config = request.getfixturevalue(driver)
    with keeper.image(python_root()) as image, nomad_of_localdev(config) as address:
        env = {
            **nomad_env(address),
            **environment(s3_server),
            "METAFLOW_NOMAD_DRIVER": driver,
            "METAFLOW_NOMAD_DEFAULT_IMAGE": image,
            "METAFLOW_NOMAD_JOB_TEMPLATE": json.dumps(on_the_hosts_network(driver)),
        }
        whole_flow.check(whole_flow.run(There("nomad", env), place, 5, limit=40, memory=3000))


def on_the_hosts_network(driver: str) -> object:
    """A template of that task driver."""
    task = {"Driver": driver, "Config": {"network_mode": "host"}}
    return {"Job": {"TaskGroups": [{"Tasks": [task]}]}}
