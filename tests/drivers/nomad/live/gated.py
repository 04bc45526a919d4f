"""Jobs that all wait at one gate, and tell of each command that began and that ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchbridge import Job, JobState, refresh
from tests.drivers.nomad.live.cluster import eventually
from tests.drivers.nomad.live.numbered import MODEST, check_ends

COMMAND = """
echo $BATCHBRIDGE_TEST_NUMBER >> {root}/started
while [ ! -e {root}/gate ]; do sleep 1; done
echo $BATCHBRIDGE_TEST_NUMBER >> {root}/ended
exit $((BATCHBRIDGE_TEST_NUMBER % 3))
"""


@dataclass(frozen=True)
class Gate:
    """So many jobs, numbered from 0; each ends with its number modulo 3 once the gate is open."""

    root: Path
    count: int

    def specs(self, numbers: Iterable[int] | None = None) -> list[dict[str, Any]]:
        """The jobs of these numbers, or of all."""
        return [
            {
                "command": COMMAND.format(root=self.root),
                "env": {"BATCHBRIDGE_TEST_NUMBER": str(n)},
                **MODEST,
            }
            for n in numbers or range(self.count)
        ]

    def all_run(self, jobs: list[Job]) -> None:
        """Wait until each command has started, and Nomad says so.

        A client agent that is killed between the two starts a task once more.
        """
        self.all_have("started")

        def running() -> bool:
            refresh(jobs)
            return {job.record.state for job in jobs} == {JobState.RUNNING}

        eventually(running, "all run")

    def all_have(self, what: str) -> None:
        """Wait until each command has ``started``, or ``ended``; once."""
        once = Counter(range(self.count))
        eventually(lambda: self._numbers(what) == once, f"all have {what}", within=240)

    def open(self) -> None:
        """Let them end."""
        (self.root / "gate").touch()

    def finish(self, jobs: list[Job]) -> None:
        """Let them end; each must end once, as it does by itself, and be seen to."""
        self.open()
        assert len(jobs) == self.count
        check_ends(jobs)
        succeeded = [job for job in jobs if job.record.state is JobState.SUCCEEDED]
        assert len(succeeded) == len(range(0, self.count, 3))
        self.all_have("started")
        self.all_have("ended")

    def _numbers(self, what: str) -> Counter[int]:
        """How often each job wrote its number there."""
        file = self.root / what
        return Counter(map(int, file.read_text().split())) if file.exists() else Counter()
