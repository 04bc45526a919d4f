"""The pytest plugin of the conformance kit; it costs nothing where the kit is not used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from batchbridge.testing.report import Note

pytest.register_assert_rewrite(
    *(
        f"batchbridge.testing.{name}"
        for name in ("floor", "contract", "capabilities", "pushing", "clients", "rig")
    )
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option: where the table of the kit's results is written."""
    parser.getgroup("batchbridge").addoption(
        "--batchbridge-report",
        type=Path,
        metavar="PATH",
        help="write what the conformance kit found, as Markdown",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect what the kit's tests find."""
    config.pluginmanager.register(_Collector(), "batchbridge-collector")


class _Collector:
    """The notes of all tests of the kit, in the process that reports, wherever the tests ran."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note which driver a test of the kit was about; a skip that is not allowed fails."""
        report = yield
        if hasattr(getattr(item, "cls", None), "allowed_skips"):
            from batchbridge.testing.report import annotate

            annotate(report, item)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the note of one phase of one test."""
        if note := getattr(report, "batchbridge", None):
            self.notes.append(note)

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """For each driver: what passed, failed, was skipped or is absent."""
        if not self.notes:
            return
        from batchbridge.testing.report import markdown, summary

        terminalreporter.section("batchbridge conformance")
        for line in summary(self.notes):
            terminalreporter.line(line)
        path = config.getoption("--batchbridge-report")
        if path:
            path.write_text(markdown(self.notes), encoding="utf-8")
