"""The smallest flow that shows what a job is: it fails once, is retried, and says where it ran.

python examples/retry_flow.py run
python examples/retry_flow.py run --with local_batch:memory=256
"""

from __future__ import annotations

import os

from metaflow import FlowSpec, current, local_batch, retry, step


class RetryFlow(FlowSpec):
    """One task that fails at its first try."""

    @retry(times=1, minutes_between_retries=0)
    @local_batch(cpu=1)
    @step
    def start(self) -> None:
        """Fail, then succeed: each try is a job of its own."""
        print(f"try {current.retry_count} in process {os.getpid()}, started by {os.getppid()}")
        if current.retry_count == 0:
            raise RuntimeError("broken on purpose, at the first try only")
        self.tries = current.retry_count + 1
        self.next(self.end)

    @step
    def end(self) -> None:
        """Not decorated: this one runs beside the launcher."""
        print(f"it took {self.tries} tries")


if __name__ == "__main__":
    RetryFlow()
