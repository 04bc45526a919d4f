"""Submitting to Nomad, beside the same JSON sent by an HTTP client, and by python-nomad."""

from __future__ import annotations

import json

from benchmarks.cores import rates
from benchmarks.harness import Goal, Report, Size
from benchmarks.nomad_agent import RUNS, Agent, agent, payloads
from benchmarks.peers import ourselves
from benchmarks.place import SCRIPTS, place

JOBS, SINGLES = 400, 50
"""Jobs of each round that are handed over together, and one after the other."""

ROUNDS = 4
"""Rounds for each that is asked for: they are short, and a machine is slow for longer."""

FLOOR = "http.client, the same JSON"
PEER = "python-nomad alone, the same JSON"


def throughput(size: Size) -> Report:
    """Jobs registered in a second, by sixteen threads."""
    jobs, nomad = size.of(JOBS), agent()
    candidates = {
        str(ourselves()): lambda: jobs / _ours(nomad, "many", jobs),
        FLOOR: lambda: jobs / _theirs("nomad_put.py", nomad, "many", jobs),
        PEER: lambda: jobs / _theirs("nomad_peer.py", nomad, "many", jobs),
    }
    goals = {FLOOR: Goal("≥", 0.9)}
    with nomad.placing_nothing():
        rows = rates(candidates, size.rounds * ROUNDS, nomad.processes(), unit="/s", goals=goals)
    return Report(f"{jobs} jobs submitted to Nomad together, none placed", rows)


def latency(size: Size) -> Report:
    """How long one submit takes."""
    jobs, nomad = size.of(SINGLES), agent()
    candidates = {
        str(ourselves()): lambda: 1000 * _ours(nomad, "each", jobs),
        FLOOR: lambda: 1000 * _theirs("nomad_put.py", nomad, "each", jobs),
        PEER: lambda: 1000 * _theirs("nomad_peer.py", nomad, "each", jobs),
    }
    with nomad.placing_nothing():
        rows = rates(candidates, size.rounds, nomad.processes(), unit="ms")
    return Report("one submit to Nomad", rows)


def _ours(nomad: Agent, what: str, jobs: int) -> float:
    script, options = SCRIPTS / "nomad_submit.py", json.dumps(RUNS)
    with place() as here, nomad.new_keys() as keys:
        words = (what, str(jobs), nomad.address, keys, options)
        return float(here.output(ourselves().python, script, *words))


def _theirs(script: str, nomad: Agent, what: str, jobs: int) -> float:
    with place() as here, nomad.new_keys() as keys:
        lines = "".join(f"{json.dumps(job)}\n" for job in payloads(keys, jobs + 1, RUNS))
        words = (what, str(jobs), nomad.host)
        return float(here.output(ourselves().python, SCRIPTS / script, *words, text=lines))
