"""The benchmarks of Armada run, on an Armada in this process; how good they are is not asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import armada_ends, armada_stack, armada_submits, armada_watching
from benchmarks.harness import NotRun, Size
from localdev.armada_ready import STATE_VARIABLE
from localdev.armada_state import Stack
from tests.drivers.armada.server import Armada

FEW = Size(rounds=1, fraction=0.004)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A small one instead of the one that the environment names."""
    armada = Armada()
    armada.cluster.queues |= {"q", armada_stack.CORDONED}
    stack = Stack("fake-executor", "0", armada.address, "", "q")
    for module in (armada_ends, armada_submits, armada_watching):
        monkeypatch.setattr(module, "stack", lambda: stack)
    yield stack
    armada.close()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("run", "rows"), [(armada_submits.run, 3), (armada_ends.run, 1), (armada_watching.run, 6)]
)
def test_every_number_is_measured(run, rows, monkeypatch):
    monkeypatch.setattr("benchmarks.cores._cores", set)  # on one core the rates have no other half
    report = run(FEW)
    assert len(report.rows) == rows
    assert not [row.not_run for row in report.rows if row.not_run]
    assert all(len(row.samples) == 1 for row in report.rows)
    assert [row.samples for row in report.rows if "not seen" in row.what] in ([], [[0], [0]])


def test_without_an_armada_they_are_not_run(monkeypatch):
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    with pytest.raises(NotRun, match=STATE_VARIABLE):
        armada_submits.run(FEW)
