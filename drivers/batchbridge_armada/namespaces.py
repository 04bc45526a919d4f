"""In which Kubernetes namespaces the jobs are that were handed over here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice

KEPT = 10_000
"""Jobs of which it is remembered."""


class Namespaces:
    """Those of the jobs that were handed over last. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, str] = {}

    def keep(self, named: Mapping[str, str]) -> None:
        """Remember in which namespace each of these jobs is."""
        with self._lock:
            self._of.update(named)
            for job_id in list(islice(self._of, max(len(self._of) - KEPT, 0))):
                del self._of[job_id]

    def of(self, job_id: str) -> str | None:
        """The job's namespace; None where it is not remembered."""
        with self._lock:
            return self._of.get(job_id)
