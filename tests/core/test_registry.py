"""Drivers of installed distributions: real metadata on sys.path, real imports."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from batchbridge import registry
from batchbridge.driver import CONTRACT
from batchbridge.errors import BatchBridgeError, DriverBroken, DriverNotFound, UsageError
from tests.core.engine import Engine

GOOD = "from tests.core.engine import Engine as Base\nclass Driver(Base):\n    name = {name!r}\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install("acme", "1.2", {"slurm": "acme_slurm:Driver"}, acme_slurm="source")``."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(project, version, points, *, extras=(), **modules):
        info = tmp_path / f"{project.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        extra_lines = "".join(f"Provides-Extra: {extra}\n" for extra in extras)
        head = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
        (info / "METADATA").write_text(head + extra_lines)
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{lines}")
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
            monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def test_listing_names_distribution_and_version_and_imports_nothing(install):
    install("acme-drivers", "1.2", {"acme": "acme_mod:Driver"}, acme_mod="raise SystemExit(3)")
    assert registry.names()["acme"] == "acme-drivers 1.2"
    assert "local" in registry.names()
    assert "acme_mod" not in sys.modules


def test_listing_needs_neither_stevedore_nor_a_driver():
    code = (
        "import sys; from batchbridge import registry; registry.names();"
        "print([m for m in sys.modules if m.startswith(('stevedore', 'batchbridge_'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_chosen_driver_is_imported(install):
    install(
        "acme",
        "1",
        {"good": "acme_good:Driver", "other": "acme_other:Driver"},
        acme_good=GOOD.format(name="good"),
        acme_other=GOOD.format(name="other"),
    )
    assert registry.load("good").name == "good"
    assert "acme_other" not in sys.modules


def test_a_driver_installed_a_moment_ago_is_seen(install):
    """stevedore's own cache on disk would still hold the older list."""
    install("acme", "1", {"first": "acme_mod:Driver"}, acme_mod=GOOD.format(name="first"))
    registry.load("first")
    install("later", "1", {"second": "later_mod:Driver"}, later_mod=GOOD.format(name="second"))
    assert registry.load("second").name == "second"


def test_a_missing_driver_is_a_usage_error_with_the_nearest_name(install):
    install("acme", "1", {"slurm": "acme_mod:Driver"}, acme_mod=GOOD.format(name="slurm"))
    with pytest.raises(
        DriverNotFound, match=r"'slrum'; did you mean 'slurm'\?.*local.*, slurm"
    ) as e:
        registry.load("slrum")
    assert isinstance(e.value, UsageError)
    assert "batchbridge drivers" in e.value.remedy


REINSTALL = "pip install --force-reinstall acme-drivers"
UPGRADE = "pip install --upgrade acme-drivers"


@pytest.mark.parametrize(
    ("source", "problem", "remedy"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom", REINSTALL),
        ("raise SystemExit(3)", "SystemExit: 3", REINSTALL),
        ("assert False", "AssertionError", REINSTALL),
        ("def (", "SyntaxError", REINSTALL),
        ("import no_such_client.part", "No module named 'no_such_client'", REINSTALL),
        ("other = 1", "AttributeError", REINSTALL),
        ("Driver = 3", "is no BatchDriver", UPGRADE),
        ("class Driver: pass", "is no BatchDriver", UPGRADE),
        (GOOD.format(name="other"), "calls itself 'other'", UPGRADE),
        (GOOD.format(name="acme") + "    Settings = None", "no dataclass Settings", UPGRADE),
        (
            "from batchbridge.driver import BatchDriver\n"
            "class Driver(BatchDriver): name, contract = 'acme', 1",
            "lacks cancel, read_logs, snapshot, submit",
            UPGRADE,
        ),
        (
            "from batchbridge.driver import BatchDriver\nclass Driver(BatchDriver): name = 'acme'",
            "does not say which contract",
            UPGRADE,
        ),
    ],
)
def test_a_broken_driver_names_its_distribution_and_what_mends_it(install, source, problem, remedy):
    install("acme-drivers", "1.2", {"acme": "acme_mod:Driver"}, acme_mod=source)
    with pytest.raises(DriverBroken) as error:
        registry.load("acme")
    assert problem in str(error.value)
    assert "'acme' (acme-drivers 1.2, acme_mod:Driver)" in str(error.value)
    assert error.value.remedy == remedy


