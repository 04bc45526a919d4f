"""A small Armada in this process: it runs the first container of each job as a process here.

States, events and their order follow Armada's server, scheduler and ingesters (207cc9e04); what
they say of logs follows its Binoculars (``internal/binoculars/service/logs.go``).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime
from uuid import uuid4

from batchbridge_armada.protocol import event_pb2, job_pb2, submit_pb2
from tests.drivers.armada.job import CLUSTER, NODE, Job, now, ulid

EXPANDED = re.compile(r"\$\$|\$\((\w+)\)")


class Cluster:
    """All jobs and all streams. `changed` guards them, and is notified of every change."""

    def __init__(self, cpu: float = 16.0) -> None:
        self.changed = threading.Condition()
        self.cpu = cpu
        self.retries = 0
        self.queues: set[str] = set()
        self.jobs: dict[str, Job] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.streams: dict[tuple[str, str], list[event_pb2.EventStreamMessage]] = {}
        self.closed = False
        self._threads: list[threading.Thread] = []
        self._folder = tempfile.TemporaryDirectory(prefix="bb-armada-")

    # -- what is asked of it -----------------------------------------------------------------

    def originals(self, queue: str, items) -> dict[str, str]:
        """The jobs of those keys that are noted. ``submit.go`` asks before it takes any job."""
        with self.changed:
            noted = {item.client_id: self.keys.get((queue, item.client_id)) for item in items}
        return {key: job_id for key, job_id in noted.items() if key and job_id}

    def submit(self, queue: str, job_set: str, items, originals: dict[str, str]) -> list[str]:
        """The ids of the jobs, which are begun but for those that were known."""
        with self.changed:
            return [
                originals.get(item.client_id) or self._submit(queue, job_set, item)
                for item in items
            ]

    def _submit(self, queue: str, job_set: str, item) -> str:
        born = time.time()
        job = Job(ulid(born), queue, job_set, item, born)
        self.jobs[job.id] = job
        self.keys[queue, item.client_id] = job.id
        submitted = submit_pb2.Job(
            annotations=item.annotations, labels=item.labels, id=job.id, owner="anonymous"
        )
        self.tell(job, "submitted", job=submitted)
        self.tell(job, "queued")
        self._start(self._live, job)
        return job.id

    def cancel(self, job_id: str, reason: str) -> None:
        """Armada says that a job is cancelled before its pod has ended."""
        with self.changed:
            job = self.jobs.get(job_id)
            if job is None or job.over:
                return
            self.tell(job, "cancelling", requestor="anonymous")
            job.reason = reason
            self._end(job, "CANCELLED", "cancelled", requestor="anonymous")
        self._kill(job)

    def preempt(self, job_id: str, reason: str) -> None:
        """A job that has a place gives it up; ``failed`` follows ``preempted``.

        ``internal/scheduler/scheduler.go`` (1498) has the words. A job without a place, or of a
        class that does not allow it, is left alone, and nobody is told.
        """
        with self.changed:
            job = self.jobs.get(job_id)
            if job is None or job.over or job.run is None:
                return
            if job.pod.priorityClassName != "armada-preemptible":
                return
            job.error = reason or "Preempted - preemption requested via API"
            self.tell(job, "preempted", reason=job.error)
            self._end(job, "PREEMPTED", "failed", reason=job.error)
        self._kill(job)

    def reprioritise(self, job_id: str, priority: float) -> None:
        """Another place among those that wait."""
        with self.changed:
            job = self.jobs[job_id]
            job.item.priority = priority
            self.tell(job, "reprioritized", new_priority=priority)

    def close(self) -> None:
        """End every job, and wait for it."""
        with self.changed:
            self.closed = True
            jobs = list(self.jobs.values())
            self.changed.notify_all()
        for job in jobs:
            self._signal(job, signal.SIGKILL)
        for thread in self._threads:
            thread.join(10)
        self._folder.cleanup()

    # -- what it says ------------------------------------------------------------------------

    def tell(self, job: Job, kind: str, /, **fields) -> None:
        """Add one event to the job's stream."""
        self.say(job.queue, job.job_set, **{kind: self._event(job, kind, **fields)})

    def say(self, queue: str, job_set: str, **event) -> str:
        """Add a message to a stream; its id."""
        with self.changed:
            stream = self.streams.setdefault((queue, job_set), [])
            at = [int(time.time() * 1000), 0]
            if stream:
                last = [int(part) for part in stream[-1].id.split(":")[:2]]
                at = max(at, [last[0], last[1] + 1])
            message_id = f"{at[0]}:{at[1]}:0:1"
            message = event_pb2.EventMessage(**event)
            stream.append(event_pb2.EventStreamMessage(id=message_id, message=message))
            self.changed.notify_all()
            return message_id

    def _event(self, job: Job, kind: str, /, **fields):
        event = getattr(event_pb2.EventMessage(), kind)
        names = event.DESCRIPTOR.fields_by_name
        known = {"cluster_id": CLUSTER, "kubernetes_id": job.run.run_id} if job.run else {}
        if kind == "running":
            known["node_name"] = NODE
        known = {name: value for name, value in known.items() if name in names}
        base = {"job_id": job.id, "queue": job.queue, "job_set_id": job.job_set, "created": now()}
        return type(event)(**base, **known, **fields)

    # -- a job's life ------------------------------------------------------------------------

    def _start(self, work, *args) -> None:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _live(self, job: Job) -> None:
        while self._placed(job):
            self._run(job)

    def _run(self, job: Job) -> None:
        try:
            process = self._begin(job)
        except OSError as error:
            self._fail_of(job, 128, "StartError", f"cannot start: {error}")
            return
        deadline = job.pod.activeDeadlineSeconds
        timer = threading.Timer(deadline or 1e6, self._late, [job])
        timer.start()
        with process:
            for line in process.stdout or ():
                job.lines.append((stamp(), line.removesuffix(b"\n")))
        timer.cancel()
        self._ended(job, process.returncode)

    def _placed(self, job: Job) -> bool:
        """Wait for a place; whether there is one, and still a job."""
        with self.changed:
            if not job.over and (misfit := job.misfit(self.cpu)):
                job.error = misfit
                self._end(job, "REJECTED", "failed", reason=misfit, cause=4)
            while not (job.over or self.closed or self._fits(job)):
                self.changed.wait(5)
            if job.over or self.closed:
                return False
            job.run = job_pb2.JobRunDetails(
                run_id=str(uuid4()), job_id=job.id, cluster=CLUSTER, node=NODE, leased_ts=now()
            )
            self._become(job, "LEASED", "leased")
            self._become(job, "PENDING", "pending")
            return True

    def _fits(self, job: Job) -> bool:
        gang_id, size = job.gang
        members = [other for other in self.jobs.values() if other.gang[0] == gang_id]
        taken = sum(
            other.cpu
            for other in self.jobs.values()
            if other.state in ("LEASED", "PENDING", "RUNNING")
        )
        return len(members) >= size and taken + job.cpu <= self.cpu

    def _begin(self, job: Job) -> subprocess.Popen:
        container = job.pod.containers[0]
        env = {
            "PATH": os.environ["PATH"],
            "TMPDIR": tempfile.mkdtemp(dir=self._folder.name),
            "ARMADA_JOB_ID": job.id,
            "ARMADA_QUEUE": job.queue,
            "ARMADA_JOB_SET_ID": job.job_set,
        }
        for one in container.env:
            env[one.name] = expanded(one.value, env)
        with self.changed:
            if job.over:
                raise OSError("cancelled")
            job.process = subprocess.Popen(
                [expanded(word, env) for word in (*container.command, *container.args)],
                env=env,
                cwd=container.workingDir or env["TMPDIR"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            job.lines = []
            job.run.started_ts.CopyFrom(now())
            self._become(job, "RUNNING", "running")
            return job.process

    def _late(self, job: Job) -> None:
        job.over_time = True
        self._kill(job)

    def _ended(self, job: Job, code: int) -> None:
        if job.over_time:
            words = "Pod was active on the node longer than the specified deadline"
            self._fail(job, 137, "Error", words, cause=3)
        elif code:
            self._fail_of(job, 128 - code if code < 0 else code, "Error", "")
        else:
            with self.changed:
                self._end(job, "SUCCEEDED", "succeeded")

    def _fail_of(self, job: Job, code: int, word: str, message: str) -> None:
        """The container ended so, and with it the pod."""
        because = f"Container main failed with exit code {code} because {word}: {message}\n"
        self._fail(job, code, word, because)

    def _fail(self, job: Job, code: int, word: str, reason: str, cause: int = 0) -> None:
        status = event_pb2.ContainerStatus(name="main", exitCode=code, reason=word)
        with self.changed:
            job.error = job.error if job.over else reason
            what = {"reason": reason, "container_statuses": [status], "cause": cause}
            if self._retried(job):
                job.run.finished_ts.CopyFrom(now())
                self._become(job, "QUEUED", "failed", retryable=True, **what)
            else:
                self._end(job, "FAILED", "failed", **what)

    def _retried(self, job: Job) -> bool:
        """As ``docs/retry_policies.md`` has it: the same job, another run, a pod of that name."""
        once = job.item.annotations.get("armadaproject.io/failFast") == "true"
        job.failures += 1
        return not (once or job.over or self.closed) and job.failures <= self.retries

    def _become(self, job: Job, state: str, kind: str, **fields) -> None:
        job.state = state
        job.changed.CopyFrom(now())
        self.tell(job, kind, **fields)

    def _end(self, job: Job, state: str, kind: str, **fields) -> None:
        if job.run:
            job.run.finished_ts.CopyFrom(now())
        if not job.over:
            self._become(job, state, kind, **fields)

    def _kill(self, job: Job) -> None:
        self._signal(job, signal.SIGTERM)
        if job.process:
            timer = threading.Timer(0.5, self._signal, [job, signal.SIGKILL])
            timer.start()
            self._threads.append(timer)

    def _signal(self, job: Job, number: int) -> None:
        if job.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, number)


def expanded(text: str, env: dict[str, str]) -> str:
    """What Kubernetes makes of a word of a command."""
    return EXPANDED.sub(
        lambda m: "$" if m[0] == "$$" else env.get(m[1], m[0]),
        text,
    )


def stamp() -> str:
    """The time of a line, as Kubernetes writes it."""
    at = time.time_ns()
    second = datetime.fromtimestamp(at // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{second}.{at % 10**9:09}Z"
