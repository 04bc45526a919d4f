"""What is refused before the first task, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metaflow_extensions.batchbridge.plugins.refusals import Setting, objection

PLAIN = Setting(
    name="nomad",
    step="train",
    others=("retry", "resources", "card"),
    parallel=False,
    environment="local",
    shared_memory=None,
    root="/home/me/.metaflow",
    command=["run"],
)


def test_an_ordinary_step_is_not_refused() -> None:
    assert objection(PLAIN) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parallel": True}, "@parallel"),
        ({"environment": "conda"}, "conda environments"),
        ({"environment": "fast-bakery"}, "fast-bakery environments"),
        ({"others": ("pypi",)}, "pypi environments"),
        ({"others": ("kubernetes",)}, "excludes @kubernetes"),
        ({"others": ("local_batch",)}, "excludes @local_batch"),
        ({"shared_memory": 64}, "shared_memory"),
        ({"root": "data/.metaflow"}, "data/.metaflow"),
        ({"command": ["argo-workflows", "create"]}, "argo-workflows"),
        ({"command": ["step-functions", "--name", "x", "create"]}, "step-functions"),
        ({"command": ["airflow", "create", "dag.py"]}, "airflow"),
    ],
)
def test_each_refusal_is_one_sentence_that_names_the_step(
    change: dict[str, object], words: str
) -> None:
    said = objection(replace(PLAIN, **change))
    assert said is not None
    assert said.startswith("@nomad on the step train ")
    assert words in said
    assert said.endswith(".")
    assert said.count(". ") == 0


@pytest.mark.parametrize("command", [[], ["show"], ["logs", "1/train"], ["argo-workflows", "list"]])
def test_commands_that_start_nothing_are_left_alone(command: list[str]) -> None:
    assert objection(replace(PLAIN, environment="conda", command=command)) is None
