"""A flow over S3: a task that fails once, a card, and a secret that it asks for."""

import os
import time
from pathlib import Path

from metaflow import FlowSpec, Parameter, card, current, local_batch, retry, step


class S3Flow(FlowSpec):
    place = Parameter("place", required=True)
    crash = Parameter("crash", default=0)

    @card
    @retry(times=1, minutes_between_retries=0)
    @local_batch(secrets={"SOME_TOKEN": "env:SOME_TOKEN"})
    @step
    def start(self):
        if self.crash:
            raise RuntimeError("crashed on purpose")
        marks = Path(self.place, "marks")
        marks.mkdir(exist_ok=True)
        (marks / f"start.{current.retry_count}").write_text("begun")
        if not current.retry_count:
            raise ValueError("the first try")
        while not (marks / "go").exists():
            time.sleep(0.05)
        print("over S3")
        self.x = 41
        self.asked = {"SOME_TOKEN": len(os.environ["SOME_TOKEN"])}
        self.next(self.end)

    @local_batch
    @step
    def end(self):
        print("x is", self.x)


if __name__ == "__main__":
    S3Flow()
