"""Jobs that are numbered from 0, each of which ends with its number modulo 3."""

from __future__ import annotations

from typing import Any

from batchbridge import Job, as_completed

MODEST: dict[str, Any] = {
    "memory": "16M",
    "disk": "1M",
    "options": {"driver": "raw_exec", "cpu_mhz": 5},
}
"""Fields of a job of which one node has place for hundreds."""


def numbered(count: int, command: str) -> list[dict[str, Any]]:
    """So many jobs of that command, in which ``{n}`` is the number."""
    return [{"command": f"{command.format(n=n)}\nexit {n % 3}", **MODEST} for n in range(count)]


def check_ends(jobs: list[Job], within: float = 240) -> None:
    """Each of them all ends once, as it does by itself, and is seen to."""
    codes = {job.ref: job.record.exit_code for job in as_completed(jobs, within)}
    assert [codes[job.ref] for job in jobs] == [n % 3 for n in range(len(jobs))]
    assert {job.record.attempt for job in jobs} == {1}
