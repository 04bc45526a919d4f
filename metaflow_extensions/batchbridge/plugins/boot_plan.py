"""The command of a step's job: the text of `boot`, its plan, and the step's own command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaflow.package import MetaflowPackage

PROBE = "from importlib.util import find_spec as f; import sys; sys.exit(not all(map(f, {})))"
"""Python that succeeds where all those modules can be imported."""


@dataclass(frozen=True)
class Package:
    """The code package as it was saved in the datastore."""

    metadata: str
    sha: str
    url: str


def boot_command(executable: str, plan: dict[str, Any], step: Sequence[str]) -> list[str]:
    """The job's command: set up what `plan` says, then become ``EXECUTABLE -u STEP...``."""
    text = (Path(__file__).parent / "boot.py").read_text(encoding="utf-8")
    boot = [executable, "-I", "-S", "-c", text, json.dumps(plan)]
    return [*boot, executable, "-u", *step]


def plan(package: Package, *, root: str | None, fetch: str, install: str | None) -> dict[str, Any]:
    """What `boot` does. It names no secret.

    `fetch` is shell that leaves the package as ``job.tar`` where it runs; `install` makes what
    fetching needs; `root` is the local datastore, shared with the machine that runs the job.
    """
    extract = " && ".join(MetaflowPackage.get_extract_commands(package.metadata, "job.tar", "."))
    stages = [
        ("looking for what fetches the code package", install),
        (f"fetching the code package {package.url}", fetch),
        ("unpacking the code package", f"{extract} && rm job.tar"),
    ]
    return {
        "sha": package.sha,
        "stages": [stage for stage in stages if stage[1]],
        "link": root,
        "env": _after_unpacking(package.metadata),
    }


def _after_unpacking(metadata: str) -> dict[str, str]:
    """The variables that Metaflow wants set; a name with a colon replaces, else it is prepended."""
    exports = MetaflowPackage.get_post_extract_env_vars(metadata, dest_dir="{work}")
    return {name.rstrip(":"): value for name, value in exports.items()}


def fetch_command(environment: Any, url: str, datastore: str) -> str:
    """Shell that leaves the package in ``job.tar``: a copy, or Metaflow's own download command."""
    if datastore == "local":
        return f"cp {shlex.quote(url)} job.tar"
    # Metaflow escapes its quotes for the double-quoted string that it usually puts this into.
    command: str = environment._get_download_code_package_cmd(url, datastore)
    return command.replace('\\"', '"')


def install_command(environment: Any, datastore: str, *, container: bool) -> str | None:
    """Shell that installs what the datastore needs where it is missing; None where nothing is.

    Only a container is changed; on a machine that others use, a missing module is an error.
    """
    if datastore == "local":
        return None
    modules = ("boto3", "requests") if datastore == "s3" else ("requests",)
    probe = f"python -c {shlex.quote(PROBE.format(modules))}"
    if not container:
        missing = f"{' or '.join(modules)} is missing in the Python that runs the step"
        return f"{probe} || {{ echo {shlex.quote(missing)}; exit 1; }}"
    return f"{probe} || {environment._get_install_dependencies_cmd(datastore)}"
