"""What is declared, and what becomes of a submission."""

from __future__ import annotations

import os
import shlex
import threading
import time
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from batchbridge.driver import BatchDriver
from batchbridge.errors import Rejected
from batchbridge.model import Receipt
from tests.testing.mutants.registry import UNDER_FAULTS, mutant
from tests.testing.reference import ReferenceDriver


@dataclass
class LooseSettings:
    root: Path = field(default=Path())


@mutant("settings that anybody may change, and nobody explains", "class")
class Undeclared(ReferenceDriver):
    Settings = LooseSettings


@mutant(
    "a capability is declared because the engine has it",
    "declared_verbs_exist",
    "labels",
    "list",
    "list_of_another_set",
    "render",
    "secret_is_shown_to_nobody",
    "cancel_set",
    *UNDER_FAULTS,
)
class DeclaredOnly(ReferenceDriver):
    list = BatchDriver.list


@mutant("psij: the constructor starts threads and writes ~/.psij", "constructor_does_nothing")
class BusyConstructor(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        if settings.root.is_dir():
            (settings.root / "settings.json").write_text("{}")


@mutant("a scope for each call", "list", "scope")
class NewScopes(ReferenceDriver):
    calls = 0

    def scope_of(self, submission):
        self.calls += 1
        return (str(self.calls),)


@mutant(
    "armada-metaflow, airflow-providers-armada: submits are retried and carry no client_id",
    "lost_acknowledgement",
    "same_key",
    "same_key_after_the_end",
    "same_key_from_many_threads",
    "same_key_other_spec",
)
class RandomIds(ReferenceDriver):
    def job_id(self, submission):
        return os.urandom(8).hex()


@mutant("one id for all that one call submits", "many_at_once")
class OneIdPerCall(ReferenceDriver):
    def submit(self, submissions):
        first = None
        for receipt in super().submit(submissions):
            first = first or receipt.id
            yield replace(receipt, id=receipt.id and first)


@mutant(
    "a key is forgotten when its job has ended",
    "same_key_after_the_end",
    perhaps_by={"lost_acknowledgement", "same_key_from_many_threads"},
)
class KeyDiesWithTheJob(ReferenceDriver):
    def _older(self, submission, job):
        over = any(seen.final for seen in self.told(0)[0] if seen.id == job.name)
        if not over:
            return super()._older(submission, job)
        job.rename(job.with_name(f"{job.name}-{time.time_ns()}"))
        return self._submit(submission, job.name)


@mutant("the key and the spec name the job together", "same_key_other_spec")
class SpecIsInTheKey(ReferenceDriver):
    def job_id(self, submission):
        return sha256(f"{submission.key}{submission.digest}".encode()).hexdigest()[:16]


@mutant("airflow-providers-nomad manager.py:214: look, then register", "same_key_from_many_threads")
class LookThenAct(ReferenceDriver):
    def _submit(self, submission, job_id):
        fresh = not self.holds(job_id)
        time.sleep(0.05)
        if fresh and self.holds(job_id):
            job_id = os.urandom(8).hex()
        return super()._submit(submission, job_id)


@mutant(
    "the job is started by the process that submitted it, when it finds the time",
    "submitter_is_killed",
    perhaps_by={"cancel_set"},
)
class StartsLater(ReferenceDriver):
    def start(self, job, submission):
        threading.Timer(0.1, super().start, (job, submission)).start()


@mutant(
    "snakemake and many more: the submitter's environment is the job's",
    "environment_of_the_submitter_stays",
)
class WholeEnvironment(ReferenceDriver):
    def environment(self, submission):
        return {**os.environ, **super().environment(submission)}


@mutant("a variable's value is put through the shell", "env")
class ShellExpands(ReferenceDriver):
    def environment(self, submission):
        given = super().environment(submission)
        return {name: value.replace("$HOME", "/root") for name, value in given.items()}


@mutant("the working directory is where the engine likes it", "workdir")
class NoWorkdir(ReferenceDriver):
    def start(self, job, submission):
        spec = replace(submission.spec, workdir=None)
        super().start(job, replace(submission, spec=spec))


@mutant("files are accepted and left behind", "upload")
class NoFiles(ReferenceDriver):
    def start(self, job, submission):
        super().start(job, replace(submission, files=None))


@mutant("armada-metaflow: [] is passed for the secrets", "secret")
class NoSecrets(ReferenceDriver):
    def environment(self, submission):
        return super().environment(replace(submission, secrets={}))


@mutant(
    "armada-metaflow: keys are copied into the pod's spec as they are", "secret_is_shown_to_nobody"
)
class SecretsInArguments(ReferenceDriver):
    def start(self, job, submission):
        given = {name: secret.reveal() for name, secret in submission.secrets.items()}
        pairs = [f"{name}={value}" for name, value in given.items()]
        spec = submission.spec
        if pairs:
            script = f'"$@"; exit $? # {shlex.join(pairs)}'
            spec = replace(spec, command=("sh", "-c", script, "sh", *spec.command))
        super().start(job, replace(submission, spec=spec))


@mutant("nf-nomad: what a dry run shows is what is sent, tokens included", "secret_is_not_rendered")
class SecretsRendered(ReferenceDriver):
    def render(self, submission):
        shown = {name: secret.reveal() for name, secret in submission.secrets.items()}
        return {**super().render(submission), "secrets": shown}


@mutant("a declared resource is not understood", "resources")
class NoCpu(ReferenceDriver):
    def _submit(self, submission, job_id):
        if submission.spec.cpu:
            return Receipt(submission.key, error=Rejected("cpu: unknown field"))
        return super()._submit(submission, job_id)


@mutant("armada-metaflow: timeouts are a TODO", "timeout")
class NoTimeout(ReferenceDriver):
    def render(self, submission):
        return {**super().render(submission), "timeout": None}


@mutant("jupyterhub-nomad-spawner waits for ever on pending", "queue_timeout")
class NoQueueTimeout(ReferenceDriver):
    def render(self, submission):
        return {**super().render(submission), "queue_timeout": None}


@mutant("members of a gang start one by one", "gang")
class NoGang(ReferenceDriver):
    def render(self, submission):
        return {**super().render(submission), "gang": None}

    def start(self, job, submission):
        if submission.gang and submission.gang.index:
            time.sleep(1.0)
        super().start(job, submission)
