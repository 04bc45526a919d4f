"""Record what a real Armada streams: ``python -m tests.drivers.armada.record --help``.

One file a scenario: a line that says what was recorded and how, then one message a line: its bytes,
so that a client library of any age reads what it would have received, and what they say. Without
--write what is told now is compared with what was recorded, and a difference fails.
"""

from __future__ import annotations

import json
import os
import signal
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import grpc
from google.protobuf.json_format import MessageToDict

from batchbridge.model import JobRef, JobSpec, Submission
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.api import Api
from batchbridge_armada.protocol import event_pb2, submit_pb2, submit_pb2_grpc
from localdev.armada_ready import settings_of
from localdev.armada_state import Stack
from tests.drivers.armada.likeness import differences
from tests.drivers.armada.stacks import Kind, armada, kinds

HOME = Path(__file__).with_name("recordings")
QUEUE, RETRYING = "recorded", "recorded-retrying"
LAST = ("succeeded", "cancelled", "failed")
LONG = "exec sleep 600 # $(( (RANDOM % 1) + 600 ))"
LITTLE = {"cpu": "10m", "memory": "16Mi"}
BESIDE = {
    "containers": [
        {"name": "main"},
        {
            "name": "beside",
            "image": "busybox",
            "command": ["sh", "-c", "exit 5"],
            "resources": {"requests": LITTLE, "limits": LITTLE},
        },
    ]
}
EXPOSED = {"services": [{"ports": [8080]}]}  # of services the fakeexecutor has none, and fails
HUNGRY = "kept=$(head -c 300000000 /dev/zero | tr '\\0' x); sleep 600"


class Recorder:
    """One Armada, and one job set a scenario."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = settings_of(stack)
        self.api = Api(self.settings)
        self.driver = ArmadaDriver(self.settings)
        self.messages: list[event_pb2.EventStreamMessage] = []

    def run(self, scenario: Scenario, **fields: Any) -> list[dict]:
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


# -- scenarios -------------------------------------------------------------------------------

Scenario = Callable[[Recorder, JobRef, Iterator[str]], None]
Scenarios = Mapping[str, tuple[Scenario, Mapping[str, Any]]]


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
    recorder.driver.preempt([ref], reason="recorded")
    to_the_end(recorder, ref, told)


def lease_expired(recorder: Recorder, ref: JobRef, told: Iterator[str]) -> None:
    """Stop its cluster's executor once it runs, until Armada has given the lease up."""
    next(kind for kind in told if kind == "running")
    started = recorder.stack.processes
    executor = started.get("executor", started.get("fakeexecutor"))
    assert executor is not None
    os.kill(executor.pid, signal.SIGSTOP)
    try:
        to_the_end(recorder, ref, told)
    finally:
        os.kill(executor.pid, signal.SIGCONT)


FAKE: Scenarios = {
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
REAL: Scenarios = {
    "real_succeeded": (to_the_end, {}),
    "real_exit_code": (to_the_end, {"command": "exit 3"}),
    "real_signal": (to_the_end, {"command": "kill -9 $$"}),
    "real_oom": (to_the_end, {"command": HUNGRY}),
    "real_evicted": (
        to_the_end,
        {"command": "head -c 40000000 /dev/zero > big; exec sleep 600", "disk": "10M"},
    ),
    "real_deadline": (to_the_end, {"command": "exec sleep 600", "timeout": 3}),
    "real_missing": (to_the_end, {"command": ["/no/such/program"]}),
    "real_image": (to_the_end, {"image": "https://no.image"}),
    "real_image_pull": (to_the_end, {"image": "registry.invalid/none:1"}),
    "real_retryable": (to_the_end, {"command": "exit 3", "queue": RETRYING, "reruns": True}),
    "real_preempted": (
        preempted,
        {"command": LONG, "options": {"priority_class": "armada-preemptible"}},
    ),
    "real_lease_expired": (lease_expired, {"command": LONG}),
}
KUBERNETES: Scenarios = {
    **{name: scenario for name, scenario in REAL.items() if name != "real_image_pull"},
    "kubernetes_image_pull": (to_the_end, {"image": "busybox:none-there"}),
    "kubernetes_refused": (to_the_end, {"options": {"service_account": "none-there"}}),
    "kubernetes_refused_again": (
        to_the_end,
        {"options": {"service_account": "none-there"}, "queue": RETRYING, "reruns": True},
    ),
    "kubernetes_beside": (to_the_end, {"options": {"pod": BESIDE}}),
}
"""Most is what processes were recorded for: Kubernetes tells it in the same words."""

OF: Mapping[Kind, Scenarios] = {"fake-executor": FAKE, "processes": REAL, "no-auth": KUBERNETES}
EXECUTORS: Mapping[Kind, str] = {
    "fake-executor": "fakeexecutor",
    "processes": "executor",
    "no-auth": "executor on Kubernetes",
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


# -- the command -----------------------------------------------------------------------------


@click.command(help=__doc__)
@click.option("--bin", "bin_", required=True, help="Armada's programs, already built.")
@click.option("--checkout", required=True, help="The checkout that they are of.")
@click.option("--kubeconfig", default="", help="A Kubernetes to record on, too.")
@click.option("--write", is_flag=True, help="Replace what was recorded.")
@click.argument("names", nargs=-1, type=click.Choice(sorted({*FAKE, *REAL, *KUBERNETES})))
def main(bin_: str, checkout: str, kubeconfig: str, write: bool, names: tuple[str, ...]) -> None:
    different = [
        name
        for kind in kinds(kubeconfig)
        if not names or set(names) & set(OF[kind])
        for name, messages in _made(kind, bin_, checkout, kubeconfig, names)
        if not _kept(name, messages, write=write)
    ]
    if different:
        raise click.ClickException(f"different: {', '.join(different)}")


def _made(
    kind: Kind, bin_: str, checkout: str, kubeconfig: str, names: tuple[str, ...]
) -> Iterator[tuple[str, list[dict]]]:
    """Each recording that an Armada of that kind makes, its head first."""
    with armada(kind, bin=bin_, checkout=checkout, kubeconfig=kubeconfig) as (_, stack):
        prepare(stack.address)
        recorder = Recorder(stack)
        for name, (scenario, fields) in OF[kind].items():
            if not names or name in names:
                head = {"armada": stack.version, "executor": EXECUTORS[kind], "scenario": name}
                yield name, [head, *recorder.run(scenario, **fields)]


def _kept(name: str, lines: list[dict], *, write: bool) -> bool:
    """Write it, or say how it differs; False if it does."""
    path = HOME / f"{name}.jsonl"
    if write:
        path.write_text("".join(f"{json.dumps(line, sort_keys=True)}\n" for line in lines))
        click.echo(f"{name}: {len(lines) - 1} messages", err=True)
        return True
    old = [json.loads(line) for line in path.read_text().splitlines()]
    found = differences(*([line["says"] for line in told[1:]] for told in (old, lines)))
    click.echo("\n".join([f"{name}: {'different' if found else 'the same'}", *found]), err=True)
    return not found


if __name__ == "__main__":
    main()
