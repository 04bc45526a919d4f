"""When the bare event stream tells of ends: ``armada_stream.py N ADDRESS QUEUE JOB_SET``."""

from __future__ import annotations

import json
import sys
import time

import grpc
from armada_client.armada import event_pb2, event_pb2_grpc

ENDS = ("succeeded", "failed", "cancelled")


def main() -> None:
    amount, address, queue, job_set = sys.argv[1:]
    request = event_pb2.JobSetRequest(queue=queue, id=job_set, watch=True, errorIfMissing=False)
    stub = event_pb2_grpc.EventStub(grpc.insecure_channel(address))
    seen: dict[str, float] = {}
    for told in stub.GetJobSetEvents(request):
        kind = told.message.WhichOneof("events")
        if kind in ENDS:
            seen[getattr(told.message, kind).job_id] = time.time()
        if len(seen) == int(amount):
            break
    print(json.dumps(seen))


main()
