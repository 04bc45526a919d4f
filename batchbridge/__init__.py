"""Run a command on Nomad, Armada, this machine, or any engine with a driver; never guess.

::

    import batchbridge

    with batchbridge.Client("local") as client:
        job = client.submit(["python", "train.py"], cpu=2, memory="4G")
        record = job.result()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchbridge.client import Client
    from batchbridge.errors import BatchBridgeError, JobFailed, WaitTimeout
    from batchbridge.jobs import Job, as_completed, cancel, refresh
    from batchbridge.logs import LogChunk
    from batchbridge.model import Cause, Explanation, JobRef, JobSpec, JobState
    from batchbridge.states import Record
    from batchbridge.watched import Event

__version__ = "0.1.0"

_HOMES = {
    "client": ("Client",),
    "errors": ("BatchBridgeError", "JobFailed", "WaitTimeout"),
    "jobs": ("Job", "as_completed", "cancel", "refresh"),
    "logs": ("LogChunk",),
    "model": ("Cause", "Explanation", "JobRef", "JobSpec", "JobState"),
    "states": ("Record",),
    "watched": ("Event",),
}

__all__ = [
    "BatchBridgeError",
    "Cause",
    "Client",
    "Event",
    "Explanation",
    "Job",
    "JobFailed",
    "JobRef",
    "JobSpec",
    "JobState",
    "LogChunk",
    "Record",
    "WaitTimeout",
    "as_completed",
    "cancel",
    "refresh",
]


def __getattr__(name: str) -> object:
    # Lazy, because the command line and Metaflow pay for every import in each of their processes.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"batchbridge.{module}"), name)
    raise AttributeError(f"module 'batchbridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
