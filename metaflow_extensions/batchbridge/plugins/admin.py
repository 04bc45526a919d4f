"""``list`` and ``kill``: the unfinished jobs of a flow, of one run, or of one user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from batchbridge import BatchBridgeError, Client, Job

from . import jobs, orphans
from .attributes import BatchBridgeException
from .launcher import refusal
from .runs import Run

PATIENCE = 60.0
"""Seconds that ``kill`` waits for the confirmed end of the jobs."""


@dataclass(frozen=True)
class Asked:
    """Which jobs: of that flow, on these profiles, of one run or of one user (or both)."""

    flow: str
    profiles: tuple[str | None, ...]
    run_id: str | None
    user: str | None


def listed(asked: Asked) -> Iterator[str]:
    """A line for each unfinished job."""
    found = False
    for profile in asked.profiles:
        with _client(profile) as client:
            for job in _found(client, asked):
                found = True
                yield f"{job.ref} {job.record.state} {job.name}"
    if not found:
        yield "No unfinished jobs were found."
    yield from orphans.lines(asked.flow)


def killed(asked: Asked) -> Iterator[str]:
    """End them, and say so of each."""
    found = False
    for profile in asked.profiles:
        with _client(profile) as client:
            for job in _found(client, asked):
                found = True
                yield f"Ending {job.ref} ({job.name})"
            find = partial(_found, client, asked)
            if not jobs.end(client, find, reason="killed by the user", patience=PATIENCE):
                raise BatchBridgeException(f"the jobs on {profile} were asked to end, and do not")
    if not found:
        yield "No unfinished jobs were found."


def _client(profile: str | None) -> Client:
    return Client(profile, journal=False)


def _found(client: Client, asked: Asked) -> list[Job]:
    try:
        if asked.run_id is not None:
            return jobs.live(client, Run(asked.flow, asked.run_id))
        return jobs.live_of(client, asked.flow, asked.user)
    except BatchBridgeError as error:
        raise refusal(f"jobs of {asked.flow}", error) from None
