"""Count the files of a tree that are copies of others, each step a Nomad job; check with sha256sum.

    eval "$(localdev/nomad up)" && python examples/nomad_flow.py run

The tree is the standard library, which every machine has; another one is `--root DIR`. The nodes
have to see it, and the datastore, under the same path: those of `localdev/nomad` do.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

from metaflow import FlowSpec, Parameter, nomad, retry, step

SHARDS = 4


def place() -> str:
    """Where this runs, in Nomad's words."""
    return "job {NOMAD_JOB_ID}, allocation {NOMAD_ALLOC_ID:.8}, {NOMAD_DC}".format(**os.environ)


def digest(name: str) -> str:
    """That of the file's content."""
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copies_by_tools(root: str) -> int:
    """How many files have the content of another one; not a line of this program counts them."""
    sums = f"find '{root}' -type f -size +0 -print0 | xargs -0 sha256sum | cut -c 1-64"
    command = f"{sums} | sort | uniq -D | wc -l"
    return int(subprocess.check_output(command, shell=True))


class NomadFlow(FlowSpec):
    """Deal the files out, hash them in parallel, put the hashes together."""

    root = Parameter("root", default=sysconfig.get_path("stdlib"), help="Where the files are.")

    @nomad(cpu=0.1, memory=256)
    @step
    def start(self) -> None:
        """List the files, and deal them out."""
        found = (path for path in Path(self.root).rglob("*") if not path.is_symlink())
        files = sorted(str(path) for path in found if path.is_file() and path.stat().st_size)
        self.shards = [files[n::SHARDS] for n in range(SHARDS)]
        print(f"{len(files)} files; {place()}")
        self.next(self.hash_shard, foreach="shards")

    @retry(times=1)
    @nomad(cpu=0.1, memory=256)
    @step
    def hash_shard(self) -> None:
        """Hash the files of one shard."""
        self.digests = {name: digest(name) for name in self.input}
        print(f"{len(self.digests)} files; {place()}")
        self.next(self.join)

    @nomad(cpu=0.1, memory=256)
    @step
    def join(self, inputs: Any) -> None:
        """Count the files whose digest another one has too."""
        self.merge_artifacts(inputs, include=["root"])
        digests = {name: digest for shard in inputs for name, digest in shard.digests.items()}
        often = Counter(digests.values())
        self.copies = sorted(name for name, digest in digests.items() if often[digest] > 1)
        print(f"{len(self.copies)} of {len(digests)} files are copies; {place()}")
        self.next(self.end)

    @nomad(cpu=0.1, memory=256)
    @step
    def end(self) -> None:
        """Compare with what find, sha256sum, sort and uniq say."""
        self.expected = copies_by_tools(self.root)
        print(f"copies: {len(self.copies)} (find, sha256sum, sort, uniq say {self.expected})")
        assert len(self.copies) == self.expected, "the two computations differ"
        print("equal")


if __name__ == "__main__":
    NomadFlow()
