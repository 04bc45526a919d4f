"""One task that goes on until somebody ends it, whose failure is caught."""

import signal
import time
from pathlib import Path

from kill_flow import mark
from metaflow import FlowSpec, Parameter, catch, local_batch, step


class CaughtFlow(FlowSpec):
    place = Parameter("place", required=True)

    @catch(var="failure")
    @local_batch
    @step
    def start(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        mark(Path(self.place, "marks"), "start")
        time.sleep(300)
        self.next(self.end)

    @step
    def end(self):
        print("caught:", bool(self.failure))


if __name__ == "__main__":
    CaughtFlow()
