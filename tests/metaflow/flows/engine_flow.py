"""What an engine must stand: three steps with artifacts both ways, many at once, and failures.

The decorator that runs the steps comes by ``--with``. Of the many, one fails at its first try, one
always, and one takes too long.
"""

import os
import sys
import time

from metaflow import FlowSpec, Parameter, card, catch, current, resources, retry, step, timeout
from metaflow.cards import Markdown


class EngineFlow(FlowSpec):
    wide = Parameter("wide", default=3)

    @card
    @step
    def start(self):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        current.card.append(Markdown("# the card of start"))
        self.there = {**os.environ}
        self.loaded = sorted({"batchbridge", "nomad", "armada_client", "grpc"} & sys.modules.keys())
        self.numbers = list(range(self.wide))
        self.next(self.work, foreach="numbers")

    @catch(var="failure")
    @timeout(seconds=4)
    @retry(times=1, minutes_between_retries=0)
    @resources(cpu=0.1, memory=64)
    @step
    def work(self):
        if self.input == 0 and not current.retry_count:
            raise ValueError("the first try")
        if self.input == 1:
            raise ValueError("it always breaks")
        if self.input == 2:
            time.sleep(120)
        self.made = self.input * 10
        self.next(self.end_of_work)

    @resources(memory=64)
    @step
    def end_of_work(self, inputs):
        failures = {i.input: i.failure for i in inputs if i.failure}
        self.failed = {number: str(failure) for number, failure in failures.items()}
        self.made = sorted(i.made for i in inputs if not i.failure)
        self.next(self.end)

    @step
    def end(self):
        print("made", len(self.made))


if __name__ == "__main__":
    EngineFlow()
