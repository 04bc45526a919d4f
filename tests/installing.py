"""Fresh virtual environments in seconds: what we depend on is lent, what is tested is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtual environment that sees this one's packages, without batchbridge."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Venv:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
        lent = path / "lent"
        lent.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "batchbridge" not in entry.name and entry.name != "__pycache__":
                (lent / entry.name).symlink_to(entry)
        [site] = path.glob("lib/python*/site-packages")
        (site / "lent.pth").write_text(f"{lent}\n")
        return cls(path)

    @property
    def bin(self) -> Path:
        return self.path / "bin"

    def install(self, *what: str | Path) -> None:
        """``pip install`` there, offline, without what is lent."""
        offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        done = self.run(*pip, *offline, *map(str, what))
        assert done.returncode == 0, done.stderr

    def run(
        self, *command: str, cwd: Path | None = None, timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` with this environment first on the path, and a home of its own."""
        home = self.path / "home"
        home.mkdir(exist_ok=True)
        env = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(home),
            "USER": "tester",
            "LANG": "C.UTF-8",
        }
        return subprocess.run(
            command, cwd=cwd or home, env=env, capture_output=True, text=True, timeout=timeout
        )

    def python(self, code: str) -> str:
        """What `code` prints there; it must not fail."""
        done = self.run(str(self.bin / "python"), "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def copy_of_the_source(target: Path) -> Path:
    """The project's tree without what was built in it; building writes into the copy."""
    shutil.copytree(ROOT, target, ignore=NOT_SOURCE)
    shutil.copytree(ROOT / ".ci", target / ".ci")
    return target


def build(kind: str, source: Path, target: Path) -> Path:
    """The ``wheel`` or ``sdist`` of `source`."""
    target.mkdir(exist_ok=True)
    code = f"import setuptools.build_meta as b; b.build_{kind}({str(target)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [built] = target.iterdir()
    return built
