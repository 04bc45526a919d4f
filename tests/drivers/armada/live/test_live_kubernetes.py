"""What a real Armada has its clusters do for a job, and what it says when one cannot."""

from __future__ import annotations

import os
import signal
import time
from uuid import uuid4

import grpc
import pytest

from batchbridge.model import Cause, JobSpec, JobState
from batchbridge_armada.protocol import job_pb2, job_pb2_grpc
from localdev.armada_ready import await_ready
from tests.drivers.armada.helpers import until
from tests.drivers.armada.live.conftest import MODEST
from tests.drivers.armada.live.test_live_any import lasting, running

SECRETS = "/api/v1/namespaces/default/secrets"
SERVICES = "/api/v1/services"
INGRESSES = "/apis/networking.k8s.io/v1/ingresses"


@pytest.fixture(autouse=True)
def _real(real):
    """On nothing else."""


def test_a_secret_s_keys_reach_the_command(submit, kubernetes):
    name, value = f"s-{uuid4().hex}", f"hidden-{uuid4().hex}"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
    kubernetes.create(SECRETS, {**secret, "stringData": {"ONE": value, "TWO": f"{value}2"}})
    job = submit(
        ["sh", "-c", 'test "$TOKEN $ONE $TWO" = "$1 $1 ${1}2"; echo $?', "sh", value],
        options={"secret_env": {"TOKEN": {"secret": name, "key": "ONE"}}, "secret_names": [name]},
    )
    assert b"".join(chunk.data for chunk in job.logs()) == b"0\n"


def test_a_secret_that_is_not_there_keeps_the_job_pending(submit):
    job = submit(options={"secret_names": ["gone"]})
    for event in job.events():
        if event.record.state is JobState.PENDING:
            break
    assert "kubectl" in job.explain().remedy


def test_an_image_that_cannot_be_pulled_is_the_image_s_fault(submit):
    record = submit(image="registry.invalid/none:1").wait(timeout=120)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.IMAGE)
    assert 'Failed to pull image "registry.invalid/none:1"' in record.message


def test_a_command_s_ports_have_a_service_and_an_ingress(submit, kubernetes):
    job = submit(
        lasting(60),
        options={
            "services": [{"ports": [8080], "type": "NodePort"}, {"ports": [8081]}],
            "ingress": [{"ports": [8080]}],
        },
    )
    running(job)

    def ours(path):
        return [one for one in kubernetes.items(path) if job.ref.id in one["metadata"]["name"]]

    ports = {port["port"] for service in ours(SERVICES) for port in service["spec"]["ports"]}
    assert ports == {8080, 8081}
    (ingress,) = ours(INGRESSES)
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["port"]["number"] == 8080


def test_a_job_is_found_by_what_another_system_calls_it(stack, submit):
    uri = f"metaflow://{uuid4().hex}"
    job = submit(options={"external_job_uri": uri})
    ask = job_pb2.JobStatusUsingExternalJobUriRequest(
        queue=stack.queue, jobset=submit.job_set, external_job_uri=uri
    )
    with grpc.insecure_channel(stack.address) as channel:
        stub = job_pb2_grpc.JobsStub(channel)
        until(
            lambda: job.ref.id in stub.GetJobStatusUsingExternalJobUri(ask).job_states, patience=60
        )


def test_a_cancelled_command_that_does_not_listen_has_its_grace(client, submit, shared, tmp_path):
    beat = tmp_path / "beat"
    job = submit(
        f"trap '' TERM; echo up; while :; do date +%s.%N > {beat}; sleep 0.1; done",
        options={"grace": 2, **shared},
    )
    assert next(chunk.data for chunk in job.logs() if chunk.data) == b"up\n"
    job.cancel()
    assert job.wait(timeout=90).state is JobState.CANCELLED
    told = time.time()

    def silent():
        return time.time() - beat.stat().st_mtime > 2

    until(silent, patience=60)
    spec = JobSpec.parse({**MODEST, "command": "true", "options": {"grace": 2}})
    assert beat.stat().st_mtime < told + client.driver.linger(spec)


def test_a_gang_whose_member_fails_is_ended(client):
    job_set = f"live-{uuid4().hex}"
    specs = [{**MODEST, "command": lasting(600), "job_set": job_set} for _ in range(2)]
    first, second = client.submit_many([{**specs[0], "command": "exit 3"}, specs[1]], gang=True)
    assert first.wait(timeout=120).exit_code == 3
    assert second.wait(timeout=120).state is JobState.CANCELLED


def test_the_priority_of_a_job_that_waits_is_changed(client, submit, most):
    first = submit(lasting(600), cpu=most)
    running(first)
    low, high = (submit(cpu=most, options={"priority": 10}) for _ in range(2))
    client.reprioritise([high], 1)
    first.cancel()
    ends = [job.result(timeout=120).finished_at for job in (high, low)]
    assert ends == sorted(ends)


@pytest.mark.slow
def test_a_cluster_that_is_silent_loses_its_jobs(stack, state, submit):
    job = submit(lasting(600))
    running(job)
    executor = stack.processes["executor"].pid
    os.kill(executor, signal.SIGSTOP)
    try:
        record = job.wait(timeout=180)
    finally:
        os.kill(executor, signal.SIGCONT)
        await_ready(stack, within=120, alive=lambda: None)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.NODE_LOST)
