"""The nouns: what they refuse, and that they come back from JSON as they were."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchbridge.errors import SpecError
from batchbridge.model import (
    Absent,
    Batch,
    Cause,
    Files,
    Intent,
    JobRef,
    JobSpec,
    JobState,
    Secret,
    Seen,
    Submission,
    rfc3339,
)
from batchbridge.values import convert, read_size, read_time

from .histories import ANY, seens

S = JobState
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True)
POSITIVE = st.floats(0.001, 1e9)


def specs() -> st.SearchStrategy[JobSpec]:
    command = st.tuples(TEXT.filter(bool), TEXT)
    return st.builds(
        JobSpec,
        command=command,
        name=TEXT,
        env=st.dictionaries(NAMES.map("E{}".format), TEXT, max_size=2),
        secrets=st.dictionaries(NAMES.map("S{}".format), TEXT, max_size=2),
        cpu=st.none() | POSITIVE,
        memory=st.none() | st.integers(1, 2**40),
        gpu=st.none() | st.integers(0, 8),
        upload=st.lists(TEXT, max_size=2).map(tuple),
        timeout=st.none() | POSITIVE,
        queue_timeout=st.none() | POSITIVE,
        labels=st.dictionaries(TEXT, TEXT, max_size=2),
        options=st.dictionaries(TEXT, st.integers() | TEXT, max_size=2),
        reruns=st.booleans(),
    )


# -- JobSpec -------------------------------------------------------------------------------------


@given(specs())
def test_a_spec_comes_back_from_its_json(spec: JobSpec) -> None:
    form = msgspec.json.decode(msgspec.json.encode(spec.to_json()))
    assert JobSpec.parse(form) == spec


def test_the_form_leaves_out_what_is_at_its_default() -> None:
    assert JobSpec(command=("true",)).to_json() == {"command": ("true",)}


def test_a_string_is_for_the_shell() -> None:
    assert JobSpec.parse({"command": "a | b"}).command == ("sh", "-c", "a | b")


def test_sizes_times_and_numbers_may_be_written_as_people_do() -> None:
    form = {"command": ["x"], "memory": "4G", "disk": 10, "timeout": "2h", "cpu": "0.5"}
    spec = JobSpec.parse(form)
    assert (spec.memory, spec.disk, spec.timeout, spec.cpu) == (4 * 2**30, 10, 7200.0, 0.5)


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ({}, "command"),
        ({"command": []}, "command"),
        ({"command": [""]}, "command"),
        ({"command": ["a\0b"]}, "command"),
        ({"command": [3]}, "command[0]"),
        ({"command": "x", "cpu": 0}, "cpu"),
        ({"command": "x", "cpu": "many"}, "cpu"),
        ({"command": "x", "cpu": float("nan")}, "cpu"),
        ({"command": "x", "memory": "-1G"}, "memory"),
        ({"command": "x", "memory": True}, "memory"),
        ({"command": "x", "timeout": "1 fortnight"}, "timeout"),
        ({"command": "x", "timeout": float("inf")}, "timeout"),
        ({"command": "x", "gpu": -1}, "gpu"),
        ({"command": "x", "env": {"A-B": "1"}}, "env"),
        ({"command": "x", "env": {"A": "1"}, "secrets": {"A": "env:A"}}, "secrets"),
        ({"command": "x", "tiemout": 3}, "tiemout"),
    ],
)
def test_a_wrong_field_is_named(form: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecError) as caught:
        JobSpec.parse(form)
    assert caught.value.path == path


@pytest.mark.parametrize("field", ["env", "labels", "secrets"])
def test_a_value_that_is_no_text_is_named(field: str) -> None:
    with pytest.raises(SpecError, match=rf"{field}\.LEVEL is int, not text") as caught:
        JobSpec.parse({"command": ["true"], field: {"NAME": "value", "LEVEL": 3}})
    assert caught.value.path == f"{field}.LEVEL"


def test_an_unknown_field_gets_a_suggestion() -> None:
    with pytest.raises(SpecError, match="did you mean 'timeout'"):
        JobSpec.parse({"command": "x", "tiemout": 3})


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("4G", 4 * 2**30), ("1.5k", 1536), ("2 MiB", 2 * 2**20), (7, 7)]
)
def test_sizes(text: str | int, size: int) -> None:
    assert read_size("memory", text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), (1.5, 1.5)]
)
def test_times(text: str | float, seconds: float) -> None:
    assert read_time("timeout", text) == seconds


def test_convert_names_the_place() -> None:
    with pytest.raises(SpecError) as caught:
        convert({"cpu": "x", "command": ["a"]}, JobSpec, path="jobs[3]")
    assert caught.value.path == "jobs[3].cpu"


# -- Submission ----------------------------------------------------------------------------------


def _submission(**fields: Any) -> Submission:
    spec = fields.pop("spec", JobSpec(command=("x",)))
    return Submission(**{"key": "k", "spec": spec, "job_set": "s", "user": "u"} | fields)


def test_the_digest_tells_work_apart_and_nothing_else() -> None:
    digest = _submission().digest
    assert digest == _submission(key="other", job_set="other", user="other").digest
    assert digest == _submission(spec=JobSpec(command=("x",), job_set="other")).digest
    assert digest != _submission(spec=JobSpec(command=("y",))).digest
    assert digest != _submission(files=Files("abc", 3)).digest


def test_a_secret_is_not_written_down() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {_submission(secrets={'A': secret})}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


# -- observations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        (S.RUNNING, {"final": True}),
        (S.RUNNING, {"again": True, "seq": (1,)}),
        (S.RUNNING, {"exit_code": 0}),
        (S.QUEUED, {"cause": Cause.PREEMPTED}),
        (S.LOST, {}),
        (S.FAILED, {"again": True}),
        (S.FAILED, {"again": True, "final": True, "seq": (1,)}),
        (S.FAILED, {"exit_code": 137, "signal": 9}),
        (S.FAILED, {"cause": Cause.CANCELLED}),
        (S.SUCCEEDED, {"exit_code": 3}),
        (S.SUCCEEDED, {"signal": 9}),
        (S.SUCCEEDED, {"cause": Cause.UNKNOWN}),
        (S.QUEUED, {"attempt": 0}),
        (S.FAILED, {"attempt": 0}),
    ],
)
def test_a_contradiction_is_refused_where_it_is_made(
    state: JobState, fields: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"job {state}"):
        Seen("job", state, **fields)


@given(st.lists(st.one_of(seens(numbered=True, ordered=True), st.builds(Absent, TEXT, POSITIVE))))
def test_what_a_driver_says_comes_back_from_json(said: list[Seen | Absent]) -> None:
    for one in said:
        assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one


@given(ANY)
def test_observations_are_frozen_and_hashable(history: list[Any]) -> None:
    batch = Batch(tuple(one for one in history if isinstance(one, Seen | Absent)), "cursor")
    assert hash(batch) == hash(Batch(batch.observations, "cursor"))
    with pytest.raises(FrozenInstanceError):
        batch.cursor = None


def test_an_intent_comes_back_from_json() -> None:
    intent = Intent(Cause.EXIT_CODE, 1.0, exit_code=3, message="m")
    assert msgspec.json.decode(msgspec.json.encode(intent), type=Intent) == intent


NINES = "9" * 400


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *[("memory", value, "more than any engine has") for value in (NINES, f"{NINES}G", 2**63)],
        ("disk", "8388608T", "more than any engine has"),
        ("cpu", NINES, "more than any engine has"),
        ("gpu", int(NINES), "more than any engine has"),
        *[
            ("timeout", value, "longer than 100 years")
            for value in ("200000d", f"{NINES}s", 1e10, int(NINES), float("inf"))
        ],
    ],
    ids=lambda value: str(value)[:12],
)
def test_more_than_can_be_counted_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(SpecError, match=f"^{name} is {words}"):
        JobSpec.parse({"command": ["true"], name: value})


@pytest.mark.parametrize("name", ["timeout", "queue_timeout", "start_timeout"])
def test_a_time_of_more_than_a_century_is_refused_in_a_spec_too(name: str) -> None:
    assert getattr(JobSpec(command=("true",), **{name: 36525 * 86400.0}), name)
    with pytest.raises(SpecError, match=f"{name} is longer than 100 years"):
        JobSpec(command=("true",), **{name: 36526 * 86400.0})


@pytest.mark.parametrize("name", ["key", "user", "job_set"])
def test_a_submission_is_named_by_text(name: str) -> None:
    names = {"key": "k", "user": "me", "job_set": "set", name: "\udcff"}
    with pytest.raises(SpecError, match=f"{name} holds what is not UTF-8"):
        Submission(spec=JobSpec(command=("true",)), **names)


def test_the_signed_address_of_files_is_not_shown() -> None:
    assert "sesame" not in repr(Files("d", 1, location="https://x/d?X-Amz-Signature=sesame"))


# -- references and times ------------------------------------------------------------------------


@given(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.lists(TEXT, min_size=2, max_size=4))
def test_a_reference_comes_back_from_its_text(backend: str, parts: list[str]) -> None:
    assume(all(parts))
    ref = JobRef(backend, parts[0], tuple(parts[1:-1]), parts[-1])
    assert JobRef.parse(str(ref)) == ref
    assert str(ref).isascii()
    assert not set(str(ref)) & set(" \t\n'\"$;&|")


@pytest.mark.parametrize("text", ["", "local", "local://", "local://a", "://a/b", "local://a//b"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is no reference"):
        JobRef.parse(text)


def test_times_are_shown_in_utc() -> None:
    assert rfc3339(0.1234) == "1970-01-01T00:00:00.123Z"
    assert rfc3339(None) is None
