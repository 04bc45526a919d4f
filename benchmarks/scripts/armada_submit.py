"""Jobs submitted by batchbridge: ``armada_submit.py many N ADDRESS QUEUE JOB_SET``."""

from __future__ import annotations

import sys

import timing

from batchbridge import Client, Job

SPEC = {"command": ["true"], "image": "busybox", "cpu": 0.01, "memory": "64M"}


def main() -> None:
    address, queue, job_set = sys.argv[3:]
    with Client("armada", settings={"address": address, "queue": queue}) as client:

        def many(amount: int) -> None:
            jobs = client.submit_many([{**SPEC, "job_set": job_set}] * amount)
            assert all(isinstance(job, Job) for job in jobs), jobs

        timing.main(many)


main()
