"""Record what a real Armada streams: ``python -m tests.drivers.armada.record --help``.

One file a scenario: a line that says what was recorded and how, then one message a line: its bytes,
so that a client library of any age reads what it would have received, and what they say.
The cluster must be of Armada's fakeexecutor, whose pods succeed after the seconds that their
command names, and which offers no services. Needs the right to create queues and retry policies.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import grpc
from google.protobuf.json_format import MessageToDict

from batchbridge.model import JobRef, JobSpec, Submission
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.api import Api
from batchbridge_armada.protocol import event_pb2, submit_pb2, submit_pb2_grpc
from batchbridge_armada.settings import ArmadaSettings

QUEUE, RETRYING = "recorded", "recorded-retrying"
LAST = ("succeeded", "cancelled", "failed")
LONG = "sleep $(( (RANDOM % 1) + 600 ))"
EXPOSED = {"services": [{"ports": [8080]}]}  # of services the fakeexecutor has none, and fails


class Recorder:
    """One Armada, and one job set a scenario."""

    def __init__(self, address: str, executor: int | None) -> None:
        self.settings = ArmadaSettings(address=address, queue=QUEUE)
        self.api = Api(self.settings)
        self.driver = ArmadaDriver(self.settings)
        self.executor = executor
        self.messages: list = []

    def run(self, scenario: Scenario, **fields: object) -> list[dict]:
        """Submit one job, do what the scenario does to it, and return all that was streamed."""
        self.messages = []
        queue, job_set = fields.pop("queue", QUEUE), f"recording-{uuid4().hex}"
        form = {"command": "true", "image": "busybox", "cpu": 0.1, "memory": "64M", **fields}
        options = {"queue": queue, **form.pop("options", {})}
        spec = JobSpec.parse({**form, "options": options})
        values = self.driver.render(Submission(uuid4().hex, spec, job_set, "recorder"))
        (job_id,) = self.api.submit(queue, job_set, [self.api.item(values)])
        ref = JobRef("armada", "-", (queue, job_set), job_id)
        told = self.told(queue, job_set)
        with closing(told):
            scenario(self, ref, told)
        return [line(message) for message in self.messages]

    def told(self, queue: str, job_set: str) -> Iterator[str]:
        """The kinds of messages, as they come; each is kept."""
        stream = self.api.events(queue, job_set, "", watch=True)
        try:
            for message in stream.read():
                self.messages.append(message)
                yield message.message.WhichOneof("events") or "unknown"
        finally:
            stream.break_off()

    def over(self) -> bool:
        """Whether the last message ends the job."""
        event = self.messages[-1].message
        kind = event.WhichOneof("events")
        return kind in LAST and not (kind == "failed" and event.failed.retryable)


def line(message: event_pb2.EventStreamMessage) -> dict:
    """One line of a recording."""
    wire = b64encode(message.SerializeToString(deterministic=True)).decode()
    return {"wire": wire, "says": MessageToDict(message, preserving_proto_field_name=True)}


Scenario = Callable[[Recorder, JobRef, Iterator[str]], None]


def to_the_end(recorder: Recorder, ref: JobRef, told: Iterator[str]) -> None:
    """Wait."""
    for _ in told:
        if recorder.over():
            return


def cancelled(recorder: Recorder, ref: JobRef, told: Iterator[str]) -> None:
    """Cancel it once it runs."""
    next(kind for kind in told if kind == "running")
    recorder.driver.cancel([ref], reason="recorded")
    to_the_end(recorder, ref, told)


def cancelled_at_once(recorder: Recorder, ref: JobRef, told: Iterator[str]) -> None:
    """Cancel it while it waits."""
    recorder.driver.cancel([ref], reason="recorded")
    to_the_end(recorder, ref, told)


def preempted(recorder: Recorder, ref: JobRef, told: Iterator[str]) -> None:
    """Preempt it once it runs."""
    next(kind for kind in told if kind == "running")
    queue, job_set = ref.scope
    request = submit_pb2.JobPreemptRequest(queue=queue, job_set_id=job_set, job_ids=[ref.id])
    with grpc.insecure_channel(recorder.settings.address) as channel:
        submit_pb2_grpc.SubmitStub(channel).PreemptJobs(request)
    to_the_end(recorder, ref, told)


def lease_expired(recorder: Recorder, ref: JobRef, told: Iterator[str]) -> None:
    """Stop its cluster's executor once it runs, until Armada has given the lease up."""
    next(kind for kind in told if kind == "running")
    os.kill(recorder.executor or 0, signal.SIGSTOP)
    try:
        to_the_end(recorder, ref, told)
    finally:
        os.kill(recorder.executor or 0, signal.SIGCONT)


SCENARIOS: dict[str, tuple[Scenario, dict]] = {
    "succeeded": (to_the_end, {}),
    "cancelled": (cancelled, {"command": LONG}),
    "cancelled_at_once": (cancelled_at_once, {"command": LONG}),
    "rejected": (to_the_end, {"cpu": 1000.0}),
    "failed": (to_the_end, {"options": EXPOSED}),
    "failed_retryable": (
        to_the_end,
        {"options": EXPOSED, "queue": RETRYING, "reruns": True},
    ),
    "preempted": (
        preempted,
        {"command": LONG, "options": {"priority_class": "armada-preemptible"}},
    ),
    "lease_expired": (lease_expired, {"command": LONG}),
}


def prepare(address: str) -> None:
    """Make the queues, one of them with a policy that retries once whatever failed."""
    policy = submit_pb2.RetryPolicy(name="once", retry_limit=1, default_action="RETRY_ACTION_RETRY")
    with grpc.insecure_channel(address) as channel:
        policies = submit_pb2_grpc.RetryPolicyServiceStub(channel)
        queues = submit_pb2_grpc.QueueServiceStub(channel)
        calls = [
            (policies.CreateRetryPolicy, policy),
            (queues.CreateQueue, submit_pb2.Queue(name=QUEUE, priority_factor=1)),
            (
                queues.CreateQueue,
                submit_pb2.Queue(name=RETRYING, priority_factor=1, retry_policies=["once"]),
            ),
        ]
        for call, request in calls:
            try:
                call(request)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                    raise
    time.sleep(10)  # until every part of Armada has heard of them


def main() -> None:
    """Record the scenarios that are named, or all that this stack can play."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="localhost:50051", help="host:port of the server")
    parser.add_argument("--version", required=True, help="Armada's version, for the record")
    parser.add_argument("--executor", type=int, help="pid of the executor, for lease_expired")
    parser.add_argument("--into", type=Path, default=Path(__file__).with_name("recordings"))
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="all, if none")
    given = parser.parse_args()
    prepare(given.address)
    recorder = Recorder(given.address, given.executor)
    for name in given.scenario or SCENARIOS:
        scenario, fields = SCENARIOS[name]
        if name == "lease_expired" and not given.executor:
            continue
        messages = recorder.run(scenario, **fields)
        head = {"armada": given.version, "executor": "fakeexecutor", "scenario": name}
        lines = [json.dumps(line, sort_keys=True) for line in (head, *messages)]
        (given.into / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{name}: {len(messages)} messages", file=sys.stderr)


if __name__ == "__main__":
    main()
