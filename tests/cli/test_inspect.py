"""Verbs about batchbridge itself, and what every verb has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields

import click
import jsonschema
import pytest
from click.testing import CliRunner

import batchbridge
from batchbridge import registry
from batchbridge.cli import COMMANDS, cli
from batchbridge.cli.capabilities import capability_table
from batchbridge.cli.doctor import GROUP
from batchbridge.cli.schema import job_schema
from batchbridge.driver import Capabilities, setting
from batchbridge.errors import BatchBridgeError
from batchbridge.model import JobSpec
from tests.core.fakes import Fake

HEAVY = {"batchbridge.client", "batchbridge.model", "msgspec", "rich", "stevedore", "yaml"}


def loaded_by(*args: str) -> set[str]:
    script = (
        "import sys; from batchbridge.cli import main\n"
        f"sys.argv = ['batchbridge', *{args!r}]\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    return set(done.stderr.split())


def test_help_loads_nothing_of_weight():
    assert not loaded_by("--help") & HEAVY
    assert not loaded_by("--version") & HEAVY


def test_a_submit_on_this_machine_loads_no_other_engines_client_and_no_rich():
    loaded = loaded_by("submit", "--dry-run", "--", "true")
    assert not loaded & {"rich", "yaml", "nomad", "grpc", "requests", "armada_client", "metaflow"}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_list_of_commands_says_what_their_helps_begin_with(bb, name):
    command = cli.get_command(None, name)
    assert command.name == name
    assert command.help.splitlines()[0] == COMMANDS[name][1]
    assert bb(name, "--help").stdout.startswith(f"Usage: cli {name}")


@dataclass(frozen=True)
class Named:
    address: str = setting("here", help="where it is", address=True)
    cpu: float = setting(2.0, help="called as a field of a job")
    token: str = setting("", help="who we are", secret=True)
    wait_for: tuple[str, ...] = setting(("a", "b"), help="some names")


class Engine(Fake):
    Settings = Named


def test_settings_are_flags_but_for_secrets_and_never_shadow_a_field_of_a_job(bb):
    with registry.registered(Engine):
        for verb in ("submit", "list"):
            helped = bb(verb, "--backend", "fake", "--help").stdout.split("Settings of fake:")[1]
            flags = [word for word in helped.split() if word.startswith("--") and word != "--store"]
            assert flags == ["--address", "--fake-cpu", "--wait-for"]
        assert "[default: a,b]" in " ".join(helped.split())
        ref = bb.submit(
            "--fake-cpu", "3", "--address", "there:1", "--backend", "fake", "--", "true"
        )
        assert ref.startswith("fake://there%3A1/")
        assert (
            "must be" in bb("submit", "--cpu", "0", "--backend", "fake", "--", "x", code=2).stderr
        )


def test_the_engine_is_found_wherever_it_is_named(bb):
    with registry.registered(Engine):
        for args in (["--fake-cpu", "3", "--backend", "fake"], ["--backend=fake", "--fake_cpu=3"]):
            assert bb.submit("-v", *args, "--name", "--backend", "--", "true").startswith("fake:")
        assert "--fake-cpu" in bb("submit", "--fake-cpu", "3", "--", "true", code=2).stderr


def test_every_flag_has_a_help():
    for name in COMMANDS:
        command = cli.get_command(None, name)
        options = [param for param in command.params if isinstance(param, click.Option)]
        assert [option for option in options if not option.help] == []


def test_an_unknown_command_is_answered_with_the_near_one(bb):
    assert "did you mean 'submit'" in bb("sumbit", code=2).stderr


def test_it_runs_as_a_module_and_knows_its_version():
    command = [sys.executable, "-m", "batchbridge", "--version"]
    told = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert told == f"batchbridge, version {batchbridge.__version__}\n"


# -- drivers ---------------------------------------------------------------------------------


def test_drivers_are_listed_with_their_origin_and_state(bb):
    lines = bb("drivers").stdout.splitlines()
    assert lines[0].split() == ["DRIVER", "DISTRIBUTION", "STATE"]
    assert any(line.split()[0] == "local" and line.endswith("ok") for line in lines)
    local = next(d for d in bb.json("drivers") if d["name"] == "local")
    assert local["usable"]
    assert local["capabilities"]["timeout"] is True


def test_a_driver_that_cannot_be_used_is_a_line_with_its_remedy(bb, broken_driver):
    result = bb("drivers")
    assert "unusable" in result.stdout
    assert "note: the driver 'other'" in result.stderr
    assert "  → pip install" in result.stderr
    assert "ok" in result.stdout
    assert "other" not in bb("drivers", "--markdown").stdout
    assert "ok   drivers: other: not used by any profile" in bb("doctor").stdout
    assert "FAIL drivers: other" in bb("doctor", "other", code=125).stdout
    assert "note: not used by any profile: the driver 'other'" in bb("config").stderr
    assert "error: other: the driver 'other'" in bb("config", "other", code=125).stderr


@pytest.fixture
def broken_driver(monkeypatch, tmp_path):
    """A distribution on the path whose driver cannot be imported."""
    info = tmp_path / "site" / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[batchbridge.drivers]\nother = no_such_module:Driver\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_the_table_of_capabilities_has_a_row_for_each_and_a_column_for_each_driver(bb):
    rows = [line.split("|")[1:-1] for line in capability_table([Fake]).splitlines()]
    assert [row[0].strip() for row in rows[2:]] == [f"`{f.name}`" for f in fields(Capabilities)]
    cells = {name.strip(" `"): cell.strip() for name, cell in rows[2:]}
    assert rows[0][1].strip() == "fake"
    assert (cells["no_reruns"], cells["gang"], cells["upload"]) == ("yes", "no", "no")
    shown = bb("drivers", "--markdown").stdout
    assert "| local |" in shown.splitlines()[0]


# -- config and doctor -----------------------------------------------------------------------


def test_config_shows_each_value_with_its_origin_and_masks_secrets(bb, world, monkeypatch):
    (world / "here" / "batchbridge.toml").write_text("[job]\ncpu = 2\n")
    monkeypatch.setenv("BATCHBRIDGE_LOCAL_GRACE", "3s")
    shown = {
        line.split()[0]: line.split()[1:] for line in bb("config", "local").stdout.splitlines()
    }
    assert shown["local:"] == ["local", "(default)"]
    assert shown["grace"] == ["3.0", "$BATCHBRIDGE_LOCAL_GRACE"]
    assert shown["job.cpu"][1].endswith("batchbridge.toml:2")
    values = {line["name"]: line for line in bb.json("config", "local")}
    assert values["keep_for"]["origin"] == "default"
    assert bb("config", "nope", code=2).stdout == ""


def test_config_masks_secrets(bb, monkeypatch):
    monkeypatch.setenv("BATCHBRIDGE_FAKE_TOKEN", "canary-19c2")
    with registry.registered(Engine):
        (token,) = [line for line in bb.json("config", "fake") if line["name"] == "token"]
        assert (token["value"], token["origin"]) == ("***", "$BATCHBRIDGE_FAKE_TOKEN")
        for verb in (("config", "fake"), ("doctor", "fake"), ("submit", "--backend", "fake", "x")):
            assert "canary" not in bb(*verb).output


def test_a_wrong_setting_is_named_with_file_line_and_suggestion(bb, world):
    (world / "here" / "batchbridge.toml").write_text("[job]\ncpuu = 2\n")
    told = bb("submit", "--", "true", code=2).stderr
    assert "batchbridge.toml:2" in told
    assert "did you mean 'cpu'" in told
    assert bb("submit", "--help").exit_code == 0


def test_doctor_is_well_where_all_is_well_and_125_where_something_is_wrong(bb, world, monkeypatch):
    lines = bb("doctor").stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert any("journal" in line for line in lines)
    (world / "file").write_text("")
    monkeypatch.setenv("BATCHBRIDGE_LOCAL_ROOT", str(world / "file"))
    result = bb("doctor", code=125)
    assert "FAIL local" in result.stdout
    assert any(not line["ok"] for line in bb.json("doctor", code=125))


def test_a_driver_that_raises_what_it_may_not_fails_its_own_check_alone(bb, monkeypatch):
    def probe(self):
        raise OSError("no such socket")

    monkeypatch.setattr(Fake, "probe", probe)
    with registry.registered(Fake):
        told = bb("doctor", "fake", "local", code=125).stdout
    assert "FAIL fake: engine: the driver 'fake' raised OSError: no such socket" in told
    assert "ok   local: " in told


def test_a_journal_that_cannot_be_used_fails_the_doctor_and_no_submit(bb, world):
    (world / "state").mkdir()
    (world / "state" / "journal.sqlite3").write_bytes(b"no database, by any means" * 100)
    assert "FAIL journal" in bb("doctor", code=125).stdout
    result = bb("submit", "--", "true")
    assert result.stderr.startswith("note: the journal ")
    assert result.stdout.startswith("local://")


def test_extensions_have_their_own_checks(bb, monkeypatch, tmp_path):
    info = tmp_path / "site" / "ext-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ext\nVersion: 1.0\n")
    points = "good = ext_checks:left\nbad = ext_checks:nothing\n"
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    (tmp_path / "site" / "ext_checks.py").write_text(
        "from batchbridge.model import Check\n"
        "def left(): return [Check('orphans', False, 'one job', 'cancel it')]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    told = bb("doctor", code=125).stdout
    assert "FAIL good: orphans: one job\n       → cancel it" in told
    assert "FAIL bad: ext_checks:nothing: AttributeError" in told


# -- schema and completion -------------------------------------------------------------------

GOOD = [
    {"command": "echo a | wc"},
    {"command": ["echo"], "cpu": 0.5, "memory": "4G", "timeout": "90s", "env": {"A": "b"}},
    {"command": ["echo"], "cpu": "2", "memory": 4096, "queue_timeout": 5, "gpu": 0, "reruns": True},
    {"command": ["echo"], "memory": "1.5 GiB", "disk": "10MB", "timeout": "2h", "job_set": None},
    {"command": ["echo"], "options": {"any": {"thing": 1}}, "upload": ["a"], "labels": {"a": "b"}},
]
BAD = [
    {},
    {"command": 3},
    {"command": "x", "memory": "lots"},
    {"command": "x", "timeout": "soon"},
    {"command": "x", "cpu": -1},
    {"command": "x", "nmae": "n"},
    {"command": "x", "env": {"A": 1}},
    {"command": "x", "gpu": "many"},
    {"command": "x", "gpu": -1},
]


def test_the_schema_accepts_what_is_read_and_refuses_what_is_not(bb):
    schema = json.loads(bb("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for form in GOOD:
        JobSpec.parse(form)
        validator.validate(form)
    for form in BAD:
        with pytest.raises(BatchBridgeError):
            JobSpec.parse(form)
        assert not validator.is_valid(form), form


def test_the_schema_describes_every_field():
    described = job_schema()["properties"]
    assert [f.name for f in fields(JobSpec)] == list(described)
    assert all(part["description"] for part in described.values())
    assert not [name for name, part in described.items() if "below" in part["description"]]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(bb, shell):
    script = bb("completion", shell).stdout
    assert "_BATCHBRIDGE_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def complete(*words: str) -> list[str]:
    env = {
        "_BATCHBRIDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["batchbridge", *words]),
        "COMP_CWORD": str(len(words)),
    }
    told = CliRunner().invoke(cli, [], env=env, prog_name="batchbridge").stdout
    return [line.partition(",")[2] for line in told.splitlines()]


def test_commands_flags_engines_and_jobs_are_completed(bb):
    ref = bb.ended("--name", "training", "--", "true")
    assert complete("sub") == ["submit"]
    assert "--queue-timeout" in complete("submit", "--q")
    assert complete("submit", "--backend", "lo") == ["local"]
    assert complete("logs", "trai") == ["training"]
    assert ref in complete("logs", "local:")
