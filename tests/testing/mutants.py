"""Broken drivers, and a broken core: each one a bug that somebody had, and the tests that see it.

Each driver here is the reference driver but for one mistake. What `caught_by` names is exactly what
fails of the kit, but for `perhaps_by`, where timing decides; ``test_teeth.py`` runs it.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from batchbridge import hub, ledger, logs
from batchbridge.driver import BatchDriver
from batchbridge.errors import NoSuchJob, Rejected
from batchbridge.model import Absent, Batch, JobState, LogPage, Receipt, Seen

from .reference import ReferenceDriver

S = JobState


@dataclass(frozen=True)
class Mutant:
    because: str
    caught_by: frozenset[str]
    perhaps_by: frozenset[str]
    driver: type[ReferenceDriver] = ReferenceDriver
    patch: Callable[[pytest.MonkeyPatch], None] = lambda monkeypatch: None
    patience: float = 10.0


MUTANTS: dict[str, Mutant] = {}


def mutant(
    because: str, *caught_by: str, perhaps_by: Iterable[str] = (), patience: float = 10.0
) -> Callable[[Any], Any]:
    """Register a driver class, or a function that breaks the core."""

    def register(broken: Any) -> Any:
        what = {"driver": broken} if isinstance(broken, type) else {"patch": broken}
        tests = [frozenset(f"test_{name}" for name in names) for names in (caught_by, perhaps_by)]
        MUTANTS[broken.__name__] = Mutant(because, *tests, patience=patience, **what)
        return broken

    return register


# -- how a job ended -----------------------------------------------------------------------------


@mutant("dagster-nomad run_launcher.py:272, snakemake-slurm: what is dead has succeeded")
class DeadIsSuccess(ReferenceDriver):
    def translate(self, said, place):
        if said["state"] in ("FAILED", "CANCELLED"):
            said = {**said, "state": "SUCCEEDED", "cause": None, "exit_code": 0, "signal": None}
        return super().translate(said, place)


@mutant("airflow-providers-nomad: success if there is output")
class SuccessNeedsOutput(ReferenceDriver):
    def translate(self, said, place):
        stdout = self.jobs / said["id"] / "stdout"
        if said["state"] == "SUCCEEDED" and not (stdout.exists() and stdout.stat().st_size):
            said = {**said, "state": "FAILED"}
        return super().translate(said, place)


@mutant("nf-nomad: the first event that has an exit code is believed, and it is 0")
class FirstExitCode(ReferenceDriver):
    def translate(self, said, place):
        if said["state"] == "FAILED" and said.get("exit_code"):
            said = {**said, "exit_code": 0}
        return super().translate(said, place)


@mutant("the shell's convention taken for the kernel's word: 128 + n")
class SignalAsExitCode(ReferenceDriver):
    def translate(self, said, place):
        if said.get("signal"):
            said = {**said, "signal": None, "exit_code": 128 + said["signal"]}
        return super().translate(said, place)


@mutant("torchx on Kubernetes shows UNKNOWN while a job runs", patience=5.0)
class NeverRunning(ReferenceDriver):
    def told(self, start):
        seen, place = super().told(start)
        return [one for one in seen if one.state is not S.RUNNING], place


@mutant("parsl on Kubernetes: new jobs start as RUNNING")
class RunningAtOnce(ReferenceDriver):
    def translate(self, said, place):
        if said["state"] == "QUEUED":
            said = {**said, "state": "RUNNING"}
        return super().translate(said, place)


@mutant("Nomad without policies in the spec: what failed is run again")
class RunsAgain(ReferenceDriver):
    def told(self, start):
        seen, place = super().told(start)
        return [again for one in seen for again in self.twice(one)], place

    def twice(self, one):
        if one.state is not S.FAILED or one.exit_code is None:
            return [one]
        first = replace(one, again=True, final=False, seq=(*one.seq, 0))
        return [first, replace(one, attempt=2, seq=(*one.seq, 1))]


@mutant("Nomad's client comes back: lost, running, complete, in turn")
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


@mutant("any end of a job with a limit is put down to the limit")
class TimeoutIsToBlame(ReferenceDriver):
    def translate(self, said, place):
        limited = said["state"] == "FAILED" and self._job(self.jobs / said["id"])["timeout"]
        return super().translate({**said, "cause": "TIMEOUT"} if limited else said, place)


# -- cancelling ----------------------------------------------------------------------------------


@mutant("armada #155: cancelled is said, and the pod goes on")
class CancelIsAWord(ReferenceDriver):
    def cancel(self, refs, *, reason):
        self._reach()
        for ref in refs:
            if self.holds(ref.id) and not any(s.final for s in self.told(0)[0] if s.id == ref.id):
                with self.events.open("a") as events:
                    events.write(f'{{"id": "{ref.id}", "state": "CANCELLED", "final": true}}\n')


@mutant("snakemake: a cancel that comes before a job was seen to run cancels nothing")
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


@mutant("a cancel of what is over or unknown is taken for an error")
class StrictCancel(ReferenceDriver):
    def cancel(self, refs, *, reason):
        over = {seen.id for seen in self.told(0)[0] if seen.final}
        super().cancel(refs, reason=reason)
        for ref in refs:
            if ref.id in over or not self.holds(ref.id):
                raise NoSuchJob(f"{ref} is over")


@mutant("a second cancel is a conflict")
class CancelOnce(ReferenceDriver):
    def cancel(self, refs, *, reason):
        for ref in refs:
            if (self.jobs / ref.id / "cancel").exists():
                raise Rejected(f"{ref} is being cancelled")
        super().cancel(refs, reason=reason)


@mutant("submitit cancels from __del__, dask-jobqueue when its cluster is closed")
class CloseCancels(ReferenceDriver):
    def close(self):
        for job in self.jobs.glob("*"):
            (job / "cancel").touch()


@mutant("dask-jobqueue: with suppress(RuntimeError) around the cancel")
class CancelSwallows(ReferenceDriver):
    def cancel(self, refs, *, reason):
        if self.settings.root.is_dir():
            super().cancel(refs, reason=reason)


# -- logs ----------------------------------------------------------------------------------------


@mutant("one page is taken for the whole log")
class OnePage(ReferenceDriver):
    def read(self, ref, stream, place):
        return super().read(ref, stream, place) if place < 3 << 16 else b""


@mutant("nomad #26693: the log of a job that is over never ends when it is empty")
class EmptyNeverEnds(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        page = super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)
        return replace(page, eof=page.eof and page.cursor != "0")


@mutant("logs as text: what is no UTF-8 is replaced")
class LogsAreText(ReferenceDriver):
    def read(self, ref, stream, place):
        data = super().read(ref, stream, place)
        return data.decode("utf-8", "ignore").encode() if b"\xff" in data else data


@mutant("no file of the log means that there is none to come")
class NoFileNoLog(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        page = super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)
        return replace(page, eof=page.eof or not (self.jobs / ref.id / stream).exists())


@mutant("a command that is silent at first is taken for one that has nothing to say")
class SilenceIsTheEnd(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        page = super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)
        script = self._job(self.jobs / ref.id)["command"][-1]
        return replace(page, eof=page.eof or (not page.data and script.startswith("sleep")))


@mutant("both streams in one, and two declared")
class OneStream(ReferenceDriver):
    def read(self, ref, stream, place):
        if stream == "stderr":
            return b""
        both = [super(OneStream, self).read(ref, name, 0) for name in ("stdout", "stderr")]
        return (
            b"".join(both)[place : place + (1 << 16)]
            if both[1]
            else super().read(ref, stream, place)
        )


@mutant("torchx on Kubernetes: a log that is followed again begins at its start")
class CursorIsMine(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.given = {"0"}

    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        own = cursor if cursor in self.given else None
        page = super().read_logs(ref, attempt, stream, own, ended=ended, wait=wait)
        self.given.add(page.cursor)
        return page


# -- what the class says of itself -----------------------------------------------------------------


@dataclass
class LooseSettings:
    root: Path = field(default=Path())


@mutant("settings that anybody may change, and nobody explains")
class Undeclared(ReferenceDriver):
    Settings = LooseSettings


@mutant("a capability is declared because the engine has it")
class DeclaredOnly(ReferenceDriver):
    list = BatchDriver.list


@mutant("psij: the constructor starts threads and writes ~/.psij")
class BusyConstructor(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        if settings.root.is_dir():
            (settings.root / "settings.json").write_text("{}")


@mutant("a scope for each call")
class NewScopes(ReferenceDriver):
    calls = 0

    def scope_of(self, submission):
        self.calls += 1
        return (str(self.calls),)


# -- submitting ----------------------------------------------------------------------------------


@mutant("armada-metaflow, airflow-providers-armada: submits are retried and carry no client_id")
class RandomIds(ReferenceDriver):
    def job_id(self, submission):
        return os.urandom(8).hex()


@mutant("one id for all that one call submits")
class OneIdPerCall(ReferenceDriver):
    def submit(self, submissions):
        first = None
        for receipt in super().submit(submissions):
            first = first or receipt.id
            yield replace(receipt, id=receipt.id and first)


@mutant("a key is forgotten when its job has ended")
class KeyDiesWithTheJob(ReferenceDriver):
    def _older(self, submission, job):
        over = any(seen.final for seen in self.told(0)[0] if seen.id == job.name)
        if not over:
            return super()._older(submission, job)
        job.rename(job.with_name(f"{job.name}-{time.time_ns()}"))
        return self._submit(submission, job.name)


@mutant("the key and the spec name the job together")
class SpecIsInTheKey(ReferenceDriver):
    def job_id(self, submission):
        return sha256(f"{submission.key}{submission.digest}".encode()).hexdigest()[:16]


@mutant("airflow-providers-nomad manager.py:214: look, then register")
class LookThenAct(ReferenceDriver):
    def _submit(self, submission, job_id):
        fresh = not self.holds(job_id)
        time.sleep(0.05)
        if fresh and self.holds(job_id):
            job_id = os.urandom(8).hex()
        return super()._submit(submission, job_id)


@mutant("the job is started by the process that submitted it, when it finds the time")
class StartsLater(ReferenceDriver):
    def start(self, job, submission):
        threading.Timer(0.1, super().start, (job, submission)).start()


@mutant("snakemake and many more: the submitter's environment is the job's")
class WholeEnvironment(ReferenceDriver):
    def environment(self, submission):
        return {**os.environ, **super().environment(submission)}


@mutant("a variable's value is put through the shell")
class ShellExpands(ReferenceDriver):
    def environment(self, submission):
        given = super().environment(submission)
        return {name: value.replace("$HOME", "/root") for name, value in given.items()}


@mutant("the working directory is where the engine likes it")
class NoWorkdir(ReferenceDriver):
    def start(self, job, submission):
        spec = replace(submission.spec, workdir=None)
        super().start(job, replace(submission, spec=spec))


@mutant("files are accepted and left behind")
class NoFiles(ReferenceDriver):
    def start(self, job, submission):
        super().start(job, replace(submission, files=None))


@mutant("armada-metaflow: [] is passed for the secrets")
class NoSecrets(ReferenceDriver):
    def environment(self, submission):
        return super().environment(replace(submission, secrets={}))


@mutant("armada-metaflow: keys are copied into the pod's spec as they are")
class SecretsInArguments(ReferenceDriver):
    def start(self, job, submission):
        given = {name: secret.reveal() for name, secret in submission.secrets.items()}
        pairs = [f"{name}={value}" for name, value in given.items()]
        spec = submission.spec
        if pairs:
            script = f'"$@"; exit $? # {shlex.join(pairs)}'
            spec = replace(spec, command=("sh", "-c", script, "sh", *spec.command))
        super().start(job, replace(submission, spec=spec))


@mutant("nf-nomad: what a dry run shows is what is sent, tokens included")
class SecretsRendered(ReferenceDriver):
    def render(self, submission):
        shown = {name: secret.reveal() for name, secret in submission.secrets.items()}
        return {**super().render(submission), "secrets": shown}


@mutant("a declared resource is not understood")
class NoCpu(ReferenceDriver):
    def _submit(self, submission, job_id):
        if submission.spec.cpu:
            return Receipt(submission.key, error=Rejected("cpu: unknown field"))
        return super()._submit(submission, job_id)


@mutant("armada-metaflow: timeouts are a TODO")
class NoTimeout(ReferenceDriver):
    def render(self, submission):
        return {**super().render(submission), "timeout": None}


@mutant("jupyterhub-nomad-spawner waits for ever on pending")
class NoQueueTimeout(ReferenceDriver):
    def render(self, submission):
        return {**super().render(submission), "queue_timeout": None}


@mutant("members of a gang start one by one")
class NoGang(ReferenceDriver):
    def render(self, submission):
        return {**super().render(submission), "gang": None}

    def start(self, job, submission):
        if submission.gang and submission.gang.index:
            time.sleep(1.0)
        super().start(job, submission)


# -- observing -----------------------------------------------------------------------------------


@mutant("snakemake-slurm: unknown, so we assume that it is finished")
class UnknownIsSuccess(ReferenceDriver):
    def snapshot(self, scope, known):
        batch = super().snapshot(scope, known)
        return replace(batch, observations=tuple(map(self.assume, batch.observations)))

    def assume(self, one):
        return Seen(one.id, S.SUCCEEDED, 1, final=True) if isinstance(one, Absent) else one


@mutant("an id that was never given is waited for")
class SilentOnUnknown(ReferenceDriver):
    def snapshot(self, scope, known):
        batch = super().snapshot(scope, known)
        return Batch(tuple(one for one in batch.observations if isinstance(one, Seen)))


@mutant("nomad #8345: the job is collected before its end was read")
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


@mutant("psij: what the queue does not list yet does not exist")
class DeniesTheNew(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.asked = Counter()

    def snapshot(self, scope, known):
        self.asked.update(known)
        new = {job_id for job_id in known if self.asked[job_id] <= 3}
        kept = [one for one in super().snapshot(scope, known).observations if one.id not in new]
        return Batch((*kept, *(Absent(job_id, time.time()) for job_id in new)))


@mutant("attempts are numbered once there is an allocation")
class NumberedAtTimes(ReferenceDriver):
    def translate(self, said, place):
        seen = super().translate(said, place)
        return replace(seen, attempt=None) if seen.state is S.QUEUED else seen


class ClientText(str):
    """A client library's own kind of text."""


