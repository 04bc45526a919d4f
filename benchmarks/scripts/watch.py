"""``watch.py N``: one hub watches N jobs of a scripted engine from queue to end; its cost, as JSON.

Everything in this process counts: the interpreter, the submits, and what the engine remembers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import psutil

from batchbridge import Client, Job, JobState
from batchbridge.model import Seen
from batchbridge.testing import ScriptedDriver

STATES = (JobState.QUEUED, JobState.LEASED, JobState.PENDING, JobState.RUNNING)

AT_ONCE = 500
"""Jobs that the engine speaks of in one breath."""


def main() -> None:
    amount, process = int(sys.argv[1]), psutil.Process()
    driver = ScriptedDriver(script=lambda submission: ())
    with Client(driver=driver, journal=False) as client:
        jobs = client.submit_many([{"command": ["true"]}] * amount)
        submitted = _cpu(process)
        peaks = [_load(process) for _ in _lives(client, driver, jobs)]
        print(
            json.dumps(
                {
                    "threads": max(threads for threads, _ in peaks),
                    "memory": max(memory for _, memory in peaks) / 1e6,
                    "submitting": submitted,
                    "cpu": _cpu(process),
                }
            )
        )


def _lives(client: Client, driver: ScriptedDriver, jobs: Sequence[Job]) -> Iterator[None]:
    """Let the jobs pass the states and be told of once more; yields after each part."""
    ended: list[Job] = []
    for job in jobs:
        job.add_done_callback(ended.append)
    for state in STATES:
        _say(driver, jobs, state)
        _until(lambda state=state: all(job.record.state is state for job in jobs))
        yield
    taken = len(driver.calls.snapshots)
    client.engine.hub.ledger(()).reset()
    _until(lambda: any(len(ids) == len(jobs) for ids in driver.calls.snapshots[taken:]))
    yield
    _say(driver, jobs, JobState.SUCCEEDED, final=True)
    _until(lambda: len(ended) == len(jobs))
    yield


def _say(driver: ScriptedDriver, jobs: Sequence[Job], state: JobState, final: bool = False) -> None:
    for first in range(0, len(jobs), AT_ONCE):
        some = jobs[first : first + AT_ONCE]
        driver.tell([Seen(job.ref.id, state, 1, at=1.0, final=final) for job in some])


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        if time.monotonic() > deadline:
            sys.exit("the hub does not get through")
        time.sleep(0.05)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _load(process: psutil.Process) -> tuple[int, int]:
    """Threads, and bytes of memory."""
    return process.num_threads(), process.memory_info().rss


main()
