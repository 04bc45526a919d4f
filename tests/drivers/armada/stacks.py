"""Whole Armadas for what is run on them: started by ``localdev/armada``, ended after."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from localdev.armada_state import Stack, load

Kind = Literal["fake-executor", "processes", "no-auth"]
REPO = Path(__file__).parents[3]


def kinds(kubeconfig: str) -> tuple[Kind, ...]:
    """Those that there can be: the last needs a Kubernetes."""
    return ("fake-executor", "processes", *(("no-auth",) if kubeconfig else ()))


@contextmanager
def armada(
    kind: Kind, *, bin: str, checkout: str, kubeconfig: str = ""
) -> Iterator[tuple[Path, Stack]]:
    """One of that kind at free ports: where its state is, and what runs.

    `kubeconfig`: of the Kubernetes for ``no-auth``.
    """
    with tempfile.TemporaryDirectory(prefix="batchbridge-armada-") as folder:
        state = Path(folder) / "armada"
        ports = ("--port", "0", "--binoculars-port", "0")
        below = ("--kubeconfig", kubeconfig) if kind == "no-auth" else ()
        try:
            _localdev(state, "up", kind, "--bin", bin, "--checkout", checkout, *ports, *below)
            stack = load(state)
            assert stack is not None
            yield state, stack
        finally:
            _localdev(state, "down")


def _localdev(state: Path, *words: str) -> None:
    command = [sys.executable, "-m", "localdev.armada_server", "--state", str(state), *words]
    subprocess.run(command, cwd=REPO, stdout=subprocess.DEVNULL, check=True)