@mutant("the client library's types go on travelling")
class ForeignTypes(ReferenceDriver):
    def translate(self, said, place):
        return replace(super().translate(said, place), node=ClientText("n1"))


@mutant("who watched remembers, who comes later does not")
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


@mutant("the id at hand is kept on the driver between two lines")
class SharedScratch(ReferenceDriver):
    current: Any = None

    def _submit(self, submission, job_id):
        self.current = submission
        time.sleep(0.02)
        return super()._submit(self.current, self.job_id(self.current))


# -- the error law -------------------------------------------------------------------------------


@mutant("a connection that failed is a job that was refused")
class UnreachableIsRefused(ReferenceDriver):
    def submit(self, submissions):
        if not self.settings.root.is_dir():
            for submission in submissions:
                yield Receipt(submission.key, error=Rejected("connection refused"))
            return
        yield from super().submit(submissions)


@mutant("psij: a failed poll is the end of all jobs")
class UnreachableIsAbsent(ReferenceDriver):
    def snapshot(self, scope, known):
        if not self.settings.root.is_dir():
            return Batch(tuple(Absent(job_id, time.time()) for job_id in known))
        return super().snapshot(scope, known)


@mutant("airflow-providers-nomad manager.py:88: every error is no data")
class UnreachableIsEmpty(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        if not self.settings.root.is_dir():
            return LogPage(b"", cursor or "0", eof=True)
        return super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)


