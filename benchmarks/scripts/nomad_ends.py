"""When batchbridge knows of ends: ``nomad_ends.py N ADDRESS KEYS OPTIONS``; job -> time, as JSON.

One job after the other: submitted, waited for.
"""

from __future__ import annotations

import json
import sys
import time

from batchbridge import Client, JobState


def main() -> None:
    amount, address, beginning, options = sys.argv[1:]
    fields = {"options": json.loads(options)}
    seen = {}
    with Client("nomad", settings={"address": address}) as client:
        for n in range(int(amount)):
            job = client.submit(["true"], key=f"{beginning}{n}", **fields)
            record = job.wait()
            seen[job.ref.id] = time.time()
            assert record.state is JobState.SUCCEEDED, record
    print(json.dumps(seen))


main()
