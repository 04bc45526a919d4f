"""The conformance kit has teeth: each mutant is caught, by exactly the tests that should see it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchbridge.testing import DriverConformance

from .mutants import MUTANTS

HERE = Path(__file__).parent
KIT = {name for name in dir(DriverConformance) if name.startswith("test_")}
FAILED = re.compile(r"^(?:FAILED|ERROR) \S+::TestMutant::(\w+)", re.MULTILINE)
ENDED = re.compile(r"^\d+ (?:passed|failed).* in [\d.]+s", re.MULTILINE)
AT_ONCE = 4 * (os.cpu_count() or 1)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def caught(mutant: str, files: Path) -> set[str]:
    """The tests of the kit that fail on it."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    # A place of its own for files: runs side by side would clean up the shared one's under another.
    done = subprocess.run(
        [*command, "--timeout=100", f"--basetemp={files}", str(HERE / "mutated.py")],
        env={**os.environ, "BATCHBRIDGE_MUTANT": mutant, "PYTEST_ADDOPTS": ""},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ENDED.search(done.stdout), done.stdout + done.stderr
    return set(FAILED.findall(done.stdout))


def unlike(mutant: str, files: Path) -> list[str]:
    """The tests that fail on it and should not, or that should."""
    named = MUTANTS[mutant]
    return sorted((caught(mutant, files) - named.perhaps_by) ^ named.caught_by)


@pytest.mark.parametrize("kind", sorted({mutant.kind for mutant in MUTANTS.values()}))
def test_mutants_are_caught(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All of a kind at once, for they mostly wait."""

    def wrong(name: str) -> list[str]:
        return unlike(name, tmp_path_factory.mktemp("kit"))

    names = [name for name, mutant in MUTANTS.items() if mutant.kind == kind]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        doubtful = [
            name for name, tests in zip(names, pool.map(wrong, names), strict=True) if tests
        ]
    # By itself, once more: on a machine that is busy with the others, what only waits may be late.
    assert {name: tests for name in doubtful if (tests := wrong(name))} == {}


def test_every_test_of_the_kit_catches_something() -> None:
    named = {test for mutant in MUTANTS.values() for test in mutant.caught_by}
    assert sorted(KIT - named) == []
    assert sorted(named - KIT) == []
