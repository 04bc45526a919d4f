"""Jobs of psij's local executor."""

from __future__ import annotations

import timing
from psij import Job, JobExecutor, JobSpec, JobState


def main() -> None:
    executor = JobExecutor.get_instance("local")

    def many(amount: int) -> None:
        jobs = [Job(JobSpec(executable="/bin/true")) for _ in range(amount)]
        for job in jobs:
            executor.submit(job)
        for job in jobs:
            status = job.wait()
            assert status is not None
            assert status.state == JobState.COMPLETED

    timing.main(many)


main()
