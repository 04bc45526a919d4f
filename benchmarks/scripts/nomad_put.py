"""The floor under a submit: ``nomad_put.py many|each N HOST``, and a job's JSON in each line.

Each is sent as it is, from as many threads as the driver has, over connections that are kept.
"""

from __future__ import annotations

import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import timing

THREADS = 16


def main() -> None:
    bodies, own = iter(sys.stdin.buffer.readlines()), threading.local()

    def connect() -> None:
        own.connection = HTTPConnection(sys.argv[3])

    def put(body: bytes) -> None:
        own.connection.request("PUT", "/v1/jobs", body)
        answer = own.connection.getresponse()
        assert answer.read(), answer.status
        assert answer.status == 200

    with ThreadPoolExecutor(THREADS, initializer=connect) as pool:

        def many(amount: int) -> None:
            list(pool.map(put, itertools.islice(bodies, amount)))

        timing.main(many)


main()
