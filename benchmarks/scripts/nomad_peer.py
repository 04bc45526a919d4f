"""What python-nomad makes of a submit: ``nomad_peer.py many|each N HOST``, a job in each line.

As its users have it: one client, requests' session under it, and the threads that the driver has.
"""

from __future__ import annotations

import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import nomad
import requests
import timing

THREADS = 16


def main() -> None:
    bodies = iter([json.loads(line) for line in sys.stdin])
    host, port = sys.argv[3].split(":")
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))
    jobs = nomad.Nomad(host=host, port=int(port), session=session).jobs

    with ThreadPoolExecutor(THREADS) as pool:

        def many(amount: int) -> None:
            list(pool.map(jobs.register_job, itertools.islice(bodies, amount)))

        timing.main(many)


main()
