"""Everything that is live, on each kind of real Armada: ``python -m tests.drivers.armada.live``.

Each is started by ``localdev/armada``, and ended after. What ran on which is in docs/verified.md.

A Kubernetes is asked with kubectl, and pulls ``busybox``. Steps run in the image that
BATCHBRIDGE_LIVE_ARMADA_IMAGE names; BATCHBRIDGE_LIVE_ARMADA_PRIVATE, ``IMAGE SECRET``, names one
that is pulled with a secret of its default namespace.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import click

from localdev.armada_ready import environment
from localdev.armada_state import Stack
from tests.drivers.armada.live.kubernetes import Kubernetes
from tests.drivers.armada.stacks import REPO, Kind, armada, kinds

TITLES: Mapping[Kind, str] = {
    "fake-executor": "Armada with its fakeexecutor",
    "processes": "Armada with its executor",
    "no-auth": "Armada on Kubernetes",
}
WHAT = (
    "tests/drivers/armada",
    "tests/test_armada_page.py",
    "tests/metaflow/test_admin.py",
    "tests/metaflow/test_armada_config.py",
    "tests/metaflow/test_names.py",
    "tests/metaflow/test_engines.py",
    "tests/metaflow/test_engine_kills.py",
)


@click.command(help=__doc__)
@click.option("--bin", "bin_", required=True, help="Armada's programs, already built.")
@click.option("--checkout", required=True, help="The checkout that they are of.")
@click.option("--kubeconfig", default="", help="A Kubernetes to run all of it on, too.")
def main(bin_: str, checkout: str, kubeconfig: str) -> None:
    there = kinds(kubeconfig)
    failed = [kind for kind in there if not _verified(kind, bin_, checkout, kubeconfig)]
    if failed:
        raise click.ClickException(f"a test failed, or none ran: {', '.join(failed)}")


def _verified(kind: Kind, bin_: str, checkout: str, kubeconfig: str) -> bool:
    with armada(kind, bin=bin_, checkout=checkout, kubeconfig=kubeconfig) as (state, stack):
        env = {**os.environ, **environment(stack, state, "")}
        report = str(state / "report.xml")
        chosen = ("-n", "0", "-m", "live", "-k", "not nomad-live", f"--junitxml={report}")
        _run(env, "pytest", *chosen, *WHAT)
        return _run(env, "tests.verified", TITLES[kind], _version(kind, stack), report) == 0


def _version(kind: Kind, stack: Stack) -> str:
    below = f", Kubernetes {Kubernetes(stack.kubeconfig).version()}" if kind == "no-auth" else ""
    return f"Armada {stack.version}{below}"


def _run(env: Mapping[str, str], *words: str) -> int:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=REPO, env=env, check=False).returncode


if __name__ == "__main__":
    main()
