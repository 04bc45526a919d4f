"""Measure a tree of Python sources, each step a batch job; check the result with find, cat and wc.

    python examples/demo_flow.py run

The sources are the standard library's, which every machine has. One task fails at its first try and
is retried. Every step says which process ran it and which process started that one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

from metaflow import FlowSpec, Parameter, card, current, local_batch, resources, retry, step
from metaflow.cards import Markdown, Table

DEFINITION = re.compile(rb"^[ \t]*(?:async )?def ([A-Za-z_]\w*)", re.MULTILINE)
SHARDS = 6


def sources(root: str) -> list[Path]:
    """The Python files beneath `root`, in order."""
    found = Path(root).rglob("*.py")
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def measure(paths: list[Path]) -> Counter[str]:
    """How many files, bytes, lines and definitions they hold together."""
    total: Counter[str] = Counter(files=len(paths))
    for path in paths:
        text = path.read_bytes()
        found = len(DEFINITION.findall(text))
        total.update(bytes=len(text), lines=text.count(b"\n"), definitions=found)
    return total


def measure_with_tools(root: str) -> dict[str, int]:
    """The same by other means: no line of this program but the ones that start the tools."""
    every = f"find '{root}' -name '*.py' -type f"
    pattern = "^[[:blank:]]*(async )?def [A-Za-z_]"
    commands = {
        "files": f"{every} -print | wc -l",
        "bytes": f"{every} -exec cat {{}} + | wc -c",
        "lines": f"{every} -exec cat {{}} + | wc -l",
        "definitions": f"{every} -exec cat {{}} + | LC_ALL=C grep -aEc '{pattern}'",
    }
    return {what: int(subprocess.check_output(c, shell=True)) for what, c in commands.items()}


def process() -> dict[str, str]:
    """Which process runs this, and which one started it."""
    parent = str(os.getppid())
    command = Path("/proc", parent, "cmdline")
    if command.exists():
        shown = command.read_text().replace("\0", " ")
    else:
        shown = subprocess.check_output(["ps", "-o", "args=", "-p", parent], text=True)
    runner = re.search(r"batchbridge_local\.\w+", shown)
    return {"pid": str(os.getpid()), "parent": parent, "started_by": (runner or [shown])[0]}


class DemoFlow(FlowSpec):
    """Measure the sources in shards, join, and compare."""

    root = Parameter("root", default=sysconfig.get_path("stdlib"), help="Where the sources are.")

    @local_batch
    @step
    def start(self) -> None:
        """Deal the files out."""
        paths = [str(path) for path in sources(self.root)]
        self.shards = [paths[n::SHARDS] for n in range(SHARDS)]
        self.processes = {"start": process()}
        print(f"{len(paths)} files in {SHARDS} shards from {self.root}")
        self.next(self.count, foreach="shards")

    @retry(times=2, minutes_between_retries=0)
    @resources(memory=256)
    @local_batch(cpu=1)
    @step
    def count(self) -> None:
        """Measure one shard. The first one breaks at its first try."""
        if self.index == 0 and current.retry_count == 0:
            raise RuntimeError("broken on purpose, at the first try only")
        self.total = measure([Path(path) for path in self.input])
        self.processes = {**self.processes, f"count[{self.index}]": process()}
        self.tries = current.retry_count + 1
        self.next(self.join)

    @card
    @local_batch
    @step
    def join(self, inputs: Any) -> None:
        """Add the shards up and draw a card."""
        self.merge_artifacts(inputs, include=["root"])
        self.total = sum((shard.total for shard in inputs), Counter())
        self.tries = max(shard.tries for shard in inputs)
        self.processes = {"join": process()}
        for shard in inputs:
            self.processes.update(shard.processes)
        current.card.append(Markdown(f"# {self.root}"))
        rows = [[what, number] for what, number in self.total.items()]
        current.card.append(Table(rows, headers=["what", "how many"]))
        self.next(self.end)

    @local_batch
    @step
    def end(self) -> None:
        """Compare with what the tools say."""
        self.processes = {**self.processes, "end": process()}
        self.expected = measure_with_tools(self.root)
        for where, ran in sorted(self.processes.items()):
            print(f"{where}: process {ran['pid']}, started by {ran['parent']}: {ran['started_by']}")
        for what, number in self.expected.items():
            print(f"{what}: {self.total[what]} (find, cat, wc, grep say {number})")
        assert dict(self.total) == self.expected, "the two computations differ"
        assert self.tries == 2, "one task was to be retried"
        print("equal")


if __name__ == "__main__":
    DemoFlow()
