"""What docs/armada.md says is so: its tables are what the code says, and its commands are run.

They run on an Armada in this process, and where localdev/armada has started one that runs commands,
on that too. In what a command is said to print, ``…`` stands for anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from batchbridge.model import JobSpec, Submission
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.settings import (
    ArmadaOptions,
    ArmadaSettings,
    Ingress,
    SecretKey,
    Service,
    Toleration,
    Volume,
)
from localdev.armada_ready import PROFILE, STATE_VARIABLE, profile
from localdev.armada_state import Stack, load
from metaflow_extensions.batchbridge.plugins.engines import ARMADA
from tests.drivers.armada.server import Armada
from tests.metaflow.engines import containers_env
from tests.pages import (
    Page,
    Reader,
    decorator_table,
    first_line,
    nested_table,
    options_table,
    settings_table,
)

REPO = Path(__file__).parents[1]
PAGE = Page(REPO / "docs" / "armada.md")
QUEUE = "batchbridge"
SITE = ArmadaDriver.Settings(queue=QUEUE)


# -- the tables ------------------------------------------------------------------------------

TABLES = {
    "settings": settings_table(ArmadaSettings),
    "options": options_table(ArmadaOptions),
    "nested": nested_table((Toleration, Volume, SecretKey, Service, Ingress)),
    "decorator": decorator_table(ARMADA),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_what_the_code_says(name: str) -> None:
    """Paste what the code says where this fails."""
    assert PAGE.table(name) == TABLES[name]


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
    if stack is None or stack.kind == "fake-executor":
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
    (pod,) = [text for text in PAGE.blocks("yaml") if text.startswith("# pod.yaml")]
    (tmp_path / "pod.yaml").write_text(pod)
    return Reader(tmp_path)


@pytest.mark.parametrize("console", PAGE.blocks("console"), ids=first_line)
def test_commands_print_what_is_said(console: str, reader: Reader) -> None:
    reader.check(console)


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
        **(containers_env() if stack.kind == "no-auth" else {}),
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
    (text,) = PAGE.blocks("python")
    (reader.home / "flow.py").write_text(text)
    printed = flow(stack, reader, reader.home / "flow.py")
    for line in ("submitted", "running", "succeeded", "['NORTH', 'SOUTH']"):
        assert line in printed, printed


@pytest.mark.timeout(600)
def test_the_example_runs(stack: Stack, reader: Reader) -> None:
    printed = flow(stack, reader, REPO / "examples" / "armada_flow.py")
    assert "primes: 9592 (seq, factor, awk, wc say 9592)" in printed, printed


# -- the data --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", PAGE.blocks("yaml"), ids=first_line)
def test_jobs_in_files_can_be_asked_of_armada(text: str) -> None:
    found = yaml.safe_load(text)
    pod = {"command": "true", "image": "busybox", "options": {"pod": found}}
    forms = found if isinstance(found, list) else [pod]
    for form in forms:
        spec = JobSpec.parse(form)
        ArmadaDriver(SITE).render(Submission("key", spec, "set", "user"))


@pytest.mark.parametrize("text", PAGE.blocks("toml"), ids=first_line)
def test_profiles_are_read(text: str, reader: Reader) -> None:
    reader.check_profile(text, "example.com")


def test_the_profile_is_the_one_that_localdev_writes() -> None:
    assert f"--profile {PROFILE} " in PAGE.text


def test_every_cause_is_on_the_page() -> None:
    ends = PAGE.text.partition("## What an end means")[2].partition("\n## ")[0]
    for cause in ("OOM", "EVICTED", "TIMEOUT", "PREEMPTED", "REJECTED", "IMAGE", "START_ERROR"):
        assert cause in ends
