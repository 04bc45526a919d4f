"""What may know what, where import contracts cannot say it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DRIVERS = sorted(p for p in (ROOT / "drivers").iterdir() if (p / "__init__.py").exists())
MODULES = sorted((ROOT / "batchbridge").rglob("*.py")) + sorted((ROOT / "drivers").rglob("*.py"))

PUBLIC = {
    "driver",
    "errors",
    "fields",
    "model",
    "secrets",
    "streams",
    "templates",
    "uploads",
    "values",
}
"""The modules of batchbridge that a driver may import."""

THREADED = {"batchbridge/hub.py", "batchbridge/streams.py"}
"""The modules that may start a thread."""


def imported(path: Path) -> Iterator[str]:
    """Each module, or name in a module, that `path` imports anywhere, in full."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda p: p.name)
def test_a_driver_imports_the_public_contract_only(driver):
    inside = {name for path in driver.rglob("*.py") for name in imported(path)}
    of_core = {name.split(".")[1] for name in inside if name.startswith("batchbridge.")}
    assert of_core <= PUBLIC
    assert not {n for n in inside if n.startswith("batchbridge_")} - {
        n for n in inside if n.split(".")[0] == driver.name
    }


# The kit is left out: it proves that drivers stand being used from several threads.
@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if "testing" not in path.parts],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_threads_are_started_in_two_places_only(path):
    words = ast.walk(ast.parse(path.read_text()))
    starts = {w.attr for w in words if isinstance(w, ast.Attribute)} & {"Thread", "Timer"}
    pools = {name for name in imported(path) if name.startswith("concurrent.futures.")}
    hidden = {name for name in imported(path) if name.startswith(("threading.", "_thread"))}
    assert not hidden
    assert str(path.relative_to(ROOT)) in THREADED or not starts | pools


def test_every_package_of_ours_says_that_it_is_typed():
    assert all((package / "py.typed").exists() for package in (ROOT / "batchbridge", *DRIVERS))


def test_every_driver_is_under_the_contracts():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {driver.name for driver in DRIVERS} <= set(contracts["root_packages"])
    assert {driver.name for driver in DRIVERS} <= set(
        contracts["contracts"][0]["forbidden_modules"]
    )
