"""Real flows in processes of their own, each with its own home, datastore and spool."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

with warnings.catch_warnings():  # Metaflow imports it before its extensions, and they import it
    warnings.simplefilter("ignore")
    import metaflow  # noqa: F401

REPO = Path(__file__).parents[2]
FLOWS = Path(__file__).parent / "flows"
DEADLINE = 110.0
"""Seconds that anything here may take."""

OLD = os.environ.get("BATCHBRIDGE_OLD_METAFLOW_PYTHON")
"""A Python with the oldest Metaflow that is supported, and batchbridge."""

PYTHONS = [
    pytest.param(sys.executable, id="newest"),
    pytest.param(
        OLD,
        id="oldest",
        marks=pytest.mark.skipif(
            not OLD, reason="BATCHBRIDGE_OLD_METAFLOW_PYTHON is not set; make test sets it"
        ),
    ),
]


def eventually(
    holds: Callable[[], object], what: str | Callable[[], str], within: float = DEADLINE
) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


def run_id_of(console: str) -> str:
    """The id of the run that printed this."""
    return re.findall(r"run-id (\d+)", console)[-1]


@dataclass(frozen=True)
class Place:
    """Where flows run: nothing outside it is read or written."""

    root: Path
    python: str = sys.executable

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def env(self) -> dict[str, str]:
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        return {
            "HOME": str(home),
            "PATH": f"{Path(self.python).parent}:{os.environ['PATH']}",
            "USER": "tester",
            "METAFLOW_HOME": str(home / ".metaflowconfig"),
            "METAFLOW_BATCHBRIDGE_CACHE": str(self.root / "cache"),
            "BATCHBRIDGE_LOCAL_ROOT": str(self.spool),
            "BATCHBRIDGE_STATE_DIR": str(self.root / "state"),
            "PYTHONUNBUFFERED": "x",
            "TZ": "UTC",
        }

    def start(
        self, flow: str | Path, *words: str, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start ``python FLOW WORDS``, in a process group of its own."""
        return subprocess.Popen(
            [self.python, str(FLOWS / flow), "--no-pylint", *words],
            cwd=self.root,
            env={**self.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def flow(
        self,
        flow: str | Path,
        *words: str,
        env: dict[str, str] | None = None,
        code: int = 0,
        within: float = DEADLINE,
    ) -> str:
        """What that prints; it must end with that exit code."""
        process = self.start(flow, *words, env=env)
        out, _ = process.communicate(timeout=within)
        assert process.returncode == code, out
        return out

    def batchbridge(self, *words: str, code: int = 0) -> str:
        """What ``batchbridge WORDS`` prints; it must end with that exit code."""
        command = [str(Path(self.python).with_name("batchbridge")), *words]
        done = subprocess.run(command, cwd=self.root, env=self.env, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stdout

    def show(self, flow: str, console: str, env: dict[str, str] | None = None) -> dict[str, Any]:
        """The run that printed this, as Metaflow's client sees it."""
        shown = self.flow("show.py", f"{flow}/{run_id_of(console)}", env=env)
        return json.loads(shown.splitlines()[-1])

    def show_jobs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """What batchbridge says of every job of that run, one for each attempt."""
        tasks = [task for tasks in run["steps"].values() for task in tasks]
        refs = [value for task in tasks for name, value in task["metadata"] if "-job" in name]
        lines = self.batchbridge("status", "--json", *refs).splitlines()
        return [json.loads(line) for line in lines]

    def job_record(self, ref: str) -> dict[str, Any]:
        """What the spool holds of that job."""
        place = self.spool / "jobs" / ref.rpartition("/")[2]
        return json.loads((place / "job.json").read_text().splitlines()[0])

    def marks(self) -> dict[str, str]:
        """What the tasks left where they were told to: each file's name and content."""
        found = self.root.glob("marks/*")
        return {path.name: text for path in found if (text := path.read_text())}

    def processes(self) -> list[psutil.Process]:
        """Every process that works here: its environment or its command names this place."""
        return [p for p in psutil.process_iter() if _belongs(p, str(self.root))]

    def no_process_left(self) -> bool:
        """Whether none is left but the spool's supervisor, which serves whoever comes next."""
        return not [p for p in self.processes() if not _is_supervisor(p)]

    def told(self) -> str:
        """Every process that works here, with its command, for whoever reads of a failure."""
        return "\n".join(f"{p} {p.as_dict(['ppid', 'cmdline'])}" for p in self.processes())

    def end_all(self) -> None:
        """End what is left, supervisor and all."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def a_driver(place: Place, module: str, text: str, *, name: str = "theirs") -> dict[str, str]:
    """A third party's distribution that registers a driver; the environment that installs it."""
    site = place.root / "site"
    info = site / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[batchbridge.drivers]\n{name} = {module}:Driver\n")
    return {"PYTHONPATH": str(site)}


def _belongs(process: psutil.Process, root: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = [*process.cmdline(), *process.environ().values()]
        return any(word == root or f"{root}/" in word for word in words)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _is_supervisor(process: psutil.Process) -> bool:
    try:
        return any("from batchbridge_local" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place for one test."""
    made = Place(tmp_path)
    yield made
    made.end_all()
