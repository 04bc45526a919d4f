"""The kit's report: what passed, was skipped, is absent; and which skips are not allowed."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

DRIVER = """
import pytest
from batchbridge.driver import Capabilities
from batchbridge.testing import DriverConformance, ScriptedDriver
from batchbridge.testing.needs import needs

class Quiet(ScriptedDriver):
    name = "quiet"
    capabilities = Capabilities()

class TestQuiet(DriverConformance):
    {body}

    @pytest.fixture
    def driver(self):
        return Quiet()
"""

CHOSEN = ("test_class", "test_labels", "test_unreachable_cancel", "test_success")


def _run(pytester: pytest.Pytester, body: str, *chosen: str) -> pytest.RunResult:
    pytester.makepyfile(test_quiet=DRIVER.format(body=body))
    tests = [f"test_quiet.py::TestQuiet::{name}" for name in chosen]
    return pytester.runpytest("-p", "no:cacheprovider", "--batchbridge-report=report.md", *tests)


def test_the_summary_tells_passed_skipped_and_absent(pytester: pytest.Pytester) -> None:
    result = _run(pytester, "", *CHOSEN[:3])
    why = "the fixture `unreachable` is not overridden"
    expected = ["  1 passed", "  1 absent: test_labels", f"  1 skipped ({why}): {CHOSEN[2]}"]
    result.stdout.fnmatch_lines(["quiet: complete", *expected])
    result.assert_outcomes(passed=1, skipped=2)


def test_the_report_is_a_table(pytester: pytest.Pytester) -> None:
    _run(pytester, "", *CHOSEN[:3])
    report = (pytester.path / "report.md").read_text()
    assert "## quiet: complete" in report
    assert "| test_labels | absent list and labels not declared | Labels are kept" in report
    assert "| test_class | passed | A name, this contract's version" in report


def test_a_floor_that_does_not_hold_is_partial(pytester: pytest.Pytester) -> None:
    body = "def test_success(self):\n        pytest.skip('there is no end')"
    result = _run(pytester, body, "test_success", "test_class")
    result.stdout.fnmatch_lines(["quiet: partial"])


def test_a_skip_that_is_not_allowed_fails(pytester: pytest.Pytester) -> None:
    body = "allowed_skips = frozenset({'test_labels'})"
    result = _run(pytester, body, *CHOSEN[:3])
    result.assert_outcomes(passed=1, skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*which is not allowed here*unreachable*", "quiet: failing"])


def test_without_the_kit_there_is_no_report(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest("-p", "no:cacheprovider", "--batchbridge-report=report.md")
    result.stdout.no_fnmatch_line("*conformance*")
    assert not (pytester.path / "report.md").exists()


def test_the_plugin_imports_no_core(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            assert not {"msgspec", "batchbridge.model"} & sys.modules.keys()
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_probe_that_finds_nothing_wrong_is_shown(pytester: pytest.Pytester) -> None:
    body = "unreachable = pytest.fixture(lambda self: Quiet())"
    result = _run(pytester, body, "test_unreachable_probe")
    result.stdout.fnmatch_lines(["*nothing is wrong, it says: []*"])
