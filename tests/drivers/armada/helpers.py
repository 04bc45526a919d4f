"""What tests of the driver do again and again."""

from __future__ import annotations

import time

from batchbridge.model import JobRef, JobSpec, Submission
from tests.drivers.armada.conftest import QUEUE

SET = "set"
SCOPE = (QUEUE, SET)
LONG = {"command": "sleep 60"}


def submission(key="k", *, gang=None, **fields):
    form = {"command": "true", "image": "busybox", "cpu": 0.1, **fields}
    return Submission(key, JobSpec.parse(form), SET, "user", gang)


def submit(driver, *submissions):
    """The receipts, in the order of the submissions."""
    receipts = {receipt.key: receipt for receipt in driver.submit(submissions)}
    return [receipts[one.key] for one in submissions]


def until(holds, patience=30.0):
    """Look again and again until it holds; what it holds with."""
    deadline = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.02)
    return found


def over(armada, *job_ids):
    until(lambda: all(armada.cluster.jobs[job_id].over for job_id in job_ids))


def running(armada, receipt):
    until(lambda: armada.cluster.jobs[receipt.id].state == "RUNNING")


def crowd(armada, driver):
    """A job that takes every core."""
    (receipt,) = submit(driver, submission("crowd", cpu=16, **LONG))
    running(armada, receipt)


def ref(receipt, scope=SCOPE):
    """The reference of a job that was submitted."""
    return JobRef("armada", "p", scope, receipt.id)


def run(client, **fields):
    return client.submit("true", image="busybox", cpu=0.1, job_set=SET, **fields)
