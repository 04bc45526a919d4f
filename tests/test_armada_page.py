"""What docs/armada.md says is so: its tables are what the code says, and its commands are run.

They run on an Armada in this process, and where localdev/armada has started one that runs commands,
on that too. In what a command is said to print, ``…`` stands for anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from batchbridge.fields import describe
from batchbridge.model import JobSpec, Submission
from batchbridge_armada import ArmadaDriver
from batchbridge_armada import settings as armada_settings
from batchbridge_armada.settings import ArmadaOptions, ArmadaSettings
from localdev.armada_ready import PROFILE, STATE_VARIABLE, profile
from localdev.armada_state import Stack, load
from metaflow_extensions.batchbridge.plugins.engines import ARMADA
from tests.drivers.armada.server import Armada
from tests.test_nomad_page import FENCED, Reader, default_of, is_printed, shown, table, type_of

PAGE = Path(__file__).parents[1] / "docs" / "armada.md"
NESTED = ("Toleration", "Volume", "SecretKey", "Service", "Ingress")
QUEUE = "batchbridge"
SITE = ArmadaDriver.Settings(queue=QUEUE)


def blocks(kind: str) -> list[str]:
    """The fenced blocks of that kind."""
    return [text for its, text in FENCED.findall(PAGE.read_text()) if its == kind]


# -- the tables ------------------------------------------------------------------------------


def settings_table() -> str:
    rows = [[f"`{f.name}`", type_of(f), default_of(f), f.help] for f in describe(ArmadaSettings)]
    return table(["setting", "is", "default", ""], rows)


def options_table() -> str:
    rows = [[f"`{f.name}`", type_of(f), default_of(f), f.help] for f in describe(ArmadaOptions)]
    return table(["option", "is", "default", ""], rows)


def nested_table() -> str:
    rows = []
    for name in NESTED:
        cls = getattr(armada_settings, name)
        fields = ", ".join(
            f"`{f.name}`" + (f" ({given})" if (given := default_of(f)) else "")
            for f in describe(cls)
        )
        rows.append([name, fields, cls.__doc__.splitlines()[0]])
    return table(["each", "has, with its default", ""], rows)


def decorator_table() -> str:
    rows = [
        [
            f"`{a.name}`" if a.name else "",
            a.kind,
            f"`METAFLOW_ARMADA_{a.config}`" if a.config else "",
            a.help.replace("``", "`"),
        ]
        for a in ARMADA.attributes
    ]
    return table(["attribute", "is", "variable", ""], rows)


TABLES = {
    "settings": settings_table,
    "options": options_table,
    "nested": nested_table,
    "decorator": decorator_table,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_what_the_code_says(name: str) -> None:
    """Paste what the function returns where this fails."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n\n", PAGE.read_text(), re.S)
    assert found is not None
    assert found[1] == TABLES[name]()


# -- the commands ----------------------------------------------------------------------------


@contextmanager
def small() -> Iterator[Stack]:
    """An Armada in this process that runs commands, as ``localdev/armada up`` would tell of it."""
    armada = Armada()
    armada.cluster.queues.add(QUEUE)
    try:
        yield Stack("processes", "0", armada.address, armada.address, QUEUE)
    finally:
        armada.close()


@contextmanager
def real() -> Iterator[Stack]:
    """The one that the environment names."""
    stack = load(Path(os.environ.get(STATE_VARIABLE, "/nowhere")))
    if stack is None or stack.kind != "processes":
        pytest.skip(f"{STATE_VARIABLE} names no Armada of localdev/armada that runs commands")
    yield stack


@pytest.fixture(
    scope="module",
    params=[small, pytest.param(real, marks=[pytest.mark.live, pytest.mark.timeout(600)])],
    ids=["small", "real"],
)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    with request.param() as found:
        yield found


@pytest.fixture
def reader(stack: Stack, tmp_path: Path) -> Reader:
    """Somebody for whom ``localdev/armada up processes`` has been done."""
    (tmp_path / "localdev.toml").write_text(profile(stack))
    (pod,) = [text for text in blocks("yaml") if text.startswith("# pod.yaml")]
    (tmp_path / "pod.yaml").write_text(pod)
    return Reader(tmp_path)


@pytest.mark.parametrize("console", blocks("console"), ids=lambda text: text.splitlines()[0])
def test_commands_print_what_is_said(console: str, reader: Reader) -> None:
    said = shown(console)
    for command, printed in zip(said, reader.does(list(said)), strict=True):
        assert is_printed(said[command], printed), f"$ {command}\n{printed}"


def flow(stack: Stack, reader: Reader, program: Path) -> str:
    """What a run of that program prints."""
    host, _, port = stack.address.rpartition(":")
    logs_host, _, logs_port = stack.binoculars.rpartition(":")
    own = {
        "METAFLOW_ARMADA_HOST": host,
        "METAFLOW_ARMADA_PORT": port,
        "METAFLOW_ARMADA_LOGGING_HOST": logs_host,
        "METAFLOW_ARMADA_LOGGING_PORT": logs_port,
        "METAFLOW_ARMADA_QUEUE": stack.queue,
        "METAFLOW_ARMADA_EXECUTABLE": sys.executable,
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(reader.home),
    }
    done = subprocess.run(
        [sys.executable, str(program), "run"],
        cwd=reader.home,
        env={**reader.env, **own},
        capture_output=True,
        text=True,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return printed


@pytest.mark.timeout(600)  # eight jobs, of several processes each
def test_the_flow_runs(stack: Stack, reader: Reader) -> None:
    (text,) = blocks("python")
    (reader.home / "flow.py").write_text(text)
    printed = flow(stack, reader, reader.home / "flow.py")
    for line in ("submitted", "running", "succeeded", "['NORTH', 'SOUTH']"):
        assert line in printed, printed


@pytest.mark.timeout(600)
def test_the_example_runs(stack: Stack, reader: Reader) -> None:
    printed = flow(stack, reader, PAGE.parents[1] / "examples" / "armada_flow.py")
    assert "primes: 9592 (seq, factor, awk, wc say 9592)" in printed, printed


# -- the data --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda text: text.splitlines()[0])
def test_jobs_in_files_can_be_asked_of_armada(text: str) -> None:
    found = yaml.safe_load(text)
    pod = {"command": "true", "image": "busybox", "options": {"pod": found}}
    forms = found if isinstance(found, list) else [pod]
    for form in forms:
        spec = JobSpec.parse(form)
        ArmadaDriver(SITE).render(Submission("key", spec, "set", "user"))


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: text.splitlines()[0])
def test_profiles_are_read(text: str, reader: Reader) -> None:
    (reader.home / "localdev.toml").write_text(text)
    (printed,) = reader.does([f"batchbridge config {text[9 : text.index(']')]}"])
    assert "example.com" in printed, printed


def test_the_profile_is_the_one_that_localdev_writes() -> None:
    assert f"--profile {PROFILE} " in PAGE.read_text()


def test_every_cause_is_on_the_page() -> None:
    ends = PAGE.read_text().partition("## What an end means")[2].partition("\n## ")[0]
    for cause in ("OOM", "EVICTED", "TIMEOUT", "PREEMPTED", "REJECTED", "IMAGE", "START_ERROR"):
        assert cause in ends
