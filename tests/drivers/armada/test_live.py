"""What a real Armada with its fakeexecutor does: pods succeed after the seconds they name."""

from __future__ import annotations

import os
import time
from uuid import uuid4

import grpc
import pytest

from batchbridge import Client, JobFailed, as_completed
from batchbridge.model import Cause, JobState
from batchbridge_armada import ArmadaDriver

ADDRESS = os.environ.get("BATCHBRIDGE_ARMADA", "")
QUEUE = "batchbridge-live"

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not ADDRESS,
        reason="BATCHBRIDGE_ARMADA names no server of an Armada with a fakeexecutor,"
        " e.g. localhost:50051",
    ),
]

LONG = "sleep $(( (RANDOM % 1) + 600 ))"


@pytest.fixture(scope="module", autouse=True)
def _queue():
    from batchbridge_armada.protocol import submit_pb2, submit_pb2_grpc

    with grpc.insecure_channel(ADDRESS) as channel:
        stub = submit_pb2_grpc.QueueServiceStub(channel)
        try:
            stub.CreateQueue(submit_pb2.Queue(name=QUEUE, priority_factor=1))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise


@pytest.fixture
def client():
    driver = ArmadaDriver(ArmadaDriver.Settings(address=ADDRESS, queue=QUEUE))
    with Client(driver=driver, journal=False) as client:
        yield client


@pytest.fixture
def submit(client):
    jobs = []

    def submit(command="true", **fields):
        form = {"image": "busybox", "cpu": 0.1, "memory": "64M", "job_set": f"live-{uuid4().hex}"}
        jobs.append(client.submit(command, **{**form, **fields}))
        return jobs[-1]

    yield submit
    client.cancel([job for job in jobs if not job.done()], reason="the test is over")


def running(job, patience=60):
    deadline = time.monotonic() + patience
    for event in job.events():
        if event.record.state is JobState.RUNNING:
            return
        assert time.monotonic() < deadline


def states(job):
    return [event.record.state for event in job.events() if not event.inferred]


def test_a_job_succeeds(submit):
    job = submit()
    assert job.result(timeout=90).state is JobState.SUCCEEDED
    told = states(job)
    assert told[:2] == [JobState.SUBMITTED, JobState.QUEUED]
    assert told[-1] is JobState.SUCCEEDED


def test_the_same_key_is_the_same_job(submit):
    key, job_set = uuid4().hex, f"live-{uuid4().hex}"
    first, second = (submit(key=key, job_set=job_set) for _ in range(2))
    assert first.ref == second.ref


def test_a_running_job_is_cancelled(submit):
    job = submit(LONG)
    running(job)
    job.cancel(reason="no longer wanted, for a reason of more than fifty bytes: é")
    assert job.wait(timeout=60).state is JobState.CANCELLED


def test_a_job_that_fits_nowhere_is_rejected_in_the_scheduler_s_words(submit):
    with pytest.raises(JobFailed, match="exceeds the total limit") as caught:
        submit(cpu=1000).result(timeout=90)
    assert caught.value.record.cause is Cause.REJECTED


def test_another_process_finds_the_end_of_a_job(submit):
    job = submit()
    job.wait(timeout=90)
    driver = ArmadaDriver(ArmadaDriver.Settings(address=ADDRESS, queue=QUEUE))
    with Client(driver=driver, journal=False) as another:
        again = another.attach(job.ref).wait(timeout=60)
    assert (again.state, again.exit_code) == (JobState.SUCCEEDED, 0)


def test_a_gang_runs(client):
    spec = {"command": "true", "image": "busybox", "cpu": 0.1, "job_set": f"live-{uuid4().hex}"}
    jobs = client.submit_many([spec] * 2, gang=True)
    assert [job.result(timeout=90).state for job in jobs] == [JobState.SUCCEEDED] * 2


@pytest.mark.slow
def test_hundreds_of_jobs_share_one_stream(client):
    spec = {"command": "true", "image": "busybox", "cpu": 0.01, "job_set": f"live-{uuid4().hex}"}
    jobs = client.submit_many([spec] * 300)
    ended = [job.record.state for job in as_completed(jobs, timeout=300)]
    assert ended == [JobState.SUCCEEDED] * 300


def test_a_usable_armada_has_nothing_wrong(client):
    assert all(check.ok for check in client.driver.probe())
