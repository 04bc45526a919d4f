"""How soon the end of a Nomad job is known, beside a bare reader of the same event stream.

Both look at the same jobs at the same time, from processes of their own. A job ends when its task
does; that Nomad's client tells its server only a while later is in both numbers.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import datetime
from statistics import median

from benchmarks.harness import DEADLINE, Goal, Report, Row, Size
from benchmarks.nomad_agent import RUNS, Agent, agent
from benchmarks.peers import ourselves
from benchmarks.place import SCRIPTS, place

JOBS = 20
"""Jobs of each round, one after the other."""

Times = Mapping[str, float]
"""Job -> seconds since the epoch."""


def run(size: Size) -> Report:
    """The medians of the rounds' medians."""
    jobs, nomad = size.of(JOBS), agent()
    rounds = [_round(nomad, jobs) for _ in range(size.rounds)]
    ours, stream, later = zip(*rounds, strict=True)
    rows = [
        Row(what=str(ourselves()), samples=ours, unit="ms"),
        Row(what="a bare reader of the stream", samples=stream, unit="ms"),
        Row(
            what="the one later than the other", samples=later, unit="ms", goal=Goal("≤", 20, "ms")
        ),
    ]
    return Report("the end of a Nomad job, until it is known", rows)


def _round(nomad: Agent, jobs: int) -> tuple[float, float, float]:
    """Milliseconds from the end of the task: until we know, until the stream says; between both."""
    with nomad.new_keys() as keys:
        ours, stream = _watched(nomad, keys, jobs)
        ended = {id: _ended(nomad, id) for id in ours}
    return _later(ended, ours), _later(ended, stream), _later(stream, ours)


def _watched(nomad: Agent, keys: str, jobs: int) -> tuple[Times, Times]:
    """When we knew of each end, and when the stream told of it."""
    us, amount = ourselves(), str(jobs)
    host, ids = nomad.host, f"bb-{keys}"
    reader = [us.python, str(SCRIPTS / "nomad_stream.py"), amount, host, ids]
    with place() as here, subprocess.Popen(reader, stdout=subprocess.PIPE, text=True) as stream:
        try:
            assert stream.stdout is not None
            stream.stdout.readline()
            words = (amount, nomad.address, keys, json.dumps(RUNS))
            ours = here.output(us.python, SCRIPTS / "nomad_ends.py", *words)
            said, _ = stream.communicate(timeout=DEADLINE)
        finally:
            stream.kill()
    return json.loads(ours), json.loads(said)


def _ended(nomad: Agent, job: str) -> float:
    """When Nomad's client saw the task end."""
    (alloc,) = nomad.get(f"job/{job}/allocations")
    (task,) = alloc["TaskStates"].values()
    return datetime.fromisoformat(task["FinishedAt"]).timestamp()


def _later(first: Times, second: Times) -> float:
    """Milliseconds from one to the other: the median."""
    return 1000 * median(second[job] - first[job] for job in first)
