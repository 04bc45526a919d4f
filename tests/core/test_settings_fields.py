"""Data classes that describe themselves, and text read as the types they name."""

from __future__ import annotations

import doctest
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import pytest

from batchbridge import fields
from batchbridge.driver import Duration, NoOptions, Size, setting
from batchbridge.errors import SpecError, UsageError
from batchbridge.fields import describe, options_from


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    unit: Literal["", "metre", "mile"] = ""


@dataclass(frozen=True, slots=True)
class Options:
    queue: str = setting(help="which queue", env="QUEUE", inert=True)
    count: int = setting(1, help="how many")
    ratio: float | None = setting(None, help="how much")
    keep: bool = setting(False, help="whether")
    scratch: Size | None = setting(None, help="how big")
    grace: Duration = setting(10.0, help="how long")
    zones: tuple[str, ...] = setting((), help="where")
    ports: list[int] = setting(factory=list, help="which")
    meta: Mapping[str, Any] = setting(factory=dict, help="what else")
    points: tuple[Point, ...] = setting((), help="whither")
    named: Mapping[str, Point] | None = setting(None, help="whence")
    runner: Literal["docker", "exec"] = setting("docker", help="what runs it")
    colour: Colour | None = setting(None, help="which")
    mixed: str | tuple[str, ...] = setting("", help="either")
    anything: Any = setting(None, help="any")
    password: str | None = setting(None, help="who", secret=True)
    plain: int = 3
    derived: int = field(default=0, init=False)


def test_each_field_says_its_type_default_and_help():
    found = {f.name: (f.type, f.default, f.choices) for f in describe(Options)}
    assert found == {
        "queue": ("text", None, ()),
        "count": ("integer", 1, ()),
        "ratio": ("number", None, ()),
        "keep": ("true | false", False, ()),
        "scratch": ("size", None, ()),
        "grace": ("duration", 10.0, ()),
        "zones": ("list of text", (), ()),
        "ports": ("list of integer", [], ()),
        "meta": ("mapping", {}, ()),
        "points": ("list of Point", (), ()),
        "named": ("mapping", None, ()),
        "runner": ("docker | exec", "docker", ("docker", "exec")),
        "colour": ("red | blue", None, ("red", "blue")),
        "mixed": ("text | list of text", "", ()),
        "anything": ("any", None, ()),
        "password": ("text", None, ()),
        "plain": ("integer", 3, ()),
    }


def test_marks_of_a_field_are_told():
    queue, *_ = describe(Options)
    password = next(f for f in describe(Options) if f.name == "password")
    assert (queue.help, queue.env, queue.inert, queue.required) == (
        "which queue",
        "QUEUE",
        True,
        True,
    )
    assert (password.secret, password.inert, password.address, password.required) == (
        True,
        False,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("count", "7", 7),
        ("count", 7, 7),
        ("ratio", "0.5", 0.5),
        ("ratio", 1, 1.0),
        ("ratio", None, None),
        ("keep", "true", True),
        ("keep", "0", False),
        ("scratch", "4G", 4 << 30),
        ("scratch", 10, 10),
        ("scratch", None, None),
        ("grace", "2m", 120.0),
        ("zones", "a, b,", ("a", "b")),
        ("zones", "", ()),
        ("zones", '["a,b"]', ("a,b",)),
        ("zones", ["a"], ("a",)),
        ("ports", "1,2", [1, 2]),
        ("meta", '{"a": [1]}', {"a": [1]}),
        ("meta", {"a": 1}, {"a": 1}),
        ("points", '[{"x": 1}]', (Point(1),)),
        ("runner", "exec", "exec"),
        ("colour", "red", Colour.RED),
        ("mixed", "a,b", "a,b"),
        ("mixed", ["a"], ("a",)),
        ("anything", "[1", "[1"),
        ("queue", "7", "7"),
        ("queue", "null", "null"),
    ],
)
def test_values_are_read_as_the_type_of_their_field(name, given, value):
    options = options_from(Options, {"queue": "q", name: given})
    assert getattr(options, name) == value
    assert type(getattr(options, name)) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("count", "many", "options.count: Expected `int`, got `str`"),
        ("count", True, "options.count: Expected `int`, got `bool`"),
        ("count", "1.5", "options.count: Expected `int`"),
        ("keep", "maybe", "options.keep: Expected `bool`"),
        ("scratch", "4X", "options.scratch '4X' is no size"),
        ("grace", "soon", "options.grace 'soon' is no time"),
        ("ports", "1,b", "options.ports"),
        ("meta", "{", "options.meta is not valid JSON"),
        ("meta", "a=1", "options.meta: Expected `object`"),
        ("points", '[{"y": 1}]', r"options.points\[0\]: .*missing required field `x`"),
        ("points", '[{"x": 1, "Y": 2}]', r"options.points\[0\].Y: there is no 'Y'"),
        ("points", [{"x": 1, 2: 3}], r"options.points\[0\].2: there is no '2'"),
        ("points", [{"x": 1, "unit": "m"}], r"points\[0\].unit: 'm' is none of metre, mile"),
        ("named", {"a": {"x": 1, "z": 2}}, r"options.named.a.z: there is no 'z'"),
        ("runner", "dokcer", r"'dokcer' is none of docker, exec; did you mean 'docker'\?"),
        ("runner", 3, "options.runner: Expected"),
        ("colour", "green", "'green' is none of red, blue"),
        ("cuont", 1, r"there is no 'cuont'; did you mean 'count'\?"),
        ("derived", 1, "there is no 'derived'"),
        ("queue", "\udcff", "options.queue holds what is not UTF-8"),
    ],
)
def test_what_is_not_valid_is_refused_naming_the_field_and_the_valid_choices(name, given, message):
    with pytest.raises(SpecError, match=message) as error:
        options_from(Options, {"queue": "q", name: given})
    assert isinstance(error.value, UsageError)
    assert error.value.path.startswith(f"options.{name}")


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(SpecError) as error:
        options_from(Options, {"zzz": 1})
    assert "queue, count, ratio" in error.value.remedy
    with pytest.raises(SpecError) as error:
        options_from(NoOptions, {"zzz": 1})
    assert error.value.remedy == "it has no options"


def test_a_missing_option_is_named():
    with pytest.raises(SpecError, match=r"options\.queue is missing"):
        options_from(Options, {})


def test_what_the_class_itself_refuses_is_a_spec_error():
    @dataclass(frozen=True)
    class Even:
        count: int = 0

        def __post_init__(self):
            if self.count % 2:
                raise ValueError("count must be even")

    with pytest.raises(SpecError, match="options: count must be even"):
        options_from(Even, {"count": "3"})


def test_a_secret_shows_in_no_repr_and_no_error():
    assert "sesame" not in repr(Options(queue="q", password="sesame"))
    with pytest.raises(SpecError) as error:
        options_from(Options, {"queue": "q", "password": ["sesame"]})
    assert "sesame" not in str(error.value)


def test_the_examples_hold():
    assert doctest.testmod(fields).failed == 0
