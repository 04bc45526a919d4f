"""The socket that Nomad gives each task, by which a job submits jobs without an address."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchbridge import JobState
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
RAW = {"driver": "raw_exec"}


@pytest.fixture
def socket(guarded: Agent) -> Iterator[Path]:
    """The socket in the directory of a job that runs."""
    with client_of(settings(guarded)) as client:
        job = client.submit(["sleep", "600"], options=RAW)
        deadline = time.monotonic() + 60
        places = guarded.place.data / "alloc"
        while not (found := list(places.glob("*/main/secrets/api.sock"))):
            assert time.monotonic() < deadline, "there is no socket"
            time.sleep(0.1)
        yield found[0]
        job.cancel()
        job.wait(60)


def test_jobs_are_submitted_followed_and_read_over_a_socket(socket: Path, guarded: Agent):
    by_socket = replace(
        settings(guarded), address=f"unix://{socket}", ca_cert="", client_cert="", client_key=""
    )
    with client_of(by_socket) as client:
        job = client.submit("echo hello; exit 3", options=RAW)
        assert b"".join(chunk.data for chunk in job.logs()) == b"hello\n"
        end = job.wait(60)
        assert (end.state, end.exit_code) == (JobState.FAILED, 3)
        assert "ui" not in job.hints()
