"""How soon the end of an Armada job is known, beside a bare reader of the same event stream.

Both look at the same jobs at the same time, from processes of their own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from statistics import median

from benchmarks.armada_stack import job_set, stack
from benchmarks.harness import DEADLINE, Goal, Report, Row, Size
from benchmarks.peers import ourselves
from benchmarks.place import SCRIPTS, place
from localdev.armada_state import Stack

JOBS = 200

Times = Mapping[str, float]
"""Job -> seconds since the epoch."""


def run(size: Size) -> Report:
    """How much later than the reader we know of an end: the median of each round."""
    jobs, armada = size.of(JOBS), stack()
    later = [_round(armada, jobs) for _ in range(size.rounds)]
    row = Row(
        what=f"{ourselves()}, later than a bare reader of the stream",
        samples=later,
        unit="ms",
        goal=Goal("≤", 20, "ms"),
    )
    return Report(f"the ends of {jobs} Armada jobs, until they are known", [row])


def _round(armada: Stack, jobs: int) -> float:
    us = ourselves()
    with place() as here, job_set(armada, waits=False) as where:
        reader = [us.python, str(SCRIPTS / "armada_stream.py"), str(jobs), *where.words]
        with subprocess.Popen(reader, stdout=subprocess.PIPE, text=True) as stream:
            try:
                script = SCRIPTS / "armada_ends.py"
                ours: Times = json.loads(here.output(us.python, script, str(jobs), *where.words))
                said, _ = stream.communicate(timeout=DEADLINE)
            finally:
                stream.kill()
    told: Times = json.loads(said)
    return 1000 * median(ours[job] - told[job] for job in ours)