@mutant("the doctor dies of the disease")
class ProbeRaises(ReferenceDriver):
    def probe(self):
        self._reach()
        return super().probe()


@mutant("the doctor looks for what is not needed")
class ProbeIsWrong(ReferenceDriver):
    def probe(self):
        return [replace(check, ok=False) for check in super().probe()]


# -- finding -------------------------------------------------------------------------------------


@mutant("toil, submitit: jobs are found by the process that submitted them")
class ListsItsOwn(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.mine = set()

    def _submit(self, submission, job_id):
        self.mine.add(job_id)
        return super()._submit(submission, job_id)

    def list(self, job_set, user):
        return [one for one in super().list(job_set, user) if one.seen.id in self.mine]


@mutant("the filter is not sent along")
class ListsAll(ReferenceDriver):
    def list(self, job_set, user):
        return super().list(None, user)


@mutant("labels are dropped on the way")
class NoLabels(ReferenceDriver):
    def list(self, job_set, user):
        return [replace(one, labels={}) for one in super().list(job_set, user)]


@mutant("a dry run that leaves something behind")
class RenderSends(ReferenceDriver):
    def render(self, submission):
        if not self.holds(self.job_id(submission)) and self.settings.root.is_dir():
            self._submit(submission, self.job_id(submission))
        return super().render(submission)


@mutant("galaxy #10480, kfp #13401: nobody says why it waits")
class NeverExplains(ReferenceDriver):
    def explain(self, ref):
        return None


@mutant("dagster-nomad run_launcher.py:84: data[0] of an empty list")
class ExplainsByIndex(ReferenceDriver):
    def explain(self, ref):
        seen = [one for one in self.told(0)[0] if one.id == ref.id]
        return super().explain(ref) if seen[0] else None


@mutant("hints for programs rather than for people")
class PathHints(ReferenceDriver):
    def hints(self, ref):
        return {"directory": self.jobs / ref.id}


# -- watching ------------------------------------------------------------------------------------


@mutant("the first batch is sent before the engine was asked")
class SubscribesLate(ReferenceDriver):
    def watch(self, scope, cursor, known):
        if cursor is None:
            yield Batch(cursor="0")
            time.sleep(0.3)
        yield from super().watch(scope, cursor, known)


@mutant("python-nomad: blocked in the read while nothing happens", patience=5.0)
class NoHeartbeat(ReferenceDriver):
    def watch(self, scope, cursor, known):
        for batch in super().watch(scope, cursor, known):
            if batch.observations or batch.cursor != cursor:
                yield batch
            cursor = batch.cursor


@mutant("Nomad starts at the closest index that it has, and says nothing")
class ClosestCursor(ReferenceDriver):
    def watch(self, scope, cursor, known):
        end = self.told(0)[1]
        yield from super().watch(scope, cursor and str(min(int(cursor), end)), known)


@mutant("a watch begins now, wherever it had been")
class ResumesNow(ReferenceDriver):
    def watch(self, scope, cursor, known):
        if cursor and int(cursor) < 1e9:
            cursor = None
        yield from super().watch(scope, cursor, known)


@mutant("the stream and the query have different words for one end")
class StreamDiffers(ReferenceDriver):
    def watch(self, scope, cursor, known):
        for batch in super().watch(scope, cursor, known):
            yield replace(batch, observations=tuple(map(self.shift, batch.observations)))

    def shift(self, one):
        return replace(one, exit_code=one.exit_code + 1) if one.exit_code else one


# -- the core ------------------------------------------------------------------------------------


@mutant("the prefect integration for Armada: the watch dies with a warning")
def watch_dies(monkeypatch):
    def work(self):
        (only,) = self._ledgers
        try:
            self._follow(only)
        except Exception:
            self._stopped = True

    monkeypatch.setattr(hub._Stream, "_work", work)


@mutant("a watch is begun again at the cursor that has expired")
def cursor_is_kept(monkeypatch):
    def work(self):
        (only,) = self._ledgers
        try:
            self._follow(only)
        except Exception:
            time.sleep(0.01)

    monkeypatch.setattr(hub._Stream, "_work", work)


@mutant("no look but through the stream, once it speaks")
def stream_alone(monkeypatch):
    monkeypatch.setattr(ledger, "FULL", 1e9)


@mutant("psij: a failed poll fails all jobs")
def failed_poll_fails_all(monkeypatch):
    def failed(self, error):
        for job_id in self.known():
            self.observe([Seen(job_id, S.FAILED, final=True, message=str(error))])

    monkeypatch.setattr(ledger.Ledger, "failed", failed)


@mutant("the last word is believed, whatever came before")
def last_word(monkeypatch):
    def fold(record, said):
        before = replace_record(record)
        return _fold(before, replace(said, seq=None) if isinstance(said, Seen) else said)

    _fold = ledger.fold

    def replace_record(record):
        kept = type(record)(record.id, intent=record.intent, submitted_at=record.submitted_at)
        return record if record.state is None else kept

    monkeypatch.setattr(ledger, "fold", fold)


@mutant("a short page is taken for the last")
def short_page_is_last(monkeypatch):
    page = logs._Reader.page

    def short(self, *, wait):
        got = page(self, wait=wait)
        self.eof = self.eof or 0 < len(got.data) < 100
        return got

    monkeypatch.setattr(logs._Reader, "page", short)


@mutant("a lost answer is a submit that never was")
def submits_anew(monkeypatch):
    from batchbridge import submit

    monkeypatch.setattr(submit, "TRIES", 1)
