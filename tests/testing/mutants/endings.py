"""How a job ended, and that it was to end."""

from __future__ import annotations

import time
from dataclasses import replace

from batchbridge.errors import NoSuchJob, Rejected
from batchbridge.model import JobRef, JobState, Seen
from batchbridge.testing.rig import TIDYING
from tests.testing.mutants.registry import UNDER_FAULTS, mutant
from tests.testing.reference import ReferenceDriver

S = JobState


@mutant(
    "dagster-nomad run_launcher.py:272, snakemake-slurm: what is dead has succeeded",
    "cancel_set",
    "preempt",
    "a_latecomer_learns_the_end",
    "cancel_again",
    "cancel_at_once",
    "cancel_running",
    "confirmed_end",
    "cancel_waiting",
    "client_cancel",
    "client_failure",
    "client_many",
    "exit_code",
    "first_batch_means_subscribed",
    "many_at_once",
    "missing_program",
    "no_reruns",
    "queue_timeout",
    "resuming",
    "signal",
    "stream_and_snapshot_agree",
    "threads",
    "timeout",
    "timeout_is_not_felt_in_time",
    *UNDER_FAULTS,
)
class DeadIsSuccess(ReferenceDriver):
    def translate(self, said, place):
        if said["state"] in ("FAILED", "CANCELLED"):
            said = {**said, "state": "SUCCEEDED", "cause": None, "exit_code": 0, "signal": None}
        return super().translate(said, place)


@mutant(
    "airflow-providers-nomad: success if there is output",
    "cancel_set",
    "reprioritise",
    "gang",
    "resources",
    "success",
    "waiting_job",
)
class SuccessNeedsOutput(ReferenceDriver):
    def translate(self, said, place):
        stdout = self.jobs / said["id"] / "stdout"
        if said["state"] == "SUCCEEDED" and not (stdout.exists() and stdout.stat().st_size):
            said = {**said, "state": "FAILED"}
        return super().translate(said, place)


@mutant(
    "nf-nomad: the first event that has an exit code is believed, and it is 0",
    "a_latecomer_learns_the_end",
    "cancel_again",
    "client_failure",
    "client_many",
    "exit_code",
    "first_batch_means_subscribed",
    "many_at_once",
    "no_reruns",
    "resuming",
    "stream_and_snapshot_agree",
    "threads",
    "timeout_is_not_felt_in_time",
    *UNDER_FAULTS,
)
class FirstExitCode(ReferenceDriver):
    def translate(self, said, place):
        if said["state"] == "FAILED" and said.get("exit_code"):
            said = {**said, "exit_code": 0}
        return super().translate(said, place)


@mutant("the shell's convention taken for the kernel's word: 128 + n", "signal")
class SignalAsExitCode(ReferenceDriver):
    def translate(self, said, place):
        if said.get("signal"):
            said = {**said, "signal": None, "exit_code": 128 + said["signal"]}
        return super().translate(said, place)


@mutant(
    "torchx on Kubernetes shows UNKNOWN while a job runs",
    "preempt",
    "reprioritise",
    "cancel_running",
    "confirmed_end",
    "cancel_waiting",
    "client_cancel",
    "closing_is_prompt",
    "explain",
    "queue_timeout",
    "running_is_told",
    "secret_is_shown_to_nobody",
    "silence_is_filled",
    "waiting_job",
    *UNDER_FAULTS,
    patience=4.0,
)
class NeverRunning(ReferenceDriver):
    def told(self, start):
        seen, place = super().told(start)
        return [one for one in seen if one.state is not S.RUNNING], place


@mutant(
    "parsl on Kubernetes: new jobs start as RUNNING",
    "explain",
    "waiting_job",
    perhaps_by={"cancel_waiting", "queue_timeout"},
)
class RunningAtOnce(ReferenceDriver):
    def translate(self, said, place):
        if said["state"] == "QUEUED":
            said = {**said, "state": "RUNNING"}
        return super().translate(said, place)


@mutant("a purge collects all that is over", "purge", patience=4.0)
class PurgesAll(ReferenceDriver):
    def purge(self, refs):
        over = {seen.id for seen in self.told(0)[0] if seen.final}
        super().purge([*refs, *(JobRef(self.name, "-", (), job_id) for job_id in over)])


@mutant("a purge that hides what it keeps", "purge", patience=4.0)
class PurgesNothing(ReferenceDriver):
    def purge(self, refs):
        self._reach()


@mutant("the whole queue is cancelled for one job set", "cancel_set")
class CancelsAll(ReferenceDriver):
    def cancel_set(self, scope, *, job_set, reason):
        listed = [one.seen.id for one in self.list(None, None)]
        self.cancel([JobRef(self.name, "-", scope, job_id) for job_id in listed], reason=reason)


@mutant("a preempted job counts as cancelled by its owner", "preempt")
class PreemptsAsCancel(ReferenceDriver):
    def preempt(self, refs, *, reason):
        self.cancel(refs, reason=reason)


@mutant("what runs is ended to give it another priority", "reprioritise")
class ReprioritisesByEnding(ReferenceDriver):
    def reprioritise(self, refs, priority):
        self.cancel(refs, reason="another priority")


