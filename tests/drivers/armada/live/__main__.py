"""Everything that is live, on both kinds of real Armada: ``python -m tests.drivers.armada.live``.

Each is started by ``localdev/armada``, and ended after. What ran on which is in docs/verified.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import click

from localdev.armada_ready import environment
from tests.drivers.armada.stacks import KINDS, REPO, Kind, armada

TITLES = {"fake-executor": "Armada with its fakeexecutor", "processes": "Armada with its executor"}
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
def main(bin_: str, checkout: str) -> None:
    failed = [kind for kind in KINDS if not _verified(kind, bin_, checkout)]
    if failed:
        raise click.ClickException(f"a test failed, or none ran: {', '.join(failed)}")


def _verified(kind: Kind, bin_: str, checkout: str) -> bool:
    with armada(kind, bin=bin_, checkout=checkout) as (state, stack):
        env = {**os.environ, **environment(stack, state, "")}
        report = str(state / "report.xml")
        chosen = ("-n", "0", "-m", "live", "-k", "not nomad-live", f"--junitxml={report}")
        _run(env, "pytest", *chosen, *WHAT)
        return _run(env, "tests.verified", TITLES[kind], stack.version, report) == 0


def _run(env: Mapping[str, str], *words: str) -> int:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=REPO, env=env, check=False).returncode


if __name__ == "__main__":
    main()
