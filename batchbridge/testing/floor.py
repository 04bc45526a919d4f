"""The floor: submit, exit code, terminal state, cancel, logs. No capability switches it off."""

from __future__ import annotations

import time

import pytest

from batchbridge.model import Cause, JobRef, JobState
from batchbridge.testing.probes import Probes
from batchbridge.testing.rig import Driver, Rig, poll

NOT_TEXT = b"caf\xe9 \xff\xfe \xc3\x28 \x00 \xf0\x9f\x98\x80 end"


class Floor:
    """What every engine with a driver can do."""

    def test_success(self, rig: Rig, probes: Probes) -> None:
        """Exit code 0 is SUCCEEDED, with that code and no cause."""
        record = rig.end_as(rig.submit(probes.exits(0)), JobState.SUCCEEDED)
        assert record.exit_code in (0, None)
        assert record.exit_status == 0

    def test_exit_code(self, rig: Rig, probes: Probes) -> None:
        """Another exit code is FAILED, and told."""
        record = rig.end_as(rig.submit(probes.exits(3)), JobState.FAILED, Cause.EXIT_CODE)
        assert record.exit_code == 3

    def test_signal(self, rig: Rig, probes: Probes) -> None:
        """Death by a signal is FAILED with that signal, which is no exit code."""
        record = rig.end_as(rig.submit(probes.dies(9)), JobState.FAILED, Cause.SIGNAL)
        assert (record.signal, record.exit_code) == (9, None)

    def test_missing_program(self, rig: Rig, probes: Probes) -> None:
        """A program that does not exist fails, or is refused; it is no success and no wait."""
        (receipt,) = rig.receipts(submission := rig.submission(probes.missing()))
        if receipt.error is None:
            assert rig.ended(rig.ref(submission, receipt)).state is JobState.FAILED

    def test_running_is_told(self, rig: Rig, probes: Probes) -> None:
        """A job that runs is seen RUNNING, and not as ended."""
        record = rig.running(rig.submit(probes.sleeps(600)))
        assert not record.terminal

    def test_cancel_running(self, rig: Rig, probes: Probes, moment: float) -> None:
        """A cancelled job is CANCELLED, and its command writes no more."""
        _falls_silent(rig, rig.cancelled(probes.ticks()), moment)

    def test_cancel_at_once(self, rig: Rig, probes: Probes) -> None:
        """A job that is cancelled right after it was submitted does not go on."""
        ref = rig.submit(probes.sleeps(600))
        rig.cancel(ref)
        rig.end_as(ref, JobState.CANCELLED, Cause.CANCELLED)

    def test_cancel_again(self, rig: Rig, probes: Probes) -> None:
        """Asking twice, and asking for what has ended or never was, is fine and changes nothing."""
        done, going = rig.submit(probes.exits(3)), rig.submit(probes.sleeps(600))
        before = rig.ended(done)
        unknown = type(done)(done.backend, done.profile, done.scope, rig.unknown_id)
        for _ in range(2):
            rig.cancel(unknown, done, going)
        rig.end_as(going, JobState.CANCELLED, Cause.CANCELLED)
        rig.records.clear()
        after = rig.ended(done)
        assert (after.state, after.exit_code) == (before.state, 3)

    def test_many_lines(self, rig: Rig, probes: Probes, lines: int) -> None:
        """Very many lines are read exactly, while they are written."""
        expected = b"".join(b"line %d\n" % n for n in range(lines))
        assert rig.log(rig.submit(probes.counts(lines))) == expected

    def test_no_output(self, rig: Rig, probes: Probes) -> None:
        """No output is an empty log with an end."""
        assert rig.log(rig.submit(probes.exits(0))) == b""

    def test_bytes_that_are_no_text(self, rig: Rig, probes: Probes) -> None:
        """What is no UTF-8 arrives as it was written."""
        assert rig.log(rig.submit(probes.says(NOT_TEXT))) == rig.kept(NOT_TEXT)

    def test_slow_start(self, rig: Rig, probes: Probes, moment: float) -> None:
        """A log that is read before there is one is empty, without an end; then it is whole."""
        assert rig.log(rig.submit(probes.says(b"late\n", after=moment))) == b"late\n"

    def test_both_streams(self, rig: Rig, probes: Probes) -> None:
        """stderr is its own stream, or stands in stdout where the driver says so.

        There, which of two lines of one moment is first is the engine's: it may read two pipes.
        """
        ref = rig.submit(probes.says(b"out\n", b"err\n"))
        logs = rig.log(ref), rig.log(ref, "stderr")
        if rig.driver.capabilities.streams == "merged":
            assert logs in ((b"out\nerr\n", b""), (b"err\nout\n", b""))
        else:
            assert logs == (b"out\n", b"err\n")

    def test_log_is_resumed(self, rig: Rig, probes: Probes, again: Driver, moment: float) -> None:
        """Another process that has the cursor reads on where this one stopped."""
        ref = rig.submit(probes.speaks(b"first\n", b"second\n", pause=moment))
        page = next(page for page in rig.pages(ref) if page.data)
        assert page.data == b"first\n"
        assert rig.log(ref, cursor=page.cursor, driver=again) == b"second\n"
        assert rig.log(ref, driver=again) == b"first\nsecond\n"


def _falls_silent(rig: Rig, ref: JobRef, moment: float) -> None:
    """Wait for a moment without a new byte; an engine may take a while to kill."""
    last, since = b"", time.monotonic()
    for _ in poll(rig.patience):
        now = rig.log(ref)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since >= moment:
            return
    pytest.fail(f"the cancelled job still writes after {rig.patience:g} s")
