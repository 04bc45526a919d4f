"""Podman with images of its own, and the configuration of an agent whose jobs it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from localdev.nomad_agent import remove
from tests.drivers.nomad.images import Keeper
from tests.drivers.nomad.live.cluster import eventually

PLUGIN = "BATCHBRIDGE_LIVE_PODMAN_PLUGIN"
"""Names the program nomad-driver-podman, which Nomad does not come with."""


@contextmanager
def podman() -> Iterator[tuple[Keeper, str]]:
    """What keeps its images, and Nomad's configuration in HCL. Skips the test where it is not."""
    plugin = os.environ.get(PLUGIN)
    if not plugin:
        pytest.skip(f"{PLUGIN} names no nomad-driver-podman")
    if shutil.which("podman") is None:
        pytest.skip("there is no podman on PATH")
    with TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as above:
        root, socket = Path(above, "podman"), Path(above, "podman", "sock")
        keeper = Keeper(("podman", f"--root={root / 'root'}", f"--runroot={root / 'run'}"))
        root.mkdir()
        command = [*keeper.command, "system", "service", "--time=0", f"unix://{socket}"]
        service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(socket.exists, "podman's service answers")
            yield keeper, _configuration(Path(plugin), socket)
        finally:
            keeper.run("rm", "--all", "--force", "--time=0")
            service.terminate()
            service.wait()
            remove(root)


def _configuration(plugin: Path, socket: Path) -> str:
    return f"""
plugin_dir = "{plugin.parent}"
plugin "{plugin.name}" {{
  config {{
    socket_path = "unix://{socket}"
  }}
}}
"""
