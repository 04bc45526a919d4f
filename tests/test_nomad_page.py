"""What docs/nomad.md says is so: its tables are what the code says, and its commands are run.

They run on a Nomad in this process, and where there is a real one on that too. In what a command
is said to print, ``…`` stands for anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchbridge.model import JobSpec, Submission
from batchbridge_nomad import NomadDriver
from batchbridge_nomad.settings import (
    Affinity,
    Constraint,
    NomadOptions,
    NomadSettings,
    Port,
    Spread,
    Volume,
)
from metaflow_extensions.batchbridge.plugins.engines import NOMAD
from metaflow_extensions.batchbridge.plugins.tables import Told
from tests.drivers.nomad.agent import Agent, node
from tests.drivers.nomad.agent.answers import Answer, found
from tests.metaflow.engines import nomad_of_localdev
from tests.pages import (
    Page,
    Reader,
    decorator_table,
    first_line,
    nested_table,
    options_table,
    settings_table,
    table,
)

PAGE = Page(Path(__file__).parents[1] / "docs" / "nomad.md")
PROFILE = "localdev-nomad"
SITE = NomadDriver.Settings()


# -- the tables ------------------------------------------------------------------------------


def asked_of_nomad(told: Told) -> str:
    """What a job of these fields and options asks for, in Nomad's words."""
    options = {k.removeprefix("options."): v for k, v in told.items() if "." in k}
    fields = {k: v for k, v in told.items() if "." not in k}
    spec = JobSpec.parse({"command": ["true"], "options": options, **fields})
    payload = NomadDriver(SITE).render(Submission("key", spec, "set", "user"))
    found = payload["Job"]["TaskGroups"][0]["Tasks"][0]["Resources"]
    return f"{found['CPU']} MHz" if "CPU" in found else f"{found['Cores']} cores"


def cpu_table() -> str:
    said: dict[str, Told] = {
        "`@nomad(cpu=2)`, `METAFLOW_NOMAD_CPU=2`": NOMAD.asked({"cpu": 2}),
        "`@nomad(cpu=4000)`: 100 and more is MHz": NOMAD.configured({"NOMAD_CPU": "4000"}),
        "`@resources(cpu=2)`, `--cpu 2`, `cpu: 2`": {"cpu": 2},
        "`@resources(cpu=150)`, `--cpu 150`: always cores": {"cpu": 150},
        "`@nomad(cores=2)`, `-o cores=2`": NOMAD.asked({"cores": 2}),
        "`-o cpu_mhz=500`": {"options.cpu_mhz": 500},
    }
    return table(
        ["you say", "Nomad is asked for"], [[k, asked_of_nomad(v)] for k, v in said.items()]
    )


TABLES = {
    "settings": settings_table(NomadSettings, variables=True),
    "options": options_table(NomadOptions),
    "nested": nested_table((Constraint, Affinity, Spread, Volume, Port)),
    "decorator": decorator_table(NOMAD),
    "cpu": cpu_table(),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_what_the_code_says(name: str) -> None:
    """Paste what the code says where this fails."""
    assert PAGE.table(name) == TABLES[name]


# -- the commands ----------------------------------------------------------------------------

TEMPLATE: dict[str, Any] = {
    "ID": "site",
    "Name": "site",
    "Type": "batch",
    "Datacenters": ["dc1"],
    "Constraints": [{"LTarget": "${attr.kernel.name}", "RTarget": "linux", "Operand": "="}],
    "TaskGroups": [
        {
            "Name": "site",
            "Tasks": [
                {
                    "Name": "site",
                    "Driver": "raw_exec",
                    "Env": {"SITE": "berlin"},
                    "Resources": {"MemoryMB": 128},
                }
            ],
        }
    ],
}
"""What a real Nomad makes of the page's template, but for what it says nothing of."""


class Small(Agent):
    """It has no parser: of templates it knows the page's."""

    def parsed(self, hcl: str) -> Answer:
        assert [hcl] == PAGE.blocks("hcl")
        return found(TEMPLATE)


@contextmanager
def small() -> Iterator[str]:
    """A Nomad in this process, whose one node has 8 GB of memory."""
    with Small([node("vm", memory=8000)]) as agent:
        yield agent.address


@pytest.fixture(
    scope="module",
    params=[small, pytest.param(nomad_of_localdev, marks=pytest.mark.live)],
    ids=["small", "real"],
)
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as found:
        yield found


@pytest.fixture
def reader(address: str, tmp_path: Path) -> Reader:
    """Somebody for whom ``localdev/nomad up`` has been done."""
    profile = f"[profile.{PROFILE}]\nbackend = 'nomad'\naddress = '{address}'\n"
    options = f"[profile.{PROFILE}.options]\ndriver = 'raw_exec'\n"
    (tmp_path / "localdev.toml").write_text(profile + options)
    (tmp_path / "job.hcl").write_text(*PAGE.blocks("hcl"))
    return Reader(tmp_path)


@pytest.mark.parametrize("console", PAGE.blocks("console"), ids=first_line)
def test_commands_print_what_is_said(console: str, reader: Reader) -> None:
    reader.check(console)


def test_the_flow_runs(address: str, reader: Reader, tmp_path: Path) -> None:
    """A step that is asked for less than @resources says gets less."""
    (flow,) = PAGE.blocks("python")
    (tmp_path / "flow.py").write_text(flow)
    (printed,) = reader.does([f"METAFLOW_NOMAD_ADDRESS={address} python flow.py run"])
    assert "['NORTH', 'SOUTH']" in printed, printed
    assert printed.count("cpu 200 MHz, memory 200 MB") == 2


# -- the data --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", PAGE.blocks("yaml"), ids=first_line)
def test_jobs_in_files_can_be_asked_of_nomad(text: str) -> None:
    for form in yaml.safe_load(text):
        spec = JobSpec.parse(form)
        NomadDriver(SITE).render(Submission("key", spec, "set", "user"))


@pytest.mark.parametrize("text", PAGE.blocks("toml"), ids=first_line)
def test_profiles_are_read(text: str, reader: Reader) -> None:
    reader.check_profile(text, "nomad.example.com")
