"""The floor under a submit: ``armada_stubs.py many|ids N ADDRESS QUEUE JOB_SET bulk|each``.

Each line of stdin is a job's message. ``many`` tells how long N take, ``ids`` the ids of all.
``bulk`` sends as many jobs in a request, from as many threads, as the driver does.
"""

from __future__ import annotations

import itertools
import sys
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import timing
from armada_client.armada import submit_pb2, submit_pb2_grpc

BULK, THREADS = 200, 4


def main() -> None:
    what, amount, address, queue, job_set, way = sys.argv[1:]
    item = submit_pb2.JobSubmitRequestItem.FromString
    items = iter([item(b64decode(line)) for line in sys.stdin.buffer])
    stub = submit_pb2_grpc.SubmitStub(grpc.insecure_channel(address))

    def submit(some: list[submit_pb2.JobSubmitRequestItem]) -> list[str]:
        request = submit_pb2.JobSubmitRequest(
            queue=queue, job_set_id=job_set, job_request_items=some
        )
        return [one.job_id for one in stub.SubmitJobs(request).job_response_items]

    def bulk(amount: int) -> list[str]:
        with ThreadPoolExecutor(THREADS) as pool:
            return [id for ids in pool.map(submit, chunks(amount)) for id in ids]

    def each(amount: int) -> list[str]:
        return [submit([one])[0] for one in itertools.islice(items, amount)]

    def chunks(amount: int) -> Iterator[list[submit_pb2.JobSubmitRequestItem]]:
        while some := list(itertools.islice(items, min(BULK, amount))):
            amount -= len(some)
            yield some

    submitted = bulk if way == "bulk" else each
    if what == "ids":
        print("\n".join(submitted(int(amount))))
    else:
        timing.main(submitted)


main()
