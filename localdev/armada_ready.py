"""When an Armada may be used: its queue is there, and a probe job has a place. How to use it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from batchbridge import Client
from batchbridge.errors import BatchBridgeError, ConfigError
from batchbridge.model import Cause, JobSpec, JobState
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.settings import ArmadaSettings
from localdev.armada_state import Stack
from localdev.common import Failed, listed, unlisted

PROFILE = "localdev-armada"
PROFILES = "config.toml"
CONFIG = "BATCHBRIDGE_CONFIG"
KIND_VARIABLE, STATE_VARIABLE = "LOCALDEV_ARMADA", "LOCALDEV_ARMADA_STATE"
"""Where the live tests learn what they run on."""

PROBE = JobSpec(command=("true",), image="busybox", cpu=0.1, memory=64 << 20, job_set="probe")
PLACED = (JobState.LEASED, JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED)


def settings_of(stack: Stack) -> ArmadaSettings:
    """How batchbridge reaches it."""
    return ArmadaSettings(address=stack.address, queue=stack.queue, binoculars=stack.binoculars)


def await_ready(stack: Stack, *, within: float, alive: Callable[[], None]) -> None:
    """Make the queue and submit probe jobs until one has a place; Failed if none gets one.

    A scheduler that has not heard of its clusters yet rejects what would fit. `alive` raises if
    what should become ready has ended.
    """
    deadline = time.monotonic() + within
    said = "it does not answer"
    while time.monotonic() < deadline:
        alive()
        try:
            make_queue(stack)
            said = _probe(stack, deadline)
            if not said:
                return
        except BatchBridgeError as error:
            said = str(error)
        time.sleep(0.5)
    raise Failed(f"Armada is not ready after {within:g} s: {said}")


def make_queue(stack: Stack) -> None:
    """Make the queue unless it is there; a BatchBridgeError where that cannot be."""
    import grpc  # here, so that `status` need not wait for it

    from batchbridge_armada.protocol import submit_pb2, submit_pb2_grpc

    queue = submit_pb2.Queue(name=stack.queue, priority_factor=1)
    with grpc.insecure_channel(stack.address) as channel:
        try:
            submit_pb2_grpc.QueueServiceStub(channel).CreateQueue(queue, timeout=5)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise ConfigError(f"no queue can be made: {error.details()}") from error


def _probe(stack: Stack, deadline: float) -> str:
    """Submit one job; the empty string once it has a place, else what was said of it."""
    with Client(driver=ArmadaDriver(settings_of(stack)), journal=False) as client:
        job = client.submit(PROBE)
        for event in job.events():
            if event.record.state in PLACED or time.monotonic() > deadline:
                break
        client.cancel([job], reason="probe")
        record = job.record
    if record.state in PLACED:
        return ""
    rejected = record.cause is Cause.REJECTED
    return f"a probe job {'was rejected' if rejected else f'is {record.state}'}: {record.message}"


# -- its users -------------------------------------------------------------------------------


def profile(stack: Stack) -> str:
    """The settings of batchbridge for it."""
    keys = {"address": stack.address, "queue": stack.queue, "binoculars": stack.binoculars}
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items() if value]
    return "\n".join([f"[profile.{PROFILE}]", 'backend = "armada"', *lines, ""])


def environment(stack: Stack, state: Path, configs: str) -> dict[str, str]:
    """What batchbridge, Metaflow and the live tests need to use it.

    `configs`: what BATCHBRIDGE_CONFIG lists already.
    """
    host, _, port = stack.address.rpartition(":")
    logs_host, _, logs_port = stack.binoculars.rpartition(":")
    logs = {
        "BATCHBRIDGE_ARMADA_BINOCULARS": stack.binoculars,
        "METAFLOW_ARMADA_LOGGING_HOST": logs_host,
        "METAFLOW_ARMADA_LOGGING_PORT": logs_port,
    }
    return {
        CONFIG: listed(configs, state / PROFILES),
        "BATCHBRIDGE_ARMADA_ADDRESS": stack.address,
        "BATCHBRIDGE_ARMADA_QUEUE": stack.queue,
        "METAFLOW_ARMADA_HOST": host,
        "METAFLOW_ARMADA_PORT": port,
        "METAFLOW_ARMADA_QUEUE": stack.queue,
        **(logs if stack.binoculars else {}),
        **(_datastore(state) if stack.kind == "processes" else {}),
        KIND_VARIABLE: f"{stack.kind} {stack.version}",
        STATE_VARIABLE: str(state),
    }


def forgotten(stack: Stack, state: Path, configs: str) -> tuple[dict[str, str], list[str]]:
    """What :func:`environment` set: that which has another value without it, and the rest."""
    ours = [name for name in environment(stack, state, configs) if name != CONFIG]
    others = unlisted(configs, state / PROFILES)
    return ({CONFIG: others}, ours) if others else ({}, [CONFIG, *ours])


def _datastore(state: Path) -> dict[str, str]:
    """Metaflow's, where its steps are processes of this machine."""
    return {
        "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(state / "datastore"),
        "METAFLOW_DEFAULT_METADATA": "local",
    }
