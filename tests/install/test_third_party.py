"""A stranger's driver: their project, installed beside ours, gives everything that ours give."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installing import ROOT, Venv, build, copy_of_the_source

EXAMPLE = ROOT / "examples" / "third-party-driver"
MODULE = EXAMPLE / "batchbridge_tsp.py"


def test_the_driver_is_as_short_as_its_readme_says():
    lines = MODULE.read_text().splitlines()
    assert len(lines) <= 120
    assert f"one module of {len(lines)} lines" in (EXAMPLE / "README.md").read_text()
    ruff = [sys.executable, "-m", "ruff"]
    assert subprocess.run([*ruff, "format", "--check", MODULE]).returncode == 0
    assert subprocess.run([*ruff, "check", MODULE]).returncode == 0


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Venv:
    if shutil.which("tsp") is None:
        pytest.skip("task-spooler is not installed: apt-get install task-spooler")
    base = tmp_path_factory.mktemp("stranger")
    wheel = build("wheel", copy_of_the_source(base / "batchbridge"), base / "dist")
    shutil.copytree(EXAMPLE, base / "project", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    venv = Venv.make(base / "venv")
    venv.install(wheel, base / "project")
    return venv


def end_the_queue(venv: Venv) -> None:
    queue = {"TS_SOCKET": str(venv.path / "home" / ".batchbridge-tsp" / "socket")}
    subprocess.run(["tsp", "-K"], env=queue, check=True)


def test_it_is_listed_among_the_drivers(venv):
    done = venv.run("batchbridge", "drivers", "--json")
    assert done.returncode == 0, done.stderr
    listed = {(driver := json.loads(line))["name"]: driver for line in done.stdout.splitlines()}
    assert "batchbridge-tsp" in json.dumps(listed["tsp"])


@pytest.mark.timeout(600)
def test_it_passes_the_kit_where_it_is_installed(venv, tmp_path):
    (tmp_path / "test_tsp.py").write_text((EXAMPLE / "test_tsp.py").read_text())
    done = venv.run("python", "-m", "pytest", "-q", cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tsp: complete" in done.stdout


def test_the_command_runs_jobs_on_it(venv):
    submit = ("batchbridge", "submit", "--backend", "tsp")
    done = venv.run(*submit, "--follow", "--", "sh", "-c", "echo hello; exit 3")
    assert (done.returncode, done.stdout) == (3, "hello\n"), done.stderr
    ref = venv.run(*submit, "--", "echo", "later").stdout.strip()
    assert ref.startswith("tsp://tsp/")
    assert venv.run("batchbridge", "wait", ref).returncode == 0
    assert venv.run("batchbridge", "logs", ref).stdout == "later\n"
    refused = venv.run(*submit, "--memory", "4G", "--", "true")
    assert refused.returncode == 2
    assert "memory" in refused.stderr
    end_the_queue(venv)


FLOW = """
from metaflow import FlowSpec, batchbridge, step

class SpooledFlow(FlowSpec):
    @step
    def start(self):
        self.items = [1, 2, 3]
        self.next(self.square, foreach="items")

    @batchbridge(backend="tsp")
    @step
    def square(self):
        self.result = self.input**2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(branch.result for branch in inputs)
        self.next(self.end)

    @step
    def end(self):
        print("the total is", self.total)

if __name__ == "__main__":
    SpooledFlow()
"""


def test_metaflow_steps_run_on_it(venv, tmp_path: Path):
    (tmp_path / "flow.py").write_text(FLOW)
    done = venv.run("python", "flow.py", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[tsp://tsp/" in done.stdout
    assert "the total is 14" in done.stdout
    end_the_queue(venv)