@mutant("Nomad without policies in the spec: what failed is run again", "no_reruns")
class RunsAgain(ReferenceDriver):
    def told(self, start):
        seen, place = super().told(start)
        return [again for one in seen for again in self.twice(one)], place

    def twice(self, one):
        if one.state is not S.FAILED or one.exit_code is None:
            return [one]
        first = replace(one, again=True, final=False, seq=(*one.seq, 0))
        return [first, replace(one, attempt=2, seq=(*one.seq, 1))]


@mutant(
    "Nomad's client comes back: lost, running, complete, in turn",
    "cancel_again",
    "many_at_once",
    "the_story_never_changes",
    "threads",
)
class ChangesItsMind(ReferenceDriver):
    asked = 0

    def snapshot(self, scope, known):
        batch = super().snapshot(scope, known)
        self.asked += any(getattr(one, "final", False) for one in batch.observations)
        if self.asked < 3:
            return batch
        return replace(batch, observations=tuple(map(self.doubt, batch.observations)))

    def doubt(self, one):
        if isinstance(one, Seen) and one.state is S.FAILED and one.exit_code is not None:
            return replace(one, state=S.SUCCEEDED, exit_code=0, cause=None)
        return one


@mutant("any end of a job with a limit is put down to the limit", "timeout_is_not_felt_in_time")
class TimeoutIsToBlame(ReferenceDriver):
    def translate(self, said, place):
        limited = said["state"] == "FAILED" and self._job(self.jobs / said["id"])["timeout"]
        return super().translate({**said, "cause": "TIMEOUT"} if limited else said, place)


@mutant(
    "armada #155: cancelled is said, and the pod goes on",
    "reprioritise",
    "cancel_running",
    "confirmed_end",
    "waiting_job",
)
class CancelIsAWord(ReferenceDriver):
    def cancel(self, refs, *, reason):
        self._reach()
        for ref in refs:
            if self.holds(ref.id) and not any(s.final for s in self.told(0)[0] if s.id == ref.id):
                with self.events.open("a") as events:
                    events.write(f'{{"id": "{ref.id}", "state": "CANCELLED", "final": true}}\n')


@mutant("Armada: cancelled is said, and the pod has its grace", "confirmed_end")
class CancelledTooSoon(ReferenceDriver):
    """The engine hears of it when somebody looks, a second after the end was told."""

    def __init__(self, settings):
        super().__init__(settings)
        self.told_at = {}

    def cancel(self, refs, *, reason):
        self._reach()
        for ref in refs:
            said = [seen for seen in self.told(0)[0] if seen.id == ref.id]
            if said and said[-1].state == "RUNNING":
                self.told_at[ref.id] = time.monotonic()
                with self.events.open("a") as events:
                    events.write(f'{{"id": "{ref.id}", "state": "CANCELLED", "final": true}}\n')
            else:
                super().cancel([ref], reason=reason)

    def translate(self, said, place):
        for job_id, at in self.told_at.items():
            if time.monotonic() - at > 1.0:
                (self.jobs / job_id / "cancel").touch()
        return super().translate(said, place)


@mutant(
    "snakemake: a cancel that comes before a job was seen to run cancels nothing",
    "cancel_again",
    "cancel_at_once",
    "cancel_waiting",
    perhaps_by={"cancel_set"},
)
class CancelOnlyWhatRuns(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.running = set()

    def snapshot(self, scope, known):
        return self.noted(super().snapshot(scope, known))

    def watch(self, scope, cursor, known):
        yield from map(self.noted, super().watch(scope, cursor, known))

    def noted(self, batch):
        seen = [one for one in batch.observations if isinstance(one, Seen)]
        self.running |= {one.id for one in seen if one.state is S.RUNNING}
        return batch

    def cancel(self, refs, *, reason):
        super().cancel([ref for ref in refs if ref.id in self.running], reason=reason)


@mutant(
    "a cancel of what is over or unknown is taken for an error",
    "cancel_again",
    "threads",
)
class StrictCancel(ReferenceDriver):
    def cancel(self, refs, *, reason):
        over = {seen.id for seen in self.told(0)[0] if seen.final}
        super().cancel(refs, reason=reason)
        for ref in refs if reason != TIDYING else ():
            if ref.id in over or not self.holds(ref.id):
                raise NoSuchJob(f"{ref} is over")


@mutant(
    "a second cancel is a conflict",
    "cancel_again",
    "double_cancel",
    "everything_at_once",
)
class CancelOnce(ReferenceDriver):
    def cancel(self, refs, *, reason):
        for ref in refs if reason != TIDYING else ():
            if (self.jobs / ref.id / "cancel").exists():
                raise Rejected(f"{ref} is being cancelled")
        super().cancel(refs, reason=reason)


@mutant(
    "submitit cancels from __del__, dask-jobqueue when its cluster is closed",
    "client_detaches_and_attaches",
    "close_leaves_the_job",
)
class CloseCancels(ReferenceDriver):
    def close(self):
        for job in self.jobs.glob("*"):
            (job / "cancel").touch()


@mutant("dask-jobqueue: with suppress(RuntimeError) around the cancel", "unreachable_cancel")
class CancelSwallows(ReferenceDriver):
    def cancel(self, refs, *, reason):
        if self.settings.root.is_dir():
            super().cancel(refs, reason=reason)
