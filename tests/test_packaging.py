"""What is built holds what it should, and works wherever and however it is installed."""

from __future__ import annotations

import tarfile
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

import batchbridge
from tests.installing import ROOT, Venv, build, copy_of_the_source

PACKAGES = ("batchbridge", "drivers", "metaflow_extensions")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_source(tmp_path_factory.mktemp("source") / "batchbridge")


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


def files_of(package: str) -> set[str]:
    """The package's files, under the names that they are imported by."""
    top = ROOT / package
    kinds = ("*.py", "*.sh", "py.typed")
    found = {path for kind in kinds for path in top.rglob(kind)}
    return {str(p.relative_to(ROOT if package != "drivers" else top)) for p in found}


def test_the_wheel_holds_our_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == set().union(*map(files_of, PACKAGES))
    assert {"batchbridge/py.typed", "batchbridge/unpack.sh"} <= packed


def test_the_wheel_says_what_metaflow_looks_for(wheel):
    archive = zipfile.ZipFile(wheel)
    [top_level] = [name for name in archive.namelist() if name.endswith("/top_level.txt")]
    assert "metaflow_extensions" in archive.read(top_level).decode().split()


def test_the_version_is_written_once(wheel):
    info = PathDistribution(zipfile.Path(wheel, f"{wheel.name.rsplit('-', 3)[0]}.dist-info/"))
    assert info.version == batchbridge.__version__
    assert info.metadata["License-Expression"] == "Apache-2.0"
    assert set(info.metadata.get_all("Provides-Extra") or ()) >= {
        "armada",
        "metaflow",
        "nomad",
        "s3",
        "test",
    }


def test_the_sdist_holds_the_project(sdist, source, tmp_path):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path)
    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", ".ci/run", "pyproject.toml"}
    assert wanted <= names
    for folder in ("tests", "examples", "localdev", *PACKAGES):
        assert {str(p.relative_to(source)) for p in (source / folder).rglob("*.py")} <= names
    assert not {name for name in names if name.endswith(".pyc")}


def test_a_wheel_of_the_sdist_is_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path)
    [unpacked] = tmp_path.iterdir()
    again = build("wheel", unpacked, tmp_path / "dist")
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


# -- installed ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["wheel", "directory", "editable"])
def venv(
    request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Venv:
    venv = Venv.make(tmp_path_factory.mktemp("venv") / request.param)
    what = {
        "wheel": lambda: [request.getfixturevalue("wheel")],
        "directory": lambda: [source],
        "editable": lambda: ["--editable", source],
    }
    venv.install(*what[request.param]())
    return venv


def test_the_command_lists_the_drivers(venv):
    done = venv.run("batchbridge", "drivers", "--json")
    assert done.returncode == 0, done.stderr
    assert '"local"' in done.stdout


def test_the_command_runs_a_job(venv):
    done = venv.run("batchbridge", "submit", "--follow", "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    failed = venv.run("batchbridge", "submit", "--wait", "--", "sh", "-c", "exit 3")
    assert failed.returncode == 3, failed.stderr


def test_the_pytest_plugin_is_loaded(venv):
    done = venv.run("python", "-m", "pytest", "--trace-config", "--collect-only", "-q")
    assert "batchbridge.testing.plugin" in done.stdout, done.stderr


def test_metaflow_knows_the_extension_by_name_and_version(venv):
    assert venv.python("from metaflow import local_batch, batchbridge, nomad, armada") == ""
    version = venv.python("import metaflow.metaflow_version as v; print(v.get_version())")
    assert f"batchbridge({batchbridge.__version__})" in version


@pytest.mark.parametrize("venv", ["wheel", "directory"], indirect=True)
def test_type_checkers_see_the_types(venv):
    """Not in the editable one: its import hook is seen by Python alone."""
    wrong = "from batchbridge.model import JobSpec\nx: int = JobSpec(command=('a',)).name\n"
    done = venv.run("python", "-m", "mypy", "--cache-dir=/dev/null", "-c", wrong)
    assert "Incompatible types in assignment" in done.stdout, done.stdout + done.stderr


FLOW = """
from metaflow import FlowSpec, local_batch, step

class TinyFlow(FlowSpec):
    @local_batch
    @step
    def start(self):
        self.where = "there"
        self.next(self.end)

    @step
    def end(self):
        print("back from", self.where)

if __name__ == "__main__":
    TinyFlow()
"""


def test_a_flow_runs_its_step_as_a_job(venv, tmp_path):
    (tmp_path / "flow.py").write_text(FLOW)
    done = venv.run("python", "flow.py", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[local://local/" in done.stdout
    assert "back from there" in done.stdout
