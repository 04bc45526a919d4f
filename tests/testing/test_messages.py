"""What the kit says of a driver's slips: which verb, and what it should have been."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SLIP = """
import pytest
from dataclasses import replace
from batchbridge.driver import Capabilities
from batchbridge.model import JobState, Seen
from batchbridge.testing import DriverConformance, ScriptedDriver

class Slipping(ScriptedDriver):
    name = "slipping"
    {slip}

class TestSlipping(DriverConformance):
    @pytest.fixture
    def driver(self):
        return Slipping(script=succeed)

    @pytest.fixture
    def patience(self):
        return 0.5

def succeed(submission):
    return [Seen(submission.key, JobState.SUCCEEDED, 1, final=True)]
"""

SLIPS = {
    "capabilities = Capabilities(purge=True)": "*purge is declared, and purge is not there*",
    "contract = 0": "*built for another version of the contract*",
    "def submit(self, jobs): return [job.key for job in jobs]": "*submit yielded what is no Rec*",
    "def snapshot(self, *which): return []": "*snapshot returned no Batch: []*",
    "def read_logs(self, *where, **how): return b''": "*read_logs returned no LogPage: b''*",
    "def read_logs(self, *where, **how):\n"
    "        return replace(super().read_logs(*where, **how), data='')": "*no bytes: ''*",
    "def read_logs(self, *where, **how):\n"
    "        return replace(super().read_logs(*where, **how), eof=False)": (
        "*no eof of stdout after 0.5 s; the attempt ended*"
    ),
}
ABOUT = ("test_class", "test_declared_verbs_exist", "test_success", "test_no_output")


@pytest.mark.parametrize("slip", SLIPS, ids=SLIPS.values())
def test_a_slip_is_named(slip: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_slipping=SLIP.format(slip=slip))
    tests = [f"test_slipping.py::TestSlipping::{name}" for name in ABOUT]
    pytester.runpytest("-p", "no:cacheprovider", *tests).stdout.fnmatch_lines([SLIPS[slip]])
