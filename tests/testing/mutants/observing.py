"""What is said of a job, and what is not."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

from batchbridge.errors import Rejected
from batchbridge.model import Absent, Batch, JobState, LogPage, Receipt, Seen
from tests.testing.mutants.registry import mutant
from tests.testing.reference import ReferenceDriver

S = JobState


@mutant(
    "snakemake-slurm: unknown, so we assume that it is finished",
    "purge",
    "absence",
    "client_unknown_job",
    "unknown_job",
)
class UnknownIsSuccess(ReferenceDriver):
    def snapshot(self, scope, known):
        batch = super().snapshot(scope, known)
        return replace(batch, observations=tuple(map(self.assume, batch.observations)))

    def assume(self, one):
        return Seen(one.id, S.SUCCEEDED, 1, final=True) if isinstance(one, Absent) else one


@mutant(
    "an id that was never given is waited for",
    "absence",
    "client_unknown_job",
)
class SilentOnUnknown(ReferenceDriver):
    def snapshot(self, scope, known):
        batch = super().snapshot(scope, known)
        return Batch(tuple(one for one in batch.observations if isinstance(one, Seen)))


@mutant(
    "nomad #8345: the job is collected before its end was read",
    "purge",
    "cancel_again",
    "known_jobs_are_never_denied",
    "same_key_after_the_end",
    "the_story_never_changes",
)
class ForgetsTheEnded(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.told_of = set()

    def snapshot(self, scope, known):
        batch = super().snapshot(scope, known)
        over = {one.id for one in batch.observations if getattr(one, "final", False)}
        gone, self.told_of = over & self.told_of, self.told_of | over
        kept = tuple(one for one in batch.observations if one.id not in gone)
        return Batch((*kept, *(Absent(job_id, time.time()) for job_id in gone)))


@mutant(
    "psij: what the queue does not list yet does not exist",
    "client_detaches_and_attaches",
    "known_jobs_are_never_denied",
)
class DeniesTheNew(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.asked = Counter()

    def snapshot(self, scope, known):
        self.asked.update(known)
        new = {job_id for job_id in known if self.asked[job_id] <= 3}
        kept = [one for one in super().snapshot(scope, known).observations if one.id not in new]
        return Batch((*kept, *(Absent(job_id, time.time()) for job_id in new)))


@mutant(
    "attempts are numbered once there is an allocation", "attempts_are_numbered_always_or_never"
)
class NumberedAtTimes(ReferenceDriver):
    def translate(self, said, place):
        seen = super().translate(said, place)
        return replace(seen, attempt=None) if seen.state is S.QUEUED else seen


class ClientText(str):
    """A client library's own kind of text."""


@mutant("the client library's types go on travelling", "plain_data")
class ForeignTypes(ReferenceDriver):
    def translate(self, said, place):
        return replace(super().translate(said, place), node=ClientText("n1"))


@mutant(
    "who watched remembers, who comes later does not",
    "a_latecomer_learns_the_end",
    "close_leaves_the_job",
    "submitter_is_killed",
)
class EndsInMemory(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.mine = set()

    def _submit(self, submission, job_id):
        self.mine.add(job_id)
        return super()._submit(submission, job_id)

    def snapshot(self, scope, known):
        batch = super().snapshot(scope, known)
        over = {one.id for one in batch.observations if getattr(one, "final", False)}
        lost = over - self.mine
        return Batch(tuple(one for one in batch.observations if one.id not in lost))


@mutant("the id at hand is kept on the driver between two lines", "threads")
class SharedScratch(ReferenceDriver):
    current: Any = None

    def _submit(self, submission, job_id):
        self.current = submission
        time.sleep(0.02)
        return super()._submit(self.current, self.job_id(self.current))


@mutant("a connection that failed is a job that was refused", "unreachable_submit")
class UnreachableIsRefused(ReferenceDriver):
    def submit(self, submissions):
        if not self.settings.root.is_dir():
            for submission in submissions:
                yield Receipt(submission.key, error=Rejected("connection refused"))
            return
        yield from super().submit(submissions)


@mutant("psij: a failed poll is the end of all jobs", "unreachable_snapshot")
class UnreachableIsAbsent(ReferenceDriver):
    def snapshot(self, scope, known):
        if not self.settings.root.is_dir():
            return Batch(tuple(Absent(job_id, time.time()) for job_id in known))
        return super().snapshot(scope, known)


@mutant("airflow-providers-nomad manager.py:88: every error is no data", "unreachable_logs")
class UnreachableIsEmpty(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        if not self.settings.root.is_dir():
            return LogPage(b"", cursor or "0", eof=True)
        return super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)


@mutant("the doctor dies of the disease", "unreachable_probe")
class ProbeRaises(ReferenceDriver):
    def probe(self):
        self._reach()
        return super().probe()


@mutant("the doctor looks for what is not needed", "probe")
class ProbeIsWrong(ReferenceDriver):
    def probe(self):
        return [replace(check, ok=False) for check in super().probe()]


@mutant("toil, submitit: jobs are found by the process that submitted them", "list")
class ListsItsOwn(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.mine = set()

    def _submit(self, submission, job_id):
        self.mine.add(job_id)
        return super()._submit(submission, job_id)

    def list(self, job_set, user):
        return [one for one in super().list(job_set, user) if one.seen.id in self.mine]


@mutant("the filter is not sent along", "cancel_set", "list_of_another_set")
class ListsAll(ReferenceDriver):
    def list(self, job_set, user):
        return super().list(None, user)


@mutant("everybody is shown everybody's jobs", "list")
class ListsOfAnybody(ReferenceDriver):
    def list(self, job_set, user):
        return super().list(job_set, None)


@mutant("labels are dropped on the way", "labels")
class NoLabels(ReferenceDriver):
    def list(self, job_set, user):
        return [replace(one, labels={}) for one in super().list(job_set, user)]


@mutant("a dry run that leaves something behind", "render")
class RenderSends(ReferenceDriver):
    def render(self, submission):
        if not self.holds(self.job_id(submission)) and self.settings.root.is_dir():
            self._submit(submission, self.job_id(submission))
        return super().render(submission)


@mutant("galaxy #10480, kfp #13401: nobody says why it waits", "explain")
class NeverExplains(ReferenceDriver):
    def explain(self, ref):
        return None


@mutant("dagster-nomad run_launcher.py:84: data[0] of an empty list", "explain_at_any_time")
class ExplainsByIndex(ReferenceDriver):
    def explain(self, ref):
        seen = [one for one in self.told(0)[0] if one.id == ref.id]
        return super().explain(ref) if seen[0] else None


@mutant("hints for programs rather than for people", "hints")
class PathHints(ReferenceDriver):
    def hints(self, ref):
        return {"directory": self.jobs / ref.id}


@mutant("details of the first allocation, where there may be none", "details")
class DetailsByIndex(ReferenceDriver):
    def details(self, ref, attempt):
        return {"state": next(one for one in self.told(0)[0] if one.id == ref.id).state}
