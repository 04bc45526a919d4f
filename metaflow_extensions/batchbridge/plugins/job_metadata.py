"""Local metadata of a step whose job has a metadata directory of its own, not the launcher's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from metaflow.metadata_provider.util import sync_local_metadata_to_datastore
from metaflow.metaflow_config import DATASTORE_LOCAL_DIR

from .task_env import WORKLOAD


def is_apart(metadata: Any, task_datastore: Any) -> bool:
    """Whether this process is such a step's."""
    shared = task_datastore.parent_datastore.TYPE == "local"
    return WORKLOAD in os.environ and metadata.TYPE == "local" and not shared


def complete(metadata: Any, run_id: str, step_name: str, task_id: str) -> None:
    """Make the objects that the launcher has made at home: a card looks its task up.

    They are dated back, so that those at home, which hold the tags, stay when this is sent there.
    """
    place: list[str | None] = [None, None, None]
    for level, part in enumerate(("flow", "run", "step", "task")):
        place[:level] = [run_id, step_name, task_id][:level]
        metadata._ensure_meta(part, *place)
    for path in Path(DATASTORE_LOCAL_DIR).rglob("_self.json"):
        os.utime(path, (0, 0))


def send_home(task_datastore: Any) -> None:
    """Put the directory into the datastore, where the launcher's side fetches it."""
    sync_local_metadata_to_datastore(DATASTORE_LOCAL_DIR, task_datastore)
