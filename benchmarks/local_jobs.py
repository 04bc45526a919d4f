"""Jobs on this machine: how many a second, and how soon the end of one is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.harness import Goal, Report, Size, in_turn, rows_of
from benchmarks.peers import Installed, ourselves, peer
from benchmarks.place import SCRIPTS, place

JOBS = 500
"""Jobs of each round that are handed over together."""

SINGLES = 20
"""Jobs of each round that are handed over one after the other."""

PSIJ, SUBMITIT = "psij-python", "submitit"

GOALS = {PSIJ: Goal("≥", 0.5), SUBMITIT: Goal("≥", 3.0)}


class Candidate(NamedTuple):
    """A script that measures, and who can run it; see `scripts.timing`."""

    owner: Installed
    script: str
    share: float = 1.0  #: of the jobs, for one whose jobs take seconds

    def rate(self, amount: int) -> float:
        """Jobs a second, of that many that are handed over together."""
        jobs = max(1, round(amount * self.share))
        return jobs / self._seconds("many", jobs)

    def delay(self, amount: int) -> float:
        """Milliseconds until one job's end is known; the median of that many."""
        jobs = max(1, round(amount * self.share))
        return 1000 * self._seconds("each", jobs)

    def _seconds(self, what: str, jobs: int) -> float:
        with place() as here:
            python = self.owner.program("python")
            return float(here.output(python, SCRIPTS / self.script, what, str(jobs)))


def throughput(size: Size) -> Report:
    """Jobs a second of ``true``."""
    jobs = size.of(JOBS)
    many = _candidates(lambda candidate: candidate.rate(jobs))
    goals = {str(peer(package)): goal for package, goal in GOALS.items()}
    rows = rows_of(in_turn(many, size.rounds), unit="/s", goals=goals)
    return Report(f"local jobs per second: {jobs} x true, submitit a twentieth of that", rows)


def latency(size: Size) -> Report:
    """How soon one job's end is known."""
    jobs = size.of(SINGLES)
    each = _candidates(lambda candidate: candidate.delay(jobs))
    rows = rows_of(in_turn(each, size.rounds), unit="ms")
    return Report("one local job, from submit until its end is known", rows)


def _candidates(measure: Callable[[Candidate], float]) -> dict[str, Callable[[], float]]:
    us, psij, submitit = ourselves(), peer(PSIJ), peer(SUBMITIT)
    candidates = {
        str(us): Candidate(us, "batchbridge_jobs.py"),
        str(psij): Candidate(psij, "psij_jobs.py"),
        str(submitit): Candidate(submitit, "submitit_jobs.py", share=0.05),
        "subprocess, no job": Candidate(us, "subprocess_jobs.py"),
    }
    return {name: lambda c=c: measure(c) for name, c in candidates.items()}  # type: ignore[misc]
