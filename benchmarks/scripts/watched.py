"""What each script that watches jobs tells: which it saw end, its CPU time and memory, as JSON.

Everything in the process counts, the interpreter and its imports too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable

import psutil

Watch = Callable[[str, list[str]], Iterable[str]]


def main(watch: Watch) -> None:
    """`watch` is given the agent's address and ids, and gives each id when it knows of its end.

    The address is the argument; the ids are lines of stdin.
    """
    ids = sys.stdin.read().split()
    began = time.perf_counter()
    ended = sorted(set(watch(sys.argv[1], ids)))
    wall = time.perf_counter() - began
    memory = psutil.Process().memory_info().rss / 1e6
    costs = {"wall": wall, "cpu": time.process_time(), "memory": memory}
    print(json.dumps({"ended": ended, **costs}))
