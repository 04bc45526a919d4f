"""The Armada that the benchmarks run on: the one with a fakeexecutor that the environment names.

Its pods succeed by themselves, so that jobs cost this machine little but what is measured.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from batchbridge.model import JobSpec, Submission
from batchbridge_armada import ArmadaDriver
from benchmarks.harness import NotRun
from localdev.armada_ready import STATE_VARIABLE
from localdev.armada_state import Stack, load

SPEC: Mapping[str, Any] = {"command": ["true"], "image": "busybox", "cpu": 0.01, "memory": "64M"}
CORDONED = "batchbridge-cordoned"
"""A queue whose jobs are accepted and wait, so that handing them over is all there is."""


@dataclass(frozen=True, slots=True)
class JobSet:
    """Where the jobs of one round go."""

    address: str
    queue: str
    name: str

    @property
    def words(self) -> tuple[str, str, str]:
        """The same as arguments of a script."""
        return self.address, self.queue, self.name

    def payloads(self, amount: int) -> list[bytes]:
        """The messages with which batchbridge submits so many jobs, a line each."""
        from batchbridge_armada import wire  # here: it imports Armada's client

        driver = ArmadaDriver(ArmadaDriver.Settings(queue=self.queue))
        spec, first = JobSpec.parse(SPEC), uuid4().hex
        keys = (f"{first}-{n}" for n in range(amount))
        jobs = (Submission(key, spec, self.name, "bench") for key in keys)
        items = (wire.item(driver.render(job)) for job in jobs)
        return [b64encode(item.SerializeToString()) for item in items]

    def cancel(self) -> None:
        """End what is left of its jobs."""
        with closing(ArmadaDriver(ArmadaDriver.Settings(address=self.address))) as driver:
            driver.cancel_set((self.queue, self.name), job_set=self.name, reason="benchmark")


def stack() -> Stack:
    """What runs; NotRun unless it is an Armada with a fakeexecutor."""
    state = os.environ.get(STATE_VARIABLE, "")
    there = load(Path(state)) if state else None
    if there is None or there.dead() or there.kind != "fake-executor":
        raise NotRun(f"{STATE_VARIABLE} names no fakeexecutor of localdev/armada")
    _make_cordoned(there)
    return there


@contextmanager
def job_set(armada: Stack, *, waits: bool) -> Iterator[JobSet]:
    """A new one, in the usual queue or in the one whose jobs wait; cancelled at the end."""
    queue = CORDONED if waits else armada.queue
    jobs = JobSet(armada.address, queue, f"bench-{time.time_ns():x}")
    try:
        yield jobs
    finally:
        jobs.cancel()


def _make_cordoned(armada: Stack) -> None:
    import grpc

    from batchbridge_armada.protocol import submit_pb2, submit_pb2_grpc

    queue = submit_pb2.Queue(name=CORDONED, priority_factor=1, cordoned=True)
    with grpc.insecure_channel(armada.address) as channel:
        try:
            submit_pb2_grpc.QueueServiceStub(channel).CreateQueue(queue, timeout=10)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise NotRun(f"{armada.address} cannot be asked: {error.details()}") from error
