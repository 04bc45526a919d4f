"""From attributes to the form of a job."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metaflow.decorators import StepDecorator

from metaflow_extensions.batchbridge.plugins import readers
from metaflow_extensions.batchbridge.plugins.attributes import (
    SLACK,
    BatchBridgeException,
    asked,
    job_form,
    write_structure,
)
from metaflow_extensions.batchbridge.plugins.decorators import NomadDecorator
from metaflow_extensions.batchbridge.plugins.engines import ARMADA, LOCAL, NOMAD
from metaflow_extensions.batchbridge.plugins.tables import Engine

AT = "@nomad on the step fit"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class Carrier(StepDecorator):
    name = "carrier"
    defaults: ClassVar[dict[str, Any]] = {"options": None, "cpu": None}


@given(
    st.dictionaries(st.text(min_size=1), VALUES, min_size=1, max_size=3)
    | st.lists(VALUES, min_size=1, max_size=3)
)
def test_lists_and_tables_survive_the_way_through_with(structure: Any) -> None:
    """Twice: the launcher hands ``--with`` to the step's process, and that one to the job."""
    carried: Any = structure
    for _ in range(2):
        sender = Carrier({"options": write_structure("options", carried), "cpu": 2})
        _, _, spec = sender.make_decorator_spec().partition(":")
        received = Carrier.parse_decorator_spec(spec).attributes
        assert received["cpu"] == 2
        carried = received["options"]
    assert readers.structure("options", carried) == structure


