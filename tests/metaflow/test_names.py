"""The four names: what they import, what they refuse, and whom they leave alone."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import batchbridge
from metaflow_extensions.batchbridge.plugins.decorators import (
    ArmadaDecorator,
    BatchBridgeDecorator,
    BridgeDecorator,
    LocalBatchDecorator,
    NomadDecorator,
)
from metaflow_extensions.batchbridge.toplevel import toplevel

from .conftest import FLOWS, Place, a_driver
from .engines import LIVE, There, real_armada, small_armada

pytestmark = pytest.mark.timeout(300)  # whole flows, of several processes each

PLAIN = """
from metaflow import FlowSpec, retry, step

class PlainFlow(FlowSpec):
    @retry(times=0)
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        print("a plain flow")

if __name__ == "__main__":
    PlainFlow()
"""

NAMED = """
from metaflow import FlowSpec, {name}, step

class NamedFlow(FlowSpec):
    @step
    def start(self):
        print("the first step ran")
        self.next(self.end)

    @{name}{arguments}
    @step
    def end(self):
        pass

if __name__ == "__main__":
    NamedFlow()
"""


TWICE = NAMED.replace("    @step\n    def start", "    @{name}\n    @step\n    def start").replace(
    "{arguments}", ""
)


def write(place: Place, text: str, name: str = "flow.py") -> Path:
    path = place.root / name
    path.write_text(text)
    return path


def named(place: Place, name: str, arguments: str = "") -> Path:
    return write(place, NAMED.format(name=name, arguments=arguments))


def test_importing_metaflow_imports_neither_batchbridge_nor_a_driver(place: Place) -> None:
    script = "import sys, metaflow, metaflow.cli; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=place.env,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = done.stdout.split()
    assert "metaflow_extensions.batchbridge.plugins.decorators" in modules
    roots = {module.partition(".")[0] for module in modules}
    assert not {"batchbridge", "batchbridge_local", "stevedore", "msgspec", "psutil"} & roots


def test_metaflow_shows_the_extension_with_the_librarys_version(place: Place) -> None:
    assert toplevel.__version__ == batchbridge.__version__
    said = place.flow(write(place, PLAIN), "version")
    assert f"batchbridge({batchbridge.__version__})" in said


@pytest.mark.parametrize(
    "decorator", [LocalBatchDecorator, NomadDecorator, ArmadaDecorator, BatchBridgeDecorator]
)
def test_each_name_documents_what_it_takes(decorator: type[BridgeDecorator]) -> None:
    documented = re.findall(r"^(\w+) : ", inspect.getdoc(decorator) or "", re.MULTILINE)
    assert sorted(documented) == sorted(decorator.defaults)


def test_a_plain_flow_is_left_alone(place: Place) -> None:
    assert "a plain flow" in place.flow(write(place, PLAIN), "run")
    assert not place.spool.exists()
    assert not list(place.root.glob("state/metaflow/*"))


@pytest.mark.parametrize("way", ["raise ImportError('half installed')", "import sys; sys.exit(3)"])
def test_a_broken_driver_breaks_only_the_steps_that_name_it(place: Place, way: str) -> None:
    env = a_driver(place, "broken_driver", way)
    assert "a plain flow" in place.flow(write(place, PLAIN), "run", env=env)
    assert "x is 1" in place.flow("tiny_flow.py", "run", env=env)
    said = place.flow(named(place, "batchbridge", '(backend="theirs")'), "run", env=env, code=1)
    assert "@batchbridge on the step end" in said
    assert "theirs" in said
    assert "the first step ran" not in said
    assert "Traceback" not in said


def test_a_third_partys_driver_needs_nothing_but_its_entry_point(place: Place) -> None:
    module = """
from batchbridge_local import LocalDriver

class Driver(LocalDriver):
    name = "theirs"
