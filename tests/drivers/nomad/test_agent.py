"""The agent of the tests says what a real one was recorded to say."""

from __future__ import annotations

import pytest

from tests.drivers.nomad import calls, likeness, scenarios
from tests.drivers.nomad.recorded import HOME, NAMES, recording
from tests.drivers.nomad.worlds import ours

ANSWERS = sorted(path.stem for path in (HOME / "answers").glob("*.json"))


def test_all_that_is_recorded_is_said_here_and_nothing_else():
    assert set(NAMES) == scenarios.SCENARIOS.keys()
    assert set(ANSWERS) == calls.CALLS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_jobs_life_is_told_alike(name):
    with ours(acl=name in scenarios.ACL) as world:
        made = scenarios.recorded(world, name)
    of = likeness.of_recording
    assert not likeness.differences(of(recording(name)), of(made))
    assert likeness.grows(made)


@pytest.mark.parametrize("name", ANSWERS)
def test_calls_are_answered_alike(name):
    with ours(acl=name in calls.ACL) as world:
        made = calls.recorded(world, name)
    of = calls.likeness
    assert not likeness.differences(of(recording(f"answers/{name}")), of(made))
