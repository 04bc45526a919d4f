"""Rates measured twice: with the engine on cores of its own, and sharing them with its client.

An engine is elsewhere, as a rule. Where both share few cores, whatever a client computes the engine
lacks, and its rate says as much of the machine as of the client.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import psutil

from benchmarks.harness import Candidates, Goal, Row, in_turn, rows_of

SHARED = "sharing the engine's cores: "
"""What stands before the names of candidates that do."""

LOOK = 0.5
"""Seconds of a look at whether an engine rests."""

RESTING = 0.1
"""The share of a core below which it does."""


def rates(
    candidates: Candidates[float],
    rounds: int,
    engine: Iterable[int],
    *,
    unit: str,
    goals: Mapping[str, Goal] | None = None,
) -> list[Row]:
    """Rows for both; `goals` are for the first. `engine`: the ids of its processes.

    Where there are no cores to part, there is only the second.
    """
    shared = {f"{SHARED}{name}": measured for name, measured in candidates.items()}
    together = rows_of(in_turn(shared, rounds), unit=unit)
    cores = sorted(_cores())
    if len(cores) < 2:
        return together
    with _apart(engine, cores):
        return [*rows_of(in_turn(candidates, rounds), unit=unit, goals=goals), *together]


@contextmanager
def _apart(engine: Iterable[int], cores: Sequence[int]) -> Iterator[None]:
    """Pin this process, and with it what it starts, to the first core, the engine to the others."""
    threads = [thread for pid in engine for thread in _threads(pid)]
    _pin(threads, cores[1:])
    os.sched_setaffinity(0, cores[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        _pin(threads, cores)


def rest(engine: Iterable[int]) -> None:
    """Wait, for a minute at most, until these processes have worked off what they were given."""
    deadline = time.monotonic() + 60
    processes = [psutil.Process(pid) for pid in engine]
    while time.monotonic() < deadline:
        before = _worked(processes)
        time.sleep(LOOK)
        if _worked(processes) - before < RESTING * LOOK:
            return


def _worked(processes: Iterable[psutil.Process]) -> float:
    """The CPU seconds of these processes."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def listening(port: int) -> list[int]:
    """The processes of this machine that take connections at that port."""
    found = psutil.net_connections(kind="tcp")
    at = (c.pid for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == port)
    return [pid for pid in at if pid is not None]


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _threads(pid: int) -> Iterator[int]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            yield from (thread.id for thread in one.threads())


def _pin(threads: Iterable[int], cores: Iterable[int]) -> None:
    for thread in threads:
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(thread, cores)
