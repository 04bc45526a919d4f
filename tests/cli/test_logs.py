"""What jobs write, as the user gets it."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from batchbridge.cli.following import Output
from batchbridge.jobs import Job
from batchbridge.logs import LogChunk

from .conftest import until

BB = (sys.executable, "-m", "batchbridge", "submit", "--follow")


def test_both_streams_go_where_they_belong_byte_for_byte(bb):
    ref = bb.ended("--command", r"printf 'a\377\000b\r\n'; printf 'c\377' >&2")
    result = bb("logs", ref)
    assert result.stdout_bytes == b"a\xff\x00b\r\n"
    assert result.stderr_bytes == b"c\xff"


def test_as_json_it_is_text_in_events(bb):
    ref = bb.ended("--command", r"printf 'a\303'; printf 'c\377' >&2")
    events = bb.json("logs", ref)
    assert {(event["event"], event["ref"]) for event in events} == {("log", ref)}
    text = {s: "".join(e["data"] for e in events if e["stream"] == s) for s in ("stdout", "stderr")}
    assert text == {"stdout": "a\N{REPLACEMENT CHARACTER}", "stderr": "c\N{REPLACEMENT CHARACTER}"}


def test_output_is_live(world):
    process = subprocess.Popen(
        [*BB, "--command", f"echo first; until [ -e {world}/gate ]; do sleep .05; done; echo last"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout.readline() == b"first\n"
        (world / "gate").touch()
        assert process.stdout.read() == b"last\n"
    assert process.returncode == 0


def test_without_following_what_is_there_is_shown(bb):
    ref = bb.submit("--command", "echo first; sleep 600")
    until(lambda: bb("logs", "--no-follow", ref).stdout == "first\n")
    assert bb("logs", "--no-follow", ref).stderr == ""
    bb("cancel", ref)


def test_without_following_a_job_that_has_written_nothing_is_told_from_one_that_will_not(bb):
    ref = bb.submit("--command", "sleep 600")
    assert "; no output is known yet\n" in bb("logs", "--no-follow", ref).stderr
    bb("cancel", ref)
    silent = bb.ended("--command", "true")
    assert bb("logs", "--no-follow", silent).stderr == ""


def test_only_the_failed_ones_of_many(bb):
    bb.ended("--job-set", "s", "--name", "good", "--command", "echo fine")
    bb.ended("--job-set", "s", "--name", "bad", "--command", "echo why; exit 1")
    bb.ended("--job-set", "s", "--name", "worse", "--command", "echo worse; exit 1")
    result = bb("logs", "--failed", "--job-set", "s")
    assert result.stdout == "why\nworse\n"
    assert [line.split()[1] for line in result.stderr.splitlines()] == ["bad", "worse"]


def test_those_that_are_named_are_shown_in_that_order(bb):
    refs = [bb.ended("--name", name, "--command", f"echo {name}") for name in ("one", "two")]
    assert bb("logs", *refs).stdout == "one\ntwo\n"
    assert bb("logs", *reversed(refs)).stdout == "two\none\n"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_line_of_100_mb_takes_bounded_memory(bb, flags):
    ref = bb.ended("--command", "head -c 100000000 /dev/zero | tr '\\0' x")
    measured = (
        "import resource, sys; from batchbridge.cli import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    command = shlex.join([sys.executable, "-c", measured, "logs", ref, *flags])
    # through a shell, since a child's peak begins at its parent's size
    told = subprocess.run(["sh", "-c", f"{command} | wc -c"], capture_output=True, check=True)
    assert int(told.stdout) >= 100_000_000
    assert int(told.stderr) < 100_000 * (1024 if sys.platform == "darwin" else 1)


def test_markers_between_attempts_and_where_output_was_lost(capfdbinary):
    class Told(Job):
        def __init__(self) -> None:
            pass

        name = "n"
        ref = type("Ref", (), {"id": "i"})()

    output = Output(Told(), as_json=False)
    for chunk in (
        LogChunk("stdout", 1, b"one\n"),
        LogChunk("stdout", 2, b"two\n", truncated=True),
        LogChunk("stderr", 2, b""),
    ):
        output.show(chunk)
    shown = capfdbinary.readouterr()
    assert shown.out == b"one\ntwo\n"
    assert shown.err.decode().splitlines() == [
        "-- attempt 2 of n (i) --",
        "-- stdout was lost here: rotated or collected --",
    ]
