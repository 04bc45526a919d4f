"""What docs/nomad.md says is so: its tables are what the code says, and its commands are run.

They run on a Nomad in this process, and where there is a real one on that too. In what a command
is said to print, ``…`` stands for anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchbridge.fields import FieldHelp, describe
from batchbridge.model import JobSpec, Submission
from batchbridge_nomad import NomadDriver
from batchbridge_nomad import settings as nomad_settings
from batchbridge_nomad.settings import NomadOptions, NomadSettings
from metaflow_extensions.batchbridge.plugins.engines import NOMAD
from metaflow_extensions.batchbridge.plugins.tables import Attribute, Told
from tests.drivers.nomad.agent import Agent, node
from tests.drivers.nomad.agent.answers import Answer, found
from tests.metaflow.engines import nomad_of_localdev

PAGE = Path(__file__).parents[1] / "docs" / "nomad.md"
PROFILE = "localdev-nomad"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(kind: str) -> list[str]:
    """The fenced blocks of that kind."""
    return [text for its, text in FENCED.findall(PAGE.read_text()) if its == kind]


# -- the tables ------------------------------------------------------------------------------

Rows = Sequence[Sequence[str]]
NESTED = ("Constraint", "Affinity", "Spread", "Volume", "Port")
SITE = NomadDriver.Settings()


def table(head: Sequence[str], rows: Rows) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def type_of(field: FieldHelp) -> str:
    return field.type.replace("|", "or")


def default_of(field: FieldHelp) -> str:
    if field.required:
        return "required"
    return "" if field.default in (None, "", (), {}) else f"`{field.default}`".lower()


def settings_table() -> str:
    rows = [
        [f"`{f.name}`", type_of(f), default_of(f), f"`{f.env}`" if f.env else "", f.help]
        for f in describe(NomadSettings)
    ]
    return table(["setting", "is", "default", "variable", ""], rows)


def options_table() -> str:
    rows = [[f"`{f.name}`", type_of(f), default_of(f), f.help] for f in describe(NomadOptions)]
    return table(["option", "is", "default", ""], rows)


def nested_table() -> str:
    rows = []
    for name in NESTED:
        cls = getattr(nomad_settings, name)
        fields = ", ".join(
            f"`{f.name}`" + (f" ({given})" if (given := default_of(f)) else "")
            for f in describe(cls)
        )
        rows.append([name, fields, cls.__doc__.splitlines()[0]])
    return table(["each", "has, with its default", ""], rows)


def decorator_table() -> str:
    def row(attribute: Attribute) -> list[str]:
        name = f"`{attribute.name}`" if attribute.name else ""
        variable = f"`METAFLOW_NOMAD_{attribute.config}`" if attribute.config else ""
        return [name, attribute.kind, variable, attribute.help.replace("``", "`")]

    return table(["attribute", "is", "variable", ""], [row(a) for a in NOMAD.attributes])


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
    "settings": settings_table,
    "options": options_table,
    "nested": nested_table,
    "decorator": decorator_table,
    "cpu": cpu_table,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_what_the_code_says(name: str) -> None:
    """Paste what the function returns where this fails."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n\n", PAGE.read_text(), re.S)
    assert found is not None
    assert found[1] == TABLES[name]()


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

END = "-- end of output --\n"


@dataclass(frozen=True)
class Reader:
    """Who follows the page, in a directory of their own."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "USER": "reader",
            "BATCHBRIDGE_CONFIG": str(self.home / "localdev.toml"),
            "METAFLOW_NOMAD_DRIVER": "raw_exec",
        }

    def does(self, commands: Sequence[str]) -> list[str]:
        """What each prints, errors too; ``$?`` is the exit code of the one before."""
        keep = f"code=$?; printf %s '{END}'"
        script = "\n".join(f"(exit $code); {command}\n{keep}" for command in commands)
        done = subprocess.run(
            ["bash", "-c", f"code=0\n{script}"],
            cwd=self.home,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout.split(END)[:-1]


class Small(Agent):
    """It has no parser: of templates it knows the page's."""

    def parsed(self, hcl: str) -> Answer:
        assert [hcl] == blocks("hcl")
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
    (tmp_path / "job.hcl").write_text(*blocks("hcl"))
    return Reader(tmp_path)


def shown(console: str) -> dict[str, str]:
    """Command -> what it is said to print."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", console, flags=re.M)[1:]]
    return {command: said for command, _, said in parts if not command.startswith("eval ")}


def is_printed(said: str, printed: str) -> bool:
    """Whether each line that is said is there, and, unless one is ``…``, no other.

    Their order is not looked at: standard output and error arrive as they like.
    """
    lines = said.splitlines()
    found = all(re.search(f"^{pattern(line)}$", printed, re.M) for line in lines)
    return found and ("…" in lines or len(lines) == len(printed.splitlines()))


def pattern(line: str) -> str:
    """What a line means: ``…`` is anything, a time any time."""
    return re.sub(r"\d\d:\d\d:\d\d", r"[\\d:]{8}", re.escape(line).replace("…", ".*"))


@pytest.mark.parametrize("console", blocks("console"), ids=lambda text: text.splitlines()[0])
def test_commands_print_what_is_said(console: str, reader: Reader) -> None:
    said = shown(console)
    for command, printed in zip(said, reader.does(list(said)), strict=True):
        assert is_printed(said[command], printed), f"$ {command}\n{printed}"


def test_the_flow_runs(address: str, reader: Reader, tmp_path: Path) -> None:
    """A step that is asked for less than @resources says gets less."""
    (flow,) = blocks("python")
    (tmp_path / "flow.py").write_text(flow)
    (printed,) = reader.does([f"METAFLOW_NOMAD_ADDRESS={address} python flow.py run"])
    assert "['NORTH', 'SOUTH']" in printed, printed
    assert printed.count("cpu 200 MHz, memory 200 MB") == 2


# -- the data --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda text: text.splitlines()[0])
def test_jobs_in_files_can_be_asked_of_nomad(text: str) -> None:
    for form in yaml.safe_load(text):
        spec = JobSpec.parse(form)
        NomadDriver(SITE).render(Submission("key", spec, "set", "user"))


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: text.splitlines()[0])
def test_profiles_are_read(text: str, reader: Reader) -> None:
    (reader.home / "localdev.toml").write_text(text)
    (printed,) = reader.does([f"batchbridge config {text[9 : text.index(']')]}"])
    assert "nomad.example.com" in printed, printed
