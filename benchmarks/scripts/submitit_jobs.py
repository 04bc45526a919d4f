"""Jobs of submitit's local executor, which runs functions in Python processes."""

from __future__ import annotations

import tempfile

import submitit
import timing


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        executor = submitit.LocalExecutor(folder)

        def many(amount: int) -> None:
            jobs = [executor.submit(bool, 1) for _ in range(amount)]
            assert all(job.result() for job in jobs)

        timing.main(many)


main()
