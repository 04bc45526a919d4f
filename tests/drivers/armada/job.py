"""One job of the Armada in this process, and what its ids, times and amounts look like."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from batchbridge_armada.protocol import job_pb2, submit_pb2

CLUSTER, NODE = "cluster-1", "node-1"
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def ulid(at: float) -> str:
    """An id as Armada makes them."""
    value = (int(at * 1000) << 80) | int.from_bytes(os.urandom(10))
    return "".join(DIGITS[(value >> (5 * n)) & 31] for n in reversed(range(26)))


def now() -> Timestamp:
    """The time of an event."""
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


def quantity(text: str) -> float:
    """Cores, as Kubernetes writes them."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


@dataclass
class Job:
    """One submitted job."""

    id: str
    queue: str
    job_set: str
    item: submit_pb2.JobSubmitRequestItem
    born: float
    state: str = "QUEUED"
    error: str = ""
    reason: str = ""
    submitted: Timestamp = field(default_factory=now)
    changed: Timestamp = field(default_factory=now)
    run: job_pb2.JobRunDetails | None = None
    process: subprocess.Popen | None = None
    lines: list[tuple[str, bytes]] = field(default_factory=list)
    over_time: bool = False
    failures: int = 0

    @property
    def pod(self):
        return self.item.pod_specs[0]

    @property
    def cpu(self) -> float:
        requests = self.pod.containers[0].resources.requests
        return quantity(requests["cpu"].string) if "cpu" in requests else 1.0

    @property
    def gang(self) -> tuple[str, int]:
        notes = self.item.annotations
        size = notes.get("armadaproject.io/gangCardinality", "1")
        return notes.get("armadaproject.io/gangId", self.id), int(size)

    def misfit(self, cpu: float) -> str:
        """Why no node of so many cores can ever take it, in the scheduler's words as seen."""
        if self.cpu > cpu:
            return (
                f"pool default:\njob/gang requests resources (cpu={self.cpu:g}) which exceeds the"
                f" total limit of (cpu={cpu:g}) for its queue/priority class"
            )
        labels = {"kubernetes.io/hostname": NODE}
        wrong = [n for n, value in self.pod.nodeSelector.items() if labels.get(n) != value]
        return "".join(
            "pool default:\nExcluded nodes:\n 1: node does not match pod NodeSelector:"
            f" label {name} not set"
            for name in wrong[:1]
        )

    @property
    def over(self) -> bool:
        return self.state in ("SUCCEEDED", "FAILED", "CANCELLED", "REJECTED", "PREEMPTED")
