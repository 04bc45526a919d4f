"""How an engine is reached: what the step says, what is configured, and which credential goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from metaflow import metaflow_config

from batchbridge import registry
from batchbridge.errors import ConfigError
from batchbridge.fields import describe
from batchbridge.model import JobSpec
from batchbridge.settings import Resolved
from metaflow_extensions.batchbridge.plugins import images
from metaflow_extensions.batchbridge.plugins.clients import connect, settings
from metaflow_extensions.batchbridge.plugins.engines import ARMADA, ENGINES, NOMAD
from metaflow_extensions.batchbridge.plugins.tables import Engine
from metaflow_extensions.batchbridge.plugins.targets import Target

PROFILES = """
[profile.prod]
backend = "nomad"
address = "https://prod:4646"
token = "of prod"

[profile.nomad]
token = "of the file"
namespace = "file"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles in a file, Nomad's own variables, and nothing of the tester's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batchbridge").mkdir()
    (tmp_path / "batchbridge" / "config.toml").write_text(PROFILES)
    monkeypatch.setenv("NOMAD_ADDR", "http://engine:4646")


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set METAFLOW_<NAME>, as Metaflow has read them."""

    def set_all(**values: Any) -> None:
        for name, value in values.items():
            monkeypatch.setattr(metaflow_config, name, value)

    return set_all


def resolved(target: Target) -> Resolved:
    with connect(target) as client:
        return client.engine.resolved


NOMADS = Target("nomad", "nomad")


def test_what_is_configured_for_metaflow_comes_before_files_and_the_engines_variables(
    configure: Any,
) -> None:
    before = resolved(NOMADS).settings
    assert (before.address, before.token, before.namespace) == (
        "http://engine:4646",
        "of the file",
        "file",
    )
    configure(NOMAD_NAMESPACE="metaflow", NOMAD_TOKEN="of metaflow", NOMAD_REGION="eu")
    after = resolved(NOMADS).settings
    assert (after.address, after.token) == ("http://engine:4646", "of metaflow")
    assert (after.namespace, after.region) == ("metaflow", "eu")


def test_every_way_to_reach_nomad_is_a_setting(configure: Any) -> None:
    configure(
        NOMAD_ADDRESS="https://there:4646",
        NOMAD_CACERT="ca.pem",
        NOMAD_CLIENT_CERT="us.pem",
        NOMAD_CLIENT_KEY="us.key",
    )
    found = resolved(NOMADS).settings
    assert (found.address, found.ca_cert) == ("https://there:4646", "ca.pem")
    assert (found.client_cert, found.client_key) == ("us.pem", "us.key")


def test_a_token_goes_to_no_address_that_is_configured_elsewhere(configure: Any) -> None:
    configure(NOMAD_ADDRESS="https://there:4646")
    found = resolved(NOMADS)
    assert found.settings.token == ""
    assert found.withheld == ("token",)
    configure(NOMAD_TOKEN="of metaflow")
    assert resolved(NOMADS).settings.token == "of metaflow"


def test_a_profile_that_the_step_names_stands_as_it_is(configure: Any) -> None:
    configure(NOMAD_ADDRESS="https://there", NOMAD_TOKEN="of metaflow", NOMAD_NAMESPACE="m")
    found = resolved(Target("nomad", "prod", named=True)).settings
    assert (found.address, found.token) == ("https://prod:4646", "of prod")
    assert found.namespace == "default"
    told = (("settings.namespace", "mine"),)
    assert resolved(Target("nomad", "prod", named=True, told=told)).settings.namespace == "mine"


def test_a_step_stands_over_what_is_configured(configure: Any) -> None:
    configure(NOMAD_NAMESPACE="m", NOMAD_REGION="eu")
    told = (("settings.namespace", "mine"),)
    found = resolved(Target("nomad", "nomad", told=told)).settings
    assert (found.namespace, found.region) == ("mine", "eu")


@pytest.mark.parametrize(
    ("told", "config", "expected"),
    [
        ({}, {}, {}),
        ({"address.host": "a"}, {}, {"address": "a:50051"}),
        ({"address.port": 7}, {}, {"address": "localhost:7"}),
        ({"address.port": 7}, {"ARMADA_HOST": "b"}, {"address": "b:7"}),
        ({}, {"ARMADA_HOST": "b", "ARMADA_PORT": "9"}, {"address": "b:9"}),
        ({"logging.host": "l", "logging.port": 1}, {}, {"binoculars": "l:1"}),
        ({"settings.queue": "q"}, {"ARMADA_QUEUE": "p"}, {"queue": "q"}),
        ({}, {"ARMADA_INSECURE_NO_SSL": "true"}, {"tls": "off"}),
        ({"settings.tls": "on"}, {"ARMADA_INSECURE_NO_SSL": True}, {"tls": "on"}),
        ({}, {"ARMADA_TOKEN": "t", "ARMADA_HOST": "b"}, {"token": "t", "address": "b:50051"}),
        (
            {"address.host": "a"},
            {"ARMADA_TOKEN": "t", "ARMADA_QUEUE": "p", "ARMADA_INSECURE_NO_SSL": True},
            {"address": "a:50051", "queue": "p"},
        ),
    ],
)
def test_armada_is_reached_by_host_and_port(
    configure: Any, told: dict[str, Any], config: dict[str, Any], expected: dict[str, Any]
) -> None:
    configure(**config)
    assert settings(Target("armada", "armada", told=tuple(told.items()))) == expected


def test_what_is_configured_wrongly_is_named(configure: Any) -> None:
    configure(ARMADA_INSECURE_NO_SSL="perhaps")
    with pytest.raises(ConfigError, match="METAFLOW_ARMADA_INSECURE_NO_SSL='perhaps'"):
        settings(Target("armada", "armada"))


@pytest.mark.parametrize("engine", [NOMAD, ARMADA], ids=["nomad", "armada"])
def test_every_place_is_there(engine: Engine) -> None:
    """No attribute leads to a field, an option or a setting that does not exist."""
    driver = registry.load(engine.name)
    options = {f"options.{field.name}" for field in describe(driver.Options)}
    there = {f"settings.{field.name}" for field in describe(driver.Settings)} | options
    there |= {half for host, port, _ in engine.halves.values() for half in (host, port)}
    there |= {"own.profile", "own.executable", "own.image", "own.job_set"}
    there |= set(JobSpec.__dataclass_fields__)
    assert {attribute.goes for attribute in engine.attributes if attribute.goes} <= there
    assert {f"settings.{name}" for name in engine.halves} <= there
    assert {*engine.inert} <= there


def test_the_configured_names_are_metaflows(tmp_path: Path) -> None:
    names = [name for engine in ENGINES.values() for name in engine.variables]
    assert len(names) == len(set(names))
    assert set(names) <= vars(metaflow_config).keys()


RAW = """job "site" {
  group "site" {
    task "site" { driver = "raw_exec" }
  }
}
"""
IMAGES = [
    # form, the profile's options and job, configured image -> contained, image
    ({}, {}, {}, None, True, images.python_image()),
    ({}, {}, {}, "site:1", True, "site:1"),
    ({"image": "mine"}, {}, {}, "site:1", True, "mine"),
    ({"options": {"driver": "podman"}}, {}, {}, None, True, images.python_image()),
    ({"options": {"driver": "raw_exec"}}, {}, {}, "site:1", False, None),
    ({}, {"driver": "exec"}, {}, "site:1", False, None),
    ({"options": {"driver": "docker"}}, {"driver": "exec"}, {}, None, True, images.python_image()),
    ({}, {}, {"image": "of the profile"}, "site:1", True, None),
    ({"options": {"template": "job.hcl"}}, {}, {}, None, True, None),
    ({"options": {"template": RAW}}, {}, {}, "site:1", False, None),
    ({"options": {"template": RAW, "driver": "docker"}}, {}, {}, "site:1", True, "site:1"),
    ({}, {"template": '{"Tasks": [{"Driver": "podman"}]}'}, {}, "site:1", True, "site:1"),
    ({"options": {"template": RAW + 'logging { driver = "journald" }'}}, {}, {}, None, True, None),
    ({"options": {"template": "job.hcl"}}, {}, {}, "site:1", True, "site:1"),
    ({"options": {"pod": {"hostNetwork": True}}}, {}, {}, None, True, images.python_image()),
    ({"options": {"pod": {"containers": [{"image": "there"}]}}}, {}, {}, None, True, None),
    ({"options": {"pod": "containers:\n- image: there\n"}}, {}, {}, None, True, None),
    ({}, {"pod": "imagePullSecrets:\n- x\n"}, {}, None, True, images.python_image()),
    ({"options": {"config": {"image": "there"}}}, {}, {}, "site:1", True, None),
]


@pytest.mark.parametrize(("form", "options", "job", "site", "inside", "image"), IMAGES)
def test_a_step_that_names_no_image_runs_in_one_where_its_driver_does(
    form: dict[str, Any], options: Any, job: Any, site: Any, inside: bool, image: Any
) -> None:
    from dataclasses import replace

    there = replace(resolved(NOMADS), options=options, job=job)
    assert images.contained(True, form, there) is inside
    if inside:
        assert images.with_image(form, there, site).get("image") == image