"""
    env = a_driver(place, "their_driver", module)
    env["BATCHBRIDGE_THEIRS_ROOT"] = str(place.spool)
    said = place.flow(named(place, "batchbridge", '(backend="theirs")'), "run", env=env)
    assert "[theirs://" in said


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("batchbridge", '(backend="nowhere")', "no profile 'nowhere'"),
        ("local_batch", "(gpu=1)", "has no gpu"),
        ("local_batch", '(options={"queue": "q"})', "queue"),
        ("local_batch", '(memory="4G")', "no number of megabytes"),
        ("local_batch", "(image='python')", "has no image"),
    ],
)
def test_what_cannot_be_had_is_said_before_the_first_task(
    place: Place, name: str, arguments: str, words: str
) -> None:
    said = place.flow(named(place, name, arguments), "run", code=1)
    assert f"@{name} on the step end" in said
    assert words in said
    assert "the first step ran" not in said
    assert "Traceback" not in said


def test_a_name_without_its_commands_is_refused(place: Place) -> None:
    config = Path(place.env["METAFLOW_HOME"], "config.json")
    config.parent.mkdir()
    config.write_text(json.dumps({"METAFLOW_ENABLED_CLI": ["card"]}))
    said = place.flow("tiny_flow.py", "run", code=1)
    assert "METAFLOW_ENABLED_CLI leaves local_batch out" in said


@pytest.mark.parametrize(
    "engine",
    [small_armada, pytest.param(real_armada, marks=LIVE)],
    ids=["armada", "armada-live"],
)
def test_a_list_of_one_name_works_and_what_it_switches_off_is_said_once(
    place: Place, engine: Callable[[], AbstractContextManager[There]]
) -> None:
    config = Path(place.env["METAFLOW_HOME"], "config.json")
    config.parent.mkdir()
    lists = ("METAFLOW_ENABLED_STEP_DECORATOR", "METAFLOW_ENABLED_CLI")
    config.write_text(json.dumps({name: ["armada"] for name in lists}))
    text = TWICE.format(name="armada")
    with engine() as there:
        said = place.flow(write(place, text), "run", env=there.env)
        listed = place.flow(place.root / "flow.py", "armada", "list", "--my-runs", env=there.env)
    assert said.count("switches off @retry, @catch, @timeout, @resources") == 1
    assert said.count("switches off 'logs', 'card'") == 1
    assert said.count("Leave it out: batchbridge's names are enabled without it") == 2
    assert said.count("succeeded") == 2
    assert "No unfinished jobs" in listed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("argo-workflows", "create"), "cannot be deployed to argo-workflows"),
        (("step-functions", "create"), "cannot be deployed to step-functions"),
        (("airflow", "create", "dag.py"), "cannot be deployed to airflow"),
    ],
)
def test_deployments_are_refused(place: Place, words: tuple[str, ...], expected: str) -> None:
    assert expected in place.flow("tiny_flow.py", *words, code=1)


def test_a_folder_that_hides_the_library_is_named(place: Place) -> None:
    (place.root / "batchbridge").mkdir()
    (place.root / "batchbridge" / "__init__.py").touch()
    said = place.flow(named(place, "local_batch"), "run", code=1)
    assert "a folder or file of that name beside the flow hides it" in said
    assert "the first step ran" not in said


def test_the_backend_of_steps_that_name_none_is_configured(place: Place) -> None:
    flow = named(place, "batchbridge")
    said = place.flow(flow, "run", env={"METAFLOW_BATCHBRIDGE_BACKEND": "nowhere"}, code=1)
    assert "no profile 'nowhere' is defined here" in said
    assert "[local://" in place.flow(flow, "run")


def test_two_places_to_run_are_refused(place: Place) -> None:
    said = place.flow("tiny_flow.py", "run", "--with", "kubernetes", code=1)
    assert "excludes @kubernetes" in said or "s3" in said


@pytest.mark.parametrize("environment", ["conda", "pypi", "uv"])
def test_other_environments_are_refused(place: Place, environment: str) -> None:
    said = place.flow("tiny_flow.py", "--environment", environment, "run", code=1)
    assert "environments: use image= or executable= instead." in said


PARALLEL = """
from metaflow import FlowSpec, local_batch, parallel, step

class ParallelFlow(FlowSpec):
    @step
    def start(self):
        print("the first step ran")
        self.next(self.work, num_parallel=2)

    @local_batch
    @parallel
    @step
    def work(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    ParallelFlow()
"""


def test_parallel_steps_are_refused(place: Place) -> None:
    said = place.flow(write(place, PARALLEL), "run", code=1)
    assert "@local_batch on the step work does not run @parallel steps" in said
    assert "the first step ran" not in said


def test_a_local_datastore_with_a_relative_path_is_refused(place: Place) -> None:
    said = place.flow(
        "tiny_flow.py", "run", env={"METAFLOW_DATASTORE_SYSROOT_LOCAL": "data"}, code=1
    )
    assert "needs a local datastore with an absolute path: data/.metaflow is none." in said


def test_with_decorates_every_step_and_passes_its_attributes(place: Place) -> None:
    out = place.flow("tiny_flow.py", "run", "--with", "local_batch:cpu=1,memory=64")
    assert out.count("Job is submitted") == 2
    refs = [line.partition("[local")[2].partition("]")[0] for line in out.splitlines()]
    (end,) = [r for r in refs if r and "/end/" in _line_of(out, r)]
    assert place.job_record(end)["memory"] == 64 << 20


def _line_of(out: str, ref: str) -> str:
    return next(line for line in out.splitlines() if ref in line)


def test_default_decospecs_decorate_too(place: Place) -> None:
    env = {"METAFLOW_DEFAULT_DECOSPECS": "local_batch:cpu=0.5"}
    out = place.flow(write(place, PLAIN), "run", env=env)
    assert out.count("Job is submitted") == 2


def test_the_runner_runs_it(place: Place) -> None:
    script = write(
        place,
        "import sys\nfrom metaflow import Runner\n"
        f"with Runner({str(FLOWS / 'tiny_flow.py')!r}, pylint=False, show_output=False)"
        '.run(decospecs=["local_batch:memory=32"]) as running:\n'
        "    print(running.status, running.stdout.count('Job is submitted'))\n",
        "runner.py",
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        cwd=place.root,
        env=place.env,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split()[-2:] == ["successful", "2"], done.stderr


def test_the_job_needs_neither_batchbridge_nor_an_engines_client(place: Place) -> None:
    """The step's Python has what a bare image with Metaflow's needs has: requests, and no more."""
    site = place.root / "bare"
    site.mkdir()
    for name in ("requests", "urllib3", "certifi", "idna", "charset_normalizer"):
        module = __import__(name)
        (site / name).symlink_to(Path(module.__file__ or "").parent)
    python = place.root / "bin" / "python"
    python.parent.mkdir()
    path = f'export PYTHONPATH="$PYTHONPATH:{site}"'
    python.write_text(f'#!/bin/sh\n{path}\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    flow = write(place, BARE)
    out = place.flow(flow, "run", "--with", f"local_batch:executable={python}")
    assert out.count("cannot import batchbridge") == 2


BARE = """
from metaflow import FlowSpec, card, step

class BareFlow(FlowSpec):
    @step
    def start(self):
        self.say()
        self.next(self.end)

    @step
    def end(self):
        self.say()

    def say(self):
        try:
            import batchbridge
        except ImportError as error:
            print("cannot import", error.name)

if __name__ == "__main__":
    BareFlow()
"""
