"""Jobs submitted by batchbridge: ``nomad_submit.py many|each N ADDRESS KEYS OPTIONS``."""

from __future__ import annotations

import itertools
import json
import sys

import timing

from batchbridge import Client, Job


def main() -> None:
    address, beginning, options = sys.argv[3:]
    spec = {"command": ["true"], "options": json.loads(options)}
    keys = (f"{beginning}{n}" for n in itertools.count())
    with Client("nomad", settings={"address": address}) as client:

        def many(amount: int) -> None:
            some = list(itertools.islice(keys, amount))
            jobs = client.submit_many([spec] * amount, keys=some)
            assert all(isinstance(job, Job) for job in jobs), jobs

        timing.main(many)


main()
