"""Jobs watched by batchbridge: ``armada_watch.py ADDRESS QUEUE JOB_SET``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import watched

from batchbridge import Client, as_completed


def watch(address: str, ids: list[str]) -> Iterator[str]:
    queue, job_set = sys.argv[2:]
    with Client("armada", settings={"address": address, "queue": queue}) as client:
        refs = [client.engine.ref((queue, job_set), id) for id in ids]
        for job in as_completed([client.attach(ref) for ref in refs]):
            yield job.ref.id


watched.main(watch)
