"""When batchbridge knows of ends: ``armada_ends.py N ADDRESS QUEUE JOB_SET``; job -> time, as JSON.

All jobs are submitted together; they end one by one.
"""

from __future__ import annotations

import json
import sys
import time

from batchbridge import Client, Job, as_completed

SPEC = {"command": ["true"], "image": "busybox", "cpu": 0.01, "memory": "64M"}


def main() -> None:
    amount, address, queue, job_set = sys.argv[1:]
    seen: dict[str, float] = {}

    def note(job: Job) -> None:
        seen[job.ref.id] = time.time()

    with Client("armada", settings={"address": address, "queue": queue}) as client:
        jobs = client.submit_many([{**SPEC, "job_set": job_set}] * int(amount))
        for job in jobs:
            job.add_done_callback(note)
        for _ in as_completed(jobs):
            pass
    print(json.dumps(seen))


main()
