"""Jobs of batchbridge's local driver."""

from __future__ import annotations

import timing

from batchbridge import Client, JobState, as_completed


def main() -> None:
    with Client("local") as client:

        def many(amount: int) -> None:
            jobs = client.submit_many([{"command": ["true"]}] * amount)
            for job in as_completed(jobs):
                assert job.record.state is JobState.SUCCEEDED

        timing.main(many)


main()
