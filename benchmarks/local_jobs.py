"""Jobs on this machine: how many a second, and how soon the end of one is known.

batchbridge and the bare processes run as many at once as there are cores, the peers all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.harness import Goal, Report, Size, in_turn, rows_of
from benchmarks.peers import Installed, ourselves, peer
from benchmarks.place import SCRIPTS, place

JOBS, SINGLES = 500, 20
"""Jobs of each round that are handed over together, and one after the other; ..."""

FEW = 20
"""... submitit, each of whose jobs takes a second, gets this part of them."""

PSIJ, SUBMITIT = "psij-python", "submitit"

GOALS = {PSIJ: Goal("≥", 0.5), SUBMITIT: Goal("≥", 3.0)}


class Candidate(NamedTuple):
    """A script that measures, and who can run it; see `scripts/timing.py`."""

    owner: Installed
    script: str
    part: int = 1  #: of the jobs

    def rate(self, jobs: int) -> float:
        """Jobs a second, when so many are handed over together."""
        some = max(1, jobs // self.part)
        return some / self._seconds("many", some)

    def delay(self, jobs: int) -> float:
        """Milliseconds until one job's end is known: the median of so many."""
        return 1000 * self._seconds("each", max(1, jobs // self.part))

    def _seconds(self, what: str, jobs: int) -> float:
        with place() as here:
            python = self.owner.python
            return float(here.output(python, SCRIPTS / self.script, what, str(jobs)))


def throughput(size: Size) -> Report:
    """Jobs a second of ``true``."""
    jobs = size.of(JOBS)
    taken = in_turn(_candidates(lambda candidate: candidate.rate(jobs)), size.rounds)
    goals = {str(peer(package)): goal for package, goal in GOALS.items()}
    title = f"{jobs} local jobs handed over together"
    return Report(title, rows_of(taken, unit="/s", goals=goals))


def latency(size: Size) -> Report:
    """How soon one job's end is known."""
    jobs = size.of(SINGLES)
    taken = in_turn(_candidates(lambda candidate: candidate.delay(jobs)), size.rounds)
    return Report("one local job, until its end is known", rows_of(taken, unit="ms"))


def _candidates(measure: Callable[[Candidate], float]) -> dict[str, Callable[[], float]]:
    us, psij, submitit = ourselves(), peer(PSIJ), peer(SUBMITIT)
    candidates = {
        str(us): Candidate(us, "batchbridge_jobs.py"),
        str(psij): Candidate(psij, "psij_jobs.py"),
        str(submitit): Candidate(submitit, "submitit_jobs.py", FEW),
        "subprocess, no job": Candidate(us, "subprocess_jobs.py"),
    }
    return {name: partial(measure, candidate) for name, candidate in candidates.items()}
