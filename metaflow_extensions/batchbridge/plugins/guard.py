"""A small process beside a run's launcher: when the launcher dies, it ends the run's jobs.

Its standard input is a pipe that only the launcher holds open. The launcher writes ``done`` there
once its jobs have ended; an end without that word means that it was killed. This says it at once,
and no recycled process id can be mistaken for the launcher. It always ends itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .runs import Run
    from .targets import Target

DONE = b"done"

PATIENCE = 600.0
"""Seconds that it keeps trying to reach an engine."""

QUIET = 2.0
"""Seconds after which it looks again for a job whose submit was under way."""


class Guard:
    """The process, as the launcher holds it."""

    def __init__(self, run: Run) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, json.dumps(asdict(run))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release(self) -> None:
        """The run's jobs have ended: let it go."""
        self._process.communicate(DONE)


def main() -> None:
    """Wait for the launcher's end, then for the end of its jobs."""
    if sys.stdin.buffer.read() == DONE:
        return
    from .runs import Run

    sweep(Run.of(json.loads(sys.argv[1])))


def sweep(run: Run) -> None:
    """End the jobs of a run whose launcher is gone, and forget the run when that is confirmed."""
    from . import runs

    confirmed = [_end_all(run, target) for target in run.targets]
    time.sleep(QUIET)
    confirmed += [_end_all(run, target) for target in run.targets]
    if all(confirmed):
        runs.forget(run)


def _end_all(run: Run, target: Target) -> bool:
    """Whether that is confirmed; trouble at one engine keeps no other's jobs alive."""
    from batchbridge import BatchBridgeError

    from . import jobs
    from .clients import connect

    reason = "the run's launcher is gone"
    try:
        with connect(target) as client:
            find = partial(jobs.live, client, run, target.job_set)
            return jobs.end(client, find, reason=reason, patience=PATIENCE)
    except BatchBridgeError:
        return False


if __name__ == "__main__":
    main()
