"""From attributes to the form of a job."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metaflow.decorators import StepDecorator

from metaflow_extensions.batchbridge.plugins.attributes import (
    DEFAULTS,
    SLACK,
    BatchBridgeException,
    job_form,
    read_table,
    write_table,
)

AT = "@nomad on the step fit"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class Carrier(StepDecorator):
    name = "carrier"
    defaults: ClassVar[dict[str, Any]] = {"options": None, "cpu": None}


@given(st.dictionaries(st.text(min_size=1), VALUES, min_size=1, max_size=3))
def test_a_table_survives_the_way_through_with(table: dict[str, Any]) -> None:
    """Twice: the launcher hands ``--with`` to the step's process, and that one to the job."""
    carried: Any = table
    for _ in range(2):
        sender = Carrier({"options": write_table("options", carried), "cpu": 2})
        _, _, spec = sender.make_decorator_spec().partition(":")
        received = Carrier.parse_decorator_spec(spec).attributes
        assert received["cpu"] == 2
        carried = received["options"]
    assert read_table("options", carried) == table


@pytest.mark.parametrize("value", ["[1]", "queue", 7, ["a"]])
def test_a_table_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="options"):
        read_table("options", value)


def form(asked: dict[str, Any], hinted: dict[str, Any], *, wins: bool = False) -> dict[str, Any]:
    made = job_form({**DEFAULTS, **asked}, hinted, run_limit=100, decorator_wins=wins, at=AT)
    assert made.pop("timeout") == 100 + SLACK
    return made


@pytest.mark.parametrize(
    ("asked", "hinted", "wins", "expected"),
    [
        ({}, {}, False, {}),
        ({"cpu": 2, "memory": "512"}, {}, False, {"cpu": 2.0, "memory": 512 << 20}),
        ({}, {"cpu": "1", "memory": 256}, False, {"cpu": 1.0, "memory": 256 << 20}),
        ({"cpu": 0.5}, {"cpu": "1", "memory": "4096"}, False, {"cpu": 1.0, "memory": 4096 << 20}),
        ({"cpu": 4}, {"cpu": 2}, False, {"cpu": 4.0}),
        ({"cpu": 1}, {"cpu": 2, "memory": 1}, True, {"cpu": 1.0, "memory": 1 << 20}),
        ({"gpu": 0}, {"gpu": "0"}, False, {}),
        ({"gpu": "1"}, {"gpu": 2}, False, {"gpu": 2}),
        ({"image": 7, "queue_timeout": "10m"}, {}, False, {"image": "7", "queue_timeout": "10m"}),
        ({"options": '{"a": 1}', "secrets": {}}, {}, False, {"options": {"a": 1}}),
    ],
)
def test_the_larger_number_wins_unless_the_decorator_does(
    asked: dict[str, Any], hinted: dict[str, Any], wins: bool, expected: dict[str, Any]
) -> None:
    assert form(asked, hinted, wins=wins) == expected


def test_what_is_no_number_is_refused_with_its_unit() -> None:
    with pytest.raises(
        BatchBridgeException, match="the step fit: memory='4G' is no number of megabytes"
    ):
        form({"memory": "4G"}, {})