def test_a_module_that_is_not_there_is_mended_by_its_own_distribution(install):
    install("acme", "1", {"acme": "acme_gone:Driver"}, extras=["acme"])
    with pytest.raises(DriverBroken, match="No module named 'acme_gone'") as error:
        registry.load("acme")
    assert error.value.remedy == "pip install --force-reinstall acme"


def test_a_missing_client_library_names_the_extra_that_brings_it(install):
    install("acme", "1", {"pbs": "acme_mod:Driver"}, extras=["pbs"], acme_mod="import no_client")
    with pytest.raises(DriverBroken, match="no_client") as error:
        registry.load("pbs")
    assert error.value.remedy == "pip install 'acme[pbs]'"


@pytest.mark.parametrize(
    ("spoken", "remedy"),
    [
        (CONTRACT - 1, "pip install --upgrade acme"),
        (CONTRACT + 1, "pip install --upgrade batchbridge"),
    ],
)
def test_another_contract_is_refused_naming_both_versions(install, spoken, remedy):
    source = GOOD.format(name="acme") + f"    contract = {spoken}"
    install("acme", "1", {"acme": "acme_mod:Driver"}, acme_mod=source)
    with pytest.raises(DriverBroken, match=rf"version {spoken} .* version {CONTRACT}") as error:
        registry.load("acme")
    assert error.value.remedy == remedy


@pytest.mark.parametrize("name", ["local", "shared"])
def test_two_distributions_that_claim_one_name_are_both_refused(install, name):
    """A built-in is no exception: it is neither shadowed nor does it win in silence."""
    source = "raise AssertionError('imported')"
    install("acme", "1", {name: "acme_mod:Driver"}, acme_mod=source)
    install("other", "2", {name: "other_mod:Driver"}, other_mod=source)
    with pytest.raises(DriverBroken) as error:
        registry.load(name)
    assert "acme 1" in str(error.value)
    assert "other 2" in str(error.value)
    assert "pip uninstall acme" in error.value.remedy
    assert ("batchbridge 0" in str(error.value)) == (name == "local")


def test_a_broken_driver_is_a_line_of_the_listing_and_harms_no_other(install):
    install("bad", "1", {"bad": "bad_mod:Driver"}, bad_mod="raise SystemExit")
    install("good", "2", {"good": "good_mod:Driver"}, good_mod=GOOD.format(name="good"))
    lines = {line.name: line for line in registry.describe()}
    assert lines["good"].problem is None
    assert lines["good"].distribution == "good 2"
    assert isinstance(lines["bad"].problem, DriverBroken)
    assert lines["bad"].problem.remedy


def test_a_distribution_without_a_version_can_still_be_named(install, tmp_path):
    install("acme", "1", {"acme": "acme_mod:Driver"}, acme_mod="raise RuntimeError")
    (tmp_path / "acme-1.dist-info" / "METADATA").unlink()
    with pytest.raises(DriverBroken, match="an unnamed distribution of unknown version"):
        registry.load("acme")


def test_a_class_can_stand_in_for_the_time_of_a_block():
    with pytest.raises(BatchBridgeError):
        registry.load("eng")

    class Other(Engine):
        pass

    with registry.registered(Engine):
        with registry.registered(Other):
            assert registry.load("eng") is Other
        assert registry.load("eng") is Engine
        assert registry.names()["eng"] == "this process"
    assert "eng" not in registry.names()