def form(
    engine: Engine,
    decorator: dict[str, Any],
    resources: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> dict[str, Any]:
    told = asked(engine, decorator, resources or {}, config or {}, at=AT)
    made = job_form(told, run_limit=100)
    assert made.pop("timeout") == 100 + SLACK
    return made


@pytest.mark.parametrize(
    ("decorator", "resources", "expected"),
    [
        ({}, {}, {}),
        ({"cpu": 2, "memory": "512"}, {}, {"cpu": 2.0, "memory": 512 << 20}),
        ({}, {"cpu": "1", "memory": 256}, {"cpu": 1.0, "memory": 256 << 20}),
        ({"cpu": 0.5}, {"cpu": "1", "memory": "4096"}, {"cpu": 1.0, "memory": 4096 << 20}),
        ({"cpu": 4}, {"cpu": 2}, {"cpu": 4.0}),
        ({"gpu": 0}, {"gpu": "0"}, {}),
        ({"gpu": "1"}, {"gpu": 2}, {"gpu": 2}),
        ({"gpu": "2.0"}, {}, {"gpu": 2}),
        ({"image": 7, "queue_timeout": "10m"}, {}, {"image": "7", "queue_timeout": "10m"}),
        ({"options": '{"a": 1}', "secrets": {}}, {}, {"options": {"a": 1}}),
        ({"options": {"cores": 2}}, {"cpu": 1}, {"options": {"cores": 2}}),
    ],
)
def test_the_larger_number_counts_where_no_engine_is_named(
    decorator: dict[str, Any], resources: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert form(LOCAL, decorator, resources) == expected


# Where a number is asked for: on the decorator, by @resources, in the configuration, or nowhere.
MHZ, CORES = "options.cpu_mhz", "cpu"
CPU_CELLS = [
    # decorator, @resources, configured -> what the job asks for
    (None, None, None, {}),
    (None, None, 500, {MHZ: 500}),
    (None, None, "2", {CORES: 2.0}),
    (None, 3, None, {CORES: 3.0}),
    (None, 300, None, {CORES: 300.0}),
    (None, 3, 500, {CORES: 3.0}),
    (2, None, None, {CORES: 2.0}),
    (4000, None, None, {MHZ: 4000}),
    (99.5, None, None, {CORES: 99.5}),
    (100, None, None, {MHZ: 100}),
    ("250.5", None, None, {MHZ: 251}),
    (2, None, 500, {CORES: 2.0}),
    (4000, None, 2, {MHZ: 4000}),
    (1, 3, None, {CORES: 1.0}),
    (200, 3, None, {MHZ: 200}),
    (1, 3, 500, {CORES: 1.0}),
    (200, 3, 500, {MHZ: 200}),
]
AMOUNT_CELLS = [
    (None, None, None, None),
    (None, None, "64", 64),
    (None, 128, None, 128),
    (None, 128, 64, 128),
    (32, None, None, 32),
    ("32", None, 64, 32),
    (32, 128, None, 32),
    (32, 128, 64, 32),
    (256, 128, 64, 256),
]


def told(engine: Engine, name: str, cell: tuple[Any, ...]) -> dict[str, Any]:
    values = [value for value in cell if value is not None]
    decorator, resources, configured = ({name: value} for value in cell)
    config = {f"{engine.name}_{name}".upper(): configured[name]}
    assert len(values) <= 3
    return asked(engine, decorator, resources, config, at=AT)


@pytest.mark.parametrize(("decorator", "resources", "configured", "expected"), CPU_CELLS)
def test_nomads_cpu_is_megahertz_or_cores_of_the_strongest(
    decorator: Any, resources: Any, configured: Any, expected: dict[str, Any]
) -> None:
    assert told(NOMAD, "cpu", (decorator, resources, configured)) == expected


@pytest.mark.parametrize("name", ["memory", "disk"])
@pytest.mark.parametrize("engine", [NOMAD, ARMADA], ids=["nomad", "armada"])
@pytest.mark.parametrize(("decorator", "resources", "configured", "expected"), AMOUNT_CELLS)
def test_memory_and_disk_are_the_strongests(
    engine: Engine, name: str, decorator: Any, resources: Any, configured: Any, expected: Any
) -> None:
    found = told(engine, name, (decorator, resources, configured))
    assert found == ({} if expected is None else {name: expected << 20})


@pytest.mark.parametrize(
    ("value", "cores"), [("240m", 0.24), (2, 2.0), ("0.5", 0.5), (1.5, 1.5), ("3000m", 3.0)]
)
@pytest.mark.parametrize("way", ["decorator", "configured"])
def test_armadas_cpu_is_written_as_kubernetes_does(value: Any, cores: float, way: str) -> None:
    cell = (value, 7, None) if way == "decorator" else (None, None, value)
    assert told(ARMADA, "cpu", cell) == {"cpu": cores}
    assert told(ARMADA, "cpu", (None, 7, value)) == {"cpu": 7.0}


@pytest.mark.parametrize(
    ("value", "size"),
    [("2Gi", 2 << 30), ("500M", 500 * 10**6), ("64", 64 << 20), (0.5, 1 << 19), ("1Ki", 1024)],
)
def test_armadas_memory_is_megabytes_or_written_as_kubernetes_does(value: Any, size: int) -> None:
    assert form(ARMADA, {"memory": value}) == {"memory": size}


@pytest.mark.parametrize(
    ("engine", "decorator", "words"),
    [
        (LOCAL, {"memory": "4G"}, "memory='4G' is no number of megabytes"),
        (NOMAD, {"cpu": "two"}, "cpu='two' is no number"),
        (NOMAD, {"cpu": 2, "cores": 2}, "cpu and cores exclude each other"),
        (NOMAD, {"cpu": "inf"}, "cpu='inf' is no number"),
        (NOMAD, {"memory": "inf"}, "memory='inf' is no number of megabytes"),
        (NOMAD, {"memory": 1e308}, "memory=1e.308 is no number of megabytes"),
        (NOMAD, {"gpu": 0.5}, "gpu=0.5 is no whole number"),
        (NOMAD, {"gpu": "inf"}, "gpu='inf' is no number"),
        (NOMAD, {"cores": "1.7"}, "cores='1.7' is no whole number"),
        (NOMAD, {"namespace": ["a"]}, "is no text"),
        (ARMADA, {"cpu": "2Gi"}, "no number of cores"),
        (ARMADA, {"memory": "240m"}, "no number of megabytes, and no size"),
        (ARMADA, {"insecure_no_ssl": "maybe"}, "neither true nor false"),
        (ARMADA, {"labels": ["a"]}, "is no dictionary"),
        (LOCAL, {"options": "queue"}, "is no dictionary"),
        (LOCAL, {"secrets": [1]}, "is no dictionary"),
    ],
)
def test_what_is_wrong_is_refused_with_the_attribute(
    engine: Engine, decorator: dict[str, Any], words: str
) -> None:
    with pytest.raises(BatchBridgeException, match=f"the step fit: .*{words}"):
        form(engine, decorator)


def test_what_is_configured_wrongly_is_named_as_it_is_configured() -> None:
    with pytest.raises(BatchBridgeException, match="METAFLOW_NOMAD_MEMORY='x' is no number"):
        form(NOMAD, {}, config={"NOMAD_MEMORY": "x"})


CONSTRAINT = {"attribute": "${attr.kernel.name}", "operator": "=", "value": "linux"}


def test_every_attribute_of_nomad_has_its_place() -> None:
    decorator = {
        "image": "your/custom-image",
        "datacenters": "dc1,dc2",
        "constraints": [CONSTRAINT],
        "disk": 100,
        "gpu": 1,
        "cores": 2,
        "node_pool": "gpu",
        "priority": "70",
        "volumes": [{"source": "data", "path": "/data"}],
        "driver": "podman",
        "secrets": {"TOKEN": "env:TOKEN"},
        "template": {"Job": {}},
        "options": {"driver": "exec", "lost_after": "1m"},
        "start_timeout": "2m",
        "namespace": "team",
        "region": "eu",
        "profile": "prod",
        "executable": "/usr/bin/python3",
    }
    assert form(NOMAD, decorator, {"cpu": 9}, {"NOMAD_CPU": 100, "NOMAD_DRIVER": "docker"}) == {
        "image": "your/custom-image",
        "disk": 100 << 20,
        "gpu": 1,
        "secrets": {"TOKEN": "env:TOKEN"},
        "start_timeout": "2m",
        "options": {
            "datacenters": "dc1,dc2",
            "constraints": [CONSTRAINT],
            "cores": 2,
            "node_pool": "gpu",
            "priority": 70,
            "volumes": [{"source": "data", "path": "/data"}],
            "driver": "podman",
            "template": '{"Job": {}}',
            "lost_after": "1m",
        },
    }


def test_every_attribute_of_armada_has_its_place() -> None:
    decorator = {
        "labels": {"team": "x"},
        "annotations": {"a": "b"},
        "priority": 3,
        "priority_class": "high",
        "node_selector": {"zone": "a"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "volumes": [{"path": "/data", "source": {"emptyDir": {}}}],
        "service_account": "runner",
        "pod_template": {"hostNetwork": True},
        "secrets": {"A": "s/key", "B": {"secret": "t", "key": "k"}, "C": "env:C"},
        "gpu": "1",
        "job_set_id": "mine",
        "queue": "q",
    }
    assert form(ARMADA, decorator) == {
        "labels": {"team": "x"},
        "gpu": 1,
        "secrets": {"C": "env:C"},
        "options": {
            "annotations": {"a": "b"},
            "priority": 3.0,
            "priority_class": "high",
            "node_selector": {"zone": "a"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "volumes": [{"path": "/data", "source": {"emptyDir": {}}}],
            "service_account": "runner",
            "pod": {"hostNetwork": True},
            "secret_env": {
                "A": {"secret": "s", "key": "key"},
                "B": {"secret": "t", "key": "k"},
            },
        },
    }
    assert form(ARMADA, {"secrets": ["a", "b"]}) == {"options": {"secret_names": ["a", "b"]}}


@pytest.mark.parametrize("engine", [NOMAD, ARMADA], ids=["nomad", "armada"])
def test_what_a_step_says_stands_over_what_is_configured(engine: Engine) -> None:
    for name, attribute in engine.variables.items():
        value, other = ({"a": "b"}, {"c": "d"}) if "dict" in attribute.kind else (8, 9)
        if attribute.kind == "bool":
            value, other = True, False
        alone = asked(engine, {}, {}, {name: value}, at=AT)
        assert alone == attribute.told(name, value), name
        if attribute.name:
            both = asked(engine, {attribute.name: other}, {}, {name: value}, at=AT)
            assert both == attribute.told(name, other), name


def test_attributes_come_by_with_too() -> None:
    """Metaflow reads numbers, lists and dictionaries out of the text."""
    spec = 'image=your/custom-image,cpu=4000,datacenters=["dc1"],region=7'
    decorator = NomadDecorator.parse_decorator_spec(spec)
    decorator._init()
    assert asked(NOMAD, decorator.attributes, {}, {}, at=AT) == {
        "image": "your/custom-image",
        MHZ: 4000,
        "options.datacenters": ["dc1"],
        "settings.region": "7",
    }
