"""Everything that a flow of one machine uses, each step a job."""

import os
import sys
import time
from pathlib import Path

from metaflow import (
    Config,
    FlowSpec,
    Parameter,
    card,
    catch,
    current,
    environment,
    local_batch,
    resources,
    retry,
    secrets,
    step,
    timeout,
)
from metaflow.cards import Markdown


def where():
    """What a test asks about the process that runs a step."""
    return {
        "in_job": os.environ.get("METAFLOW_BATCHBRIDGE_WORKLOAD"),
        "argv": sys.argv,
        "env": dict(os.environ),
        "cwd": str(Path.cwd()),
    }


class FeaturesFlow(FlowSpec):
    settings = Config("settings", default_value={"word": "default"})
    times = Parameter("times", default=3)

    @secrets(sources=[{"type": "inline", "id": "s", "options": {"env_vars": {"INLINE": "x"}}}])
    @local_batch
    @environment(vars={"FROM_ENVIRONMENT": "a b $c", "USER": "somebody"})
    @step
    def start(self):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        self.where = where()
        self.word = self.settings.word
        self.tags = sorted(current.tags)
        self.letters = ["a", "b"]
        self.next(self.outer, self.broken)

    @local_batch
    @step
    def outer(self):
        self.next(self.letter, foreach="letters")

    @local_batch(cpu=0.25)
    @step
    def letter(self):
        self.upper = self.input.upper()
        self.numbers = list(range(self.times))
        self.next(self.number, foreach="numbers")

    @resources(cpu=0.5, memory=64)
    @local_batch(cpu=0.25, memory=32)
    @step
    def number(self):
        self.made = f"{self.upper}{self.input}"
        self.next(self.numbers_joined)

    @local_batch
    @step
    def numbers_joined(self, inputs):
        self.made = sorted(i.made for i in inputs)
        self.next(self.letters_joined)

    @card
    @local_batch
    @step
    def letters_joined(self, inputs):
        self.made = sorted(made for i in inputs for made in i.made)
        current.card.append(Markdown("# the card of " + current.step_name))
        self.next(self.branches_joined)

    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0.02)
    @local_batch
    @step
    def broken(self):
        print("trying", current.retry_count)
        self.began = [time.time()]
        raise ValueError("it always breaks")
        self.next(self.slow)

    @catch(var="failure")
    @timeout(seconds=1)
    @local_batch
    @step
    def slow(self):
        self.fallback = where()["in_job"] is None
        time.sleep(60)
        self.next(self.branches_joined)

    @local_batch
    @step
    def branches_joined(self, inputs):
        self.made = inputs.letters_joined.made
        self.next(self.end)

    @step
    def end(self):
        self.where = where()
        print("done", self.made)


if __name__ == "__main__":
    FeaturesFlow()
