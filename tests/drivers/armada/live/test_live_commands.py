"""What only a real executor shows: commands that run, how they end, what they write."""

from __future__ import annotations

import time

import pytest

from batchbridge import Client
from batchbridge.model import Cause, JobState
from batchbridge_armada import ArmadaDriver

HUNGRY = "kept=$(head -c 300000000 /dev/zero | tr '\\0' x); sleep 600"


@pytest.fixture(autouse=True)
def _real(real):
    """On nothing else."""


def ended(job):
    record = job.wait(timeout=120)
    return record.state, record.cause, record.exit_code, record.signal


def pieces(job):
    """What is read, and whether the job was known to be over; an empty chunk is only a turn."""
    return ((chunk.data, job.record.terminal) for chunk in job.logs() if chunk.data)


def test_an_exit_code_is_told(submit):
    job = submit("echo no; exit 3")
    assert ended(job) == (JobState.FAILED, Cause.EXIT_CODE, 3, None)
    assert job.record.node


def test_a_signal_is_told(submit):
    assert ended(submit("kill -9 $$")) == (JobState.FAILED, Cause.SIGNAL, None, 9)


def test_a_program_that_is_not_there_is_an_error_of_the_start(submit):
    job = submit(["/no/such/program"])
    assert ended(job)[:2] == (JobState.FAILED, Cause.START_ERROR)
    assert "/no/such/program" in job.record.message


def test_an_image_without_a_name_is_the_image_s_fault(submit):
    job = submit(image="https://no.image")
    assert ended(job)[:2] == (JobState.FAILED, Cause.IMAGE)
    assert "InvalidImageName" in job.record.message


def test_too_much_memory_is_oom(submit):
    assert ended(submit(HUNGRY))[:2] == (JobState.FAILED, Cause.OOM)


def test_too_much_disk_is_evicted(submit):
    job = submit("head -c 40000000 /dev/zero > big; exec sleep 600", disk="10M")
    assert ended(job)[:2] == (JobState.FAILED, Cause.EVICTED)


def test_too_long_is_a_timeout(submit):
    job = submit("exec sleep 600", timeout=3)
    assert ended(job)[:2] == (JobState.FAILED, Cause.TIMEOUT)
    assert job.record.exit_status == 124


def test_lines_are_read_while_they_are_written(submit):
    job = submit("echo first; sleep 5; echo last")
    read = list(pieces(job))
    assert read[0] == (b"first\n", False)
    assert b"".join(data for data, _ in read) == b"first\nlast\n"


def test_more_than_one_answer_s_output_is_read_whole(submit):
    """Binoculars answers at most 2 MB."""
    line = "x" * 99
    block = f"yes {line} | head -n 7000; sleep 1.2"
    job = submit("; ".join([block] * 4))
    job.wait(timeout=120)
    assert b"".join(data for data, _ in pieces(job)) == f"{line}\n".encode() * 28_000


def test_no_line_is_lost_or_told_twice_when_binoculars_is_restarted(submit, restart):
    job = submit("i=0; while [ $i -lt 100 ]; do echo line $i; sleep 0.1; i=$((i+1)); done")
    lines = pieces(job)
    first, _ = next(lines)
    restart("binoculars")
    rest = b"".join(data for data, _ in lines)
    assert first + rest == b"".join(b"line %d\n" % n for n in range(100))


def test_the_output_of_a_job_that_ended_is_read_by_another(submit, settings):
    job = submit("echo kept")
    job.wait(timeout=120)
    with Client(driver=ArmadaDriver(settings), journal=False) as another:
        assert b"".join(chunk.data for chunk in another.attach(job.ref).logs()) == b"kept\n"


def test_a_cancelled_command_is_asked_to_end(submit, shared, tmp_path):
    asked = tmp_path / "asked"
    command = f"trap 'touch {asked}; exit' TERM; echo up; while :; do sleep 0.1; done"
    job = submit(command, options=shared)
    assert next(pieces(job))[0] == b"up\n"
    job.cancel()
    assert ended(job)[:2] == (JobState.CANCELLED, Cause.CANCELLED)
    deadline = time.monotonic() + 60
    while not asked.exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
