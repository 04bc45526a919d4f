"""Count primes, each range in an Armada job; check the count with coreutils' factor.

    eval "$(localdev/armada up processes --checkout DIR --bin DIR)"
    python examples/armada_flow.py run

On a cluster, steps run in the image below, with METAFLOW_ARMADA_HOST, _PORT and _QUEUE set.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

from metaflow import FlowSpec, Parameter, armada, retry, step

IMAGE = "python:3.12"
SHARDS = 4


def place() -> str:
    """Where this runs, in Armada's words."""
    return "job {ARMADA_JOB_ID}, queue {ARMADA_QUEUE}".format(**os.environ)


def is_prime(number: int) -> bool:
    """Whether no smaller number but 1 divides it."""
    return number > 1 and all(number % n for n in range(2, int(number**0.5) + 1))


def primes_by_tools(below: int) -> int:
    """How many there are; not a line of this program counts them."""
    command = f"seq 2 {below - 1} | factor | awk 'NF == 2' | wc -l"
    return int(subprocess.check_output(command, shell=True))


class ArmadaFlow(FlowSpec):
    """Deal the numbers out, count primes in parallel, add up."""

    below = Parameter("below", default=100_000, help="Numbers below this are looked at.")

    @armada(cpu="240m", memory="256Mi", image=IMAGE)
    @step
    def start(self) -> None:
        """Deal the numbers out."""
        self.shards = list(range(SHARDS))
        print(f"{self.below} numbers; {place()}")
        self.next(self.count, foreach="shards")

    @retry(times=1)
    @armada(cpu="240m", memory="256Mi", image=IMAGE)
    @step
    def count(self) -> None:
        """Count the primes of one shard."""
        self.found = sum(is_prime(n) for n in range(self.input, self.below, SHARDS))
        print(f"{self.found} primes; {place()}")
        self.next(self.join)

    @armada(cpu="240m", memory="256Mi", image=IMAGE)
    @step
    def join(self, inputs: Any) -> None:
        """Add the shards up."""
        self.merge_artifacts(inputs, include=["below"])
        self.found = sum(shard.found for shard in inputs)
        self.next(self.end)

    @armada(cpu="240m", memory="256Mi", image=IMAGE)
    @step
    def end(self) -> None:
        """Compare with what seq, factor, awk and wc say."""
        self.expected = primes_by_tools(self.below)
        print(f"primes: {self.found} (seq, factor, awk, wc say {self.expected})")
        assert self.found == self.expected, "the two computations differ"
        print("equal")


if __name__ == "__main__":
    ArmadaFlow()
