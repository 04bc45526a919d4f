"""Who is measured: batchbridge as it is installed here, and projects to compare it with.

Each of those has a virtual environment of its own, in the user's cache, made when it is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree

import platformdirs

from benchmarks.harness import Failed, NotRun, output

HOME = platformdirs.user_cache_path("batchbridge", appauthor=False) / "benchmarks"
"""Where the environments are kept between runs."""

_WHOLE = "installed"
"""The file that marks an environment as whole."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A package, and the Python that can import it, or why there is none."""

    package: str
    version: str = ""
    interpreter: str = ""
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.package} {self.version}".rstrip()

    @property
    def python(self) -> str:
        """The path of its Python; NotRun where it could not be installed."""
        if self.problem:
            raise NotRun(self.problem)
        return self.interpreter

    def program(self, name: str) -> str:
        """The path of a program that is installed beside its Python; NotRun as above."""
        return str(Path(self.python).with_name(name))


def ourselves() -> Installed:
    """batchbridge, in the environment of this process."""
    return Installed("batchbridge", version("batchbridge"), sys.executable)


@cache
def peer(package: str) -> Installed:
    """That package from the registry, installed once and kept."""
    try:
        python = environment(package, [package])
        ask = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
        return Installed(package, output([python, "-c", ask, package]).strip(), python)
    except NotRun as problem:
        return Installed(package, problem=str(problem))


def environment(name: str, requirements: Sequence[str]) -> str:
    """The Python of the environment of that name, made with these packages where it is missing."""
    place = HOME / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = str(place / "bin" / "python")
    if not (place / _WHOLE).exists():
        rmtree(place, ignore_errors=True)
        output([sys.executable, "-m", "venv", "--without-pip", str(place)])
        install(python, requirements)
        (place / _WHOLE).touch()
    return python


def install(python: str, requirements: Sequence[str]) -> None:
    """Install packages for that Python, with our pip; NotRun with its reason where that fails."""
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    try:
        output([*pip, "install", "--quiet", *requirements])
    except Failed as problem:
        raise NotRun(f"it cannot be installed: {problem}") from problem
