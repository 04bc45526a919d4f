"""What of an output Nomad has no more: that is said, and what is left is delivered."""

from __future__ import annotations

import time

from batchbridge import Client, JobState
from localdev.nomad_admin import Admin
from tests.drivers.nomad.live.conftest import LIVE

pytestmark = LIVE
SMALL = """
job "small" {
  type = "batch"
  group "small" {
    task "small" {
      driver = "raw_exec"
      logs {
        max_files     = 1
        max_file_size = 1
      }
    }
  }
}
"""
LINES = 400_000
"""Of six digits each: almost three megabytes."""


def test_what_rotation_took_is_reported(client: Client):
    job = client.submit(f"seq 100001 {100000 + LINES}", options={"template": SMALL})
    assert job.result(60).state is JobState.SUCCEEDED
    chunks = [chunk for chunk in job.logs(streams=["stdout"])]
    assert any(chunk.truncated for chunk in chunks)
    left = b"".join(chunk.data for chunk in chunks).split()
    assert 0 < len(left) < LINES
    assert left[-1] == str(100000 + LINES).encode()


def test_what_was_collected_is_reported(client: Client, admin: Admin):
    job = client.submit("echo gone", options={"driver": "raw_exec"})
    assert job.result(60).state is JobState.SUCCEEDED
    (alloc,) = admin.ask("GET", f"job/{job.ref.id}/allocations")
    admin.ask("PUT", f"client/allocation/{alloc['ID']}/gc")
    deadline = time.monotonic() + 60
    while not any(chunk.truncated for chunk in job.logs()):
        assert time.monotonic() < deadline, "its output is still there"
        time.sleep(0.5)
