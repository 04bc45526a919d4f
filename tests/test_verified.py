"""docs/verified.md says what a report says, engine by engine."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests import verified
from tests.verified import counts, outcomes, replaced, section

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest">
  <testcase classname="tests.drivers.x.test_kit.TestKit" name="test_a" time="1.5"/>
  <testcase classname="tests.drivers.x.test_kit.TestKit" name="test_b" time="0.6">
    <skipped type="pytest.skip" message="gang not declared">x.py:1: gang not declared</skipped>
  </testcase>
  <testcase classname="tests.drivers.x.test_more" name="test_c" time="2"/>
  <testcase classname="tests.drivers.x.test_more" name="test_c" time="2"><error/></testcase>
  <testcase classname="tests.drivers.x.test_more" name="test_d"><failure message="no"/></testcase>
</testsuite></testsuites>
"""


def test_the_section_counts_by_group_and_names_what_was_skipped():
    text = section("X", "X 1.0", outcomes(REPORT), ours="abc1234", day="2026-11-21")
    assert "X 1.0, batchbridge abc1234, 2026-11-21, " in text
    assert ": 1 passed, 1 skipped, 2 failed.\n" in text
    assert "| drivers.x.test_kit.TestKit | 1 | 1 | 0 | 2 |\n" in text
    assert "| drivers.x.test_more | 0 | 0 | 2 | 2 |\n" in text
    assert text.endswith("Skipped:\n\n- gang not declared: 1\n")


def test_a_section_is_replaced_and_the_others_stay():
    page = replaced("", "Nomad", "## Nomad\n\nold: 1 passed\n")
    page = replaced(page, "Armada", "## Armada\n\ntheirs\n\n| a |\n")
    page = replaced(page, "Nomad", "## Nomad\n\nnew: 2 passed\n")
    assert page == f"{verified.TITLE}\n## Armada\n\ntheirs\n\n| a |\n\n## Nomad\n\nnew: 2 passed\n"
    assert replaced(page, "Nomad", "## Nomad\n\nnew: 2 passed\n") == page


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(verified, "PAGE", tmp_path / "verified.md")
    monkeypatch.setattr(verified, "commit", lambda: "abc1234")
    return tmp_path / "verified.md"


def test_a_failure_is_written_down_and_fails(page, tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    assert verified.main("X", "X 1.0", str(tmp_path / "report.xml")) == 1
    assert "2 failed" in page.read_text()


def test_a_report_of_nothing_changes_nothing(page, tmp_path):
    (tmp_path / "report.xml").write_text("<testsuites/>")
    page.write_text("as it was")
    assert verified.main("X", "X 1.0", str(tmp_path / "report.xml")) == 1
    assert page.read_text() == "as it was"


def test_what_passed_is_a_success(page, tmp_path):
    passed = REPORT.partition('  <testcase classname="tests.drivers.x.test_more"')[0]
    (tmp_path / "report.xml").write_text(passed + "</testsuite></testsuites>")
    assert verified.main("X", "X 1.0", str(tmp_path / "report.xml")) == 0
    assert counts(outcomes(passed + "</testsuite></testsuites>")) == (
        "1 passed, 1 skipped, 0 failed"
    )


def test_what_ran_is_named_by_its_commit(monkeypatch, tmp_path):
    def git(*words):
        who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(verified, "PAGE", tmp_path / "verified.md")
    other = tmp_path / "other.py"
    for file in (verified.PAGE, other):
        file.write_text("as it was")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    verified.PAGE.write_text("as it is")
    assert re.fullmatch("[0-9a-f]{7,}", clean := verified.commit())
    other.write_text("as it is")
    assert verified.commit() == f"{clean}-dirty"
