"""The Kubernetes below a real Armada, asked by kubectl."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import psutil

from localdev.kubernetes.containers import quantity

Object = dict[str, Any]


class Kubernetes:
    """The one of that configuration file."""

    def __init__(self, kubeconfig: str) -> None:
        self._command = ("kubectl", f"--kubeconfig={kubeconfig}")

    def version(self) -> str:
        """Which it says it is."""
        found: str = json.loads(self._run("get", "--raw", "/version"))["gitVersion"]
        return found

    def items(self, path: str) -> list[Object]:
        """All objects there."""
        found: list[Object] = json.loads(self._run("get", "--raw", path))["items"]
        return found

    def create(self, path: str, value: Object) -> None:
        """Make an object there."""
        self._run("create", "--raw", path, "-f", "-", data=json.dumps(value))

    def delete(self, path: str) -> None:
        """Remove that object."""
        self._run("delete", "--raw", path)

    def cores(self) -> list[float]:
        """What pods may have of each node."""
        return [quantity(node["status"]["allocatable"]["cpu"]) for node in self.nodes()]

    def nodes(self) -> list[Object]:
        """All nodes."""
        return self.items("/api/v1/nodes")

    def is_here(self) -> bool:
        """Whether every node is this machine, whose files and addresses it has then."""
        ours = {one.address for many in psutil.net_if_addrs().values() for one in many}
        return all(
            any(told["address"] in ours for told in node["status"].get("addresses", ()))
            for node in self.nodes()
        )

    def _run(self, *words: str, data: str = "") -> str:
        done = subprocess.run([*self._command, *words], input=data, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
