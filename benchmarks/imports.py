"""What batchbridge adds to ``import metaflow``, by its extension and by what it depends on."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import Goal, Report, Size, in_turn, rows_of
from benchmarks.peers import environment, install
from benchmarks.place import place

ROUNDS = 4
"""Imports for each round of the other benchmarks: they are short, and noisy."""

TIMED = "import time; t = time.process_time(); import metaflow; print(time.process_time() - t)"

CHECKOUT = Path(__file__).parents[1]

ALONE = "without it"


def run(size: Size) -> Report:
    """CPU time of the import alone; Python's own start is not counted."""
    metaflow = f"metaflow=={version('metaflow')}"
    plain = environment("metaflow", [metaflow])
    extended = environment("metaflow-batchbridge", [metaflow])
    _install_this(extended)
    with place() as here:

        def milliseconds(python: str) -> float:
            return 1000 * float(here.output(python, "-c", TIMED))

        candidates = {
            "with batchbridge": lambda: milliseconds(extended),
            ALONE: lambda: milliseconds(plain),
        }
        goals = {ALONE: Goal("≤", 1.1)}
        rows = rows_of(in_turn(candidates, size.rounds * ROUNDS), unit="ms", goals=goals)
    return Report(f"import metaflow {version('metaflow')}, CPU time", rows)


def _install_this(python: str) -> None:
    """Install this checkout, from a copy: setuptools builds in the directory that it is given."""
    with tempfile.TemporaryDirectory(prefix="batchbridge-bench-") as copy:
        for package in ("batchbridge", "drivers", "metaflow_extensions"):
            shutil.copytree(CHECKOUT / package, Path(copy, package))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(CHECKOUT / file, copy)
        install(python, [copy])
