"""Jobs polled with GetJobStatus, five hundred in a call, all of them once a second."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import watched
from armada_client.armada import job_pb2, job_pb2_grpc, submit_pb2

EVERY, QUERY = 1.0, 500
ENDS = {
    submit_pb2.JobState.Value(name)
    for name in ("SUCCEEDED", "FAILED", "CANCELLED", "PREEMPTED", "REJECTED")
}


def watch(address: str, ids: list[str]) -> Iterator[str]:
    stub = job_pb2_grpc.JobsStub(grpc.insecure_channel(address))
    while ids:
        due = time.monotonic() + EVERY
        ended = set()
        for first in range(0, len(ids), QUERY):
            request = job_pb2.JobStatusRequest(job_ids=ids[first : first + QUERY])
            states = stub.GetJobStatus(request).job_states
            ended |= {id for id, state in states.items() if state in ENDS}
        yield from ended
        ids = [id for id in ids if id not in ended]
        time.sleep(max(0.0, due - time.monotonic()) if ids else 0)


watched.main(watch)
