"""What a real Armada does, whichever executor it has."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pytest

from batchbridge import Client, JobFailed, as_completed
from batchbridge.errors import KeyConflict
from batchbridge.model import Cause, JobState
from batchbridge_armada import ArmadaDriver
from localdev.armada_ready import make_queue, settings_of
from tests.drivers.armada.helpers import submission, until
from tests.drivers.armada.helpers import submit as handed_over
from tests.drivers.armada.live.conftest import MODEST


def lasting(seconds):
    """A command that takes so long; the fakeexecutor, which runs nothing, reads it there."""
    return f"exec sleep {seconds} # $(( (RANDOM % 1) + {seconds} ))"


def running(job, patience=90):
    deadline = time.monotonic() + patience
    for event in job.events():
        if event.record.state is JobState.RUNNING:
            return
        assert time.monotonic() < deadline


def states(job):
    return [event.record.state for event in job.events() if not event.inferred]


def test_a_job_succeeds(submit):
    job = submit()
    assert job.result(timeout=120).state is JobState.SUCCEEDED
    told = states(job)
    assert told[:2] == [JobState.SUBMITTED, JobState.QUEUED]
    assert told[-1] is JobState.SUCCEEDED


def test_the_same_key_is_the_same_job(submit):
    key = uuid4().hex
    first, second = (submit(key=key) for _ in range(2))
    assert first.ref == second.ref


def test_the_same_key_with_another_spec_is_a_conflict(settings):
    key = uuid4().hex
    with closing(ArmadaDriver(settings)) as driver:
        (first,) = handed_over(driver, submission(key))

        def conflicts():
            (second,) = handed_over(driver, submission(key, command="false"))
            assert second.error or second.id == first.id
            return isinstance(second.error, KeyConflict)

        until(conflicts)  # a job that is only seconds old is not looked up


def test_a_job_that_is_refused_keeps_no_other_back(settings):
    jobs = [submission(uuid4().hex, memory=memory) for memory in ("64M", "10K", "64M", "64M")]
    with closing(ArmadaDriver(settings)) as driver:
        receipts = handed_over(driver, *jobs)
    assert [receipt.error is None for receipt in receipts] == [True, False, True, True]


def test_a_queue_that_was_just_made_is_waited_for(stack):
    there = replace(stack, queue=f"live-{uuid4().hex[:8]}")
    make_queue(there)
    with closing(ArmadaDriver(settings_of(there))) as driver:
        (receipt,) = handed_over(driver, submission(uuid4().hex))
    assert receipt.id


def test_a_running_job_is_cancelled(submit):
    job = submit(lasting(600))
    running(job)
    job.cancel(reason="no longer wanted, for a reason of more than fifty bytes: é")
    assert job.wait(timeout=90).state is JobState.CANCELLED


def test_a_job_that_fits_nowhere_is_rejected_in_the_scheduler_s_words(submit):
    with pytest.raises(JobFailed, match="exceeds the total limit") as caught:
        submit(cpu=1000).result(timeout=120)
    assert caught.value.record.cause is Cause.REJECTED


def test_another_process_finds_the_end_of_a_job(submit, settings):
    job = submit()
    job.wait(timeout=120)
    with Client(driver=ArmadaDriver(settings), journal=False) as another:
        again = another.attach(job.ref).wait(timeout=90)
    assert (again.state, again.exit_code) == (JobState.SUCCEEDED, 0)


def test_a_gang_runs(client):
    spec = {**MODEST, "command": "true", "job_set": f"live-{uuid4().hex}"}
    jobs = client.submit_many([spec] * 2, gang=True)
    assert [job.result(timeout=120).state for job in jobs] == [JobState.SUCCEEDED] * 2


def test_a_preempted_job_says_so(client, submit):
    job = submit(lasting(600), options={"priority_class": "armada-preemptible"})
    running(job)
    client.preempt([job], reason="test")
    record = job.wait(timeout=120)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.PREEMPTED)


def test_a_job_set_is_cancelled_whole(client, submit):
    jobs = [submit(lasting(600)) for _ in range(3)]
    running(jobs[0])
    client.cancel_set(submit.job_set, reason="test")
    assert {job.wait(timeout=120).state for job in jobs} == {JobState.CANCELLED}


@pytest.mark.slow
def test_hundreds_of_jobs_share_one_stream(client, fake):
    spec = {**MODEST, "cpu": 0.01, "command": "true", "job_set": f"live-{uuid4().hex}"}
    jobs = client.submit_many([spec] * 300)
    ended = [job.record.state for job in as_completed(jobs, timeout=400)]
    assert ended == [JobState.SUCCEEDED] * 300


def test_a_usable_armada_has_nothing_wrong(client):
    assert all(check.ok for check in client.driver.probe())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["server", "scheduler", "eventingester", "lookoutingester"])
def test_nothing_is_lost_when_a_part_is_restarted(submit, restart, part):
    before = [submit(lasting(5)) for _ in range(5)]
    running(before[0])
    restart(part)
    after = [submit(lasting(1)) for _ in range(5)]
    for job in (*before, *after):
        assert job.result(timeout=180).state is JobState.SUCCEEDED
        told = states(job)
        assert len(told) == len(set(told)), "told twice"
        assert told[-1] is JobState.SUCCEEDED
