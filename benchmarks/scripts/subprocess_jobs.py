"""No jobs at all: the same commands as child processes, as many at once as there are cores."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import timing


def main() -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def many(amount: int) -> None:
            done = pool.map(subprocess.run, [["true"]] * amount)
            assert all(process.returncode == 0 for process in done)

        timing.main(many)


main()
