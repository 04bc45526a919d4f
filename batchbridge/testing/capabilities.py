"""What is declared must hold: one test, or a few, for each capability."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from batchbridge.model import Cause, Explanation, Gang, JobState, Listed, Secret, Seen
from batchbridge.testing.needs import ABSENT, needs
from batchbridge.testing.probes import Probes
from batchbridge.testing.rig import USER, Driver, Rig, poll
from batchbridge.uploads import deliver, pack

VALUE = "s3cr3t-of-the-kit"


class Inputs:
    """What reaches the command."""

    @needs("env")
    def test_env(self, rig: Rig, probes: Probes) -> None:
        """A variable arrives as it was written."""
        value = "a b 'c' \"d\" $HOME `e` \\ é\nend"
        shown = rig.log(rig.submit(probes.shows("KIT"), env={"KIT": value}))
        assert shown == rig.kept(value.encode())

    @needs("workdir")
    def test_workdir(self, rig: Rig, probes: Probes) -> None:
        """The command starts in the directory that was asked for."""
        assert rig.log(rig.submit(probes.where(), workdir="/")) == b"/\n"

    @needs("upload")
    def test_upload(self, rig: Rig, probes: Probes, tmp_path: Path) -> None:
        """The user's files lie in a writable working directory."""
        (tmp_path / "hello.sh").write_text("echo hello > made && cat made data/more")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "more").write_bytes(b"more\n")
        limit = rig.driver.capabilities.upload
        files = deliver(pack(["hello.sh", "data"], root=tmp_path), limit=limit, store=None)
        ref = rig.submit(probes.runs("hello.sh"), files=files)
        assert rig.log(ref) == b"hello\nmore\n"

    @needs("secrets")
    def test_secret(self, rig: Rig, probes: Probes) -> None:
        """A secret's value arrives as a variable, ..."""
        shown = rig.log(self._submit(rig, probes.shows("KIT_SECRET")))
        assert shown == rig.kept(VALUE.encode())

    @needs("secrets")
    def test_secret_is_shown_to_nobody(self, rig: Rig, probes: Probes) -> None:
        """... and is in no argument of a process, no observation, no listing, no error."""
        ref = self._submit(rig, probes.sleeps(600))
        rig.running(ref)
        told = [repr(rig.told(ref)), repr(rig.driver.explain(ref)), repr(rig.driver.hints(ref))]
        if rig.driver.capabilities.list != "absent":
            told.append(repr(list(rig.driver.list(rig.job_set, None))))
        told += [" ".join(process.info["cmdline"] or ()) for process in _processes()]
        assert not [text for text in told if VALUE in text]

    @needs("secrets", "render")
    def test_secret_is_not_rendered(self, rig: Rig, probes: Probes) -> None:
        """A dry run names the secret and does not show it."""
        secrets = {"KIT_SECRET": Secret(VALUE)}
        payload = json.dumps(rig.driver.render(rig.submission(probes.exits(0), secrets=secrets)))
        assert VALUE not in payload
        assert "KIT_SECRET" in payload

    def _submit(self, rig: Rig, command: Any) -> Any:
        return rig.submit(command, secrets={"KIT_SECRET": Secret(VALUE)})

    def test_resources(self, rig: Rig, probes: Probes) -> None:
        """A modest request for each resource that the engine knows is met."""
        modest = {"cpu": 0.1, "memory": 64 << 20, "disk": 16 << 20}
        known = {
            name: amount
            for name, amount in modest.items()
            if getattr(rig.driver.capabilities, name) not in ABSENT
        }
        if not known:
            pytest.skip("no resource is declared")
        rig.end_as(rig.submit(probes.exits(0), **known), JobState.SUCCEEDED)


def _processes() -> Any:
    return psutil.process_iter(["cmdline"])


class Limits:
    """What the engine ends by itself, with nobody watching."""

    @needs("timeout")
    def test_timeout(self, rig: Rig, probes: Probes, moment: float) -> None:
        """A command that runs too long has FAILED by TIMEOUT."""
        record = rig.end_as(
            rig.submit(probes.sleeps(600), timeout=moment), JobState.FAILED, Cause.TIMEOUT
        )
        assert record.exit_status == 124

    @needs("timeout")
    def test_timeout_is_not_felt_in_time(self, rig: Rig, probes: Probes) -> None:
        """A command that ends in time keeps its own end."""
        record = rig.ended(rig.submit(probes.exits(3), timeout=600))
        assert (record.cause, record.exit_code) == (Cause.EXIT_CODE, 3)

    @needs("queue_timeout")
    def test_queue_timeout(
        self, rig: Rig, probes: Probes, crowd: dict[str, Any], moment: float
    ) -> None:
        """A job that waits too long has FAILED as UNSCHEDULABLE, and never ran."""
        _occupy(rig, probes, crowd)
        ref = rig.submit(probes.says(b"ran\n"), queue_timeout=moment, **crowd)
        rig.end_as(ref, JobState.FAILED, Cause.UNSCHEDULABLE)
        assert rig.log(ref) == b""

    def test_waiting_job(
        self, rig: Rig, probes: Probes, crowd: dict[str, Any], moment: float
    ) -> None:
        """A job that waits for a place is QUEUED, has no log yet, and starts in its turn."""
        first = _occupy(rig, probes, crowd)
        second = rig.submit(probes.exits(0), **crowd)
        for _ in poll(moment):
            assert rig.look(second).state in (None, JobState.SUBMITTED, JobState.QUEUED)
        rig.until(second, lambda record: record.state is JobState.QUEUED, "queued")
        page = rig.driver.read_logs(second, 1, "stdout", None, ended=False, wait=0)
        assert (page.data, page.eof) == (b"", False)
        rig.cancel(first)
        rig.end_as(second, JobState.SUCCEEDED)

    @needs("confirms_end")
    def test_confirmed_end(self, rig: Rig, probes: Probes, moment: float) -> None:
        """Once a job is told to be cancelled, a command that did not listen writes no more."""
        ref = rig.cancelled(probes.ignores())
        time.sleep(moment)  # what it wrote may still be on its way
        before = rig.log(ref)
        time.sleep(moment)
        assert rig.log(ref) == before

    def test_cancel_waiting(self, rig: Rig, probes: Probes, crowd: dict[str, Any]) -> None:
        """A job that is cancelled while it waits never runs."""
        first = _occupy(rig, probes, crowd)
        second = rig.submit(probes.says(b"ran\n"), **crowd)
        rig.look(second)
        rig.cancel(second)
        rig.end_as(second, JobState.CANCELLED, Cause.CANCELLED)
        rig.cancel(first)
        rig.ended(first)
        assert rig.log(second) == b""

    @needs("explain")
    def test_explain(self, rig: Rig, probes: Probes, crowd: dict[str, Any]) -> None:
        """Of a job that waits the engine says why."""
        _occupy(rig, probes, crowd)
        second = rig.submit(probes.exits(0), **crowd)
        for _ in poll(rig.patience):
            explanation = rig.driver.explain(second)
            if explanation is not None:
                assert type(explanation) is Explanation
                assert explanation.summary
                return
        pytest.fail("a waiting job is not explained")


def _occupy(rig: Rig, probes: Probes, crowd: dict[str, Any]) -> Any:
    """A job that keeps others with the same fields waiting, running."""
    first = rig.submit(probes.sleeps(600), **crowd)
    rig.running(first)
    return first


class Finding:
    """Listing, explaining, rendering, hinting."""

    @needs("list")
    def test_list(self, rig: Rig, probes: Probes, again: Driver) -> None:
        """A job is found again by its job set, with what it takes to make its reference."""
        ref = rig.submit(probes.exits(0), name="found")
        for _ in poll(rig.patience):
            if found := [one for one in again.list(rig.job_set, None) if one.seen.id == ref.id]:
                break
        (listed,) = found
        assert type(listed) is Listed
        assert (listed.scope, listed.name) == (ref.scope, "found")
        assert listed.job_set == rig.job_set
        if rig.driver.capabilities.list == "all":
            assert ref.id in [one.seen.id for one in again.list(None, None)]
            assert ref.id in [one.seen.id for one in again.list(None, USER)]
            assert not list(again.list(rig.job_set, f"not-{USER}"))

    @needs("list")
    def test_list_of_another_set(self, rig: Rig, probes: Probes) -> None:
        """Another job set's jobs are not among them."""
        rig.ended(rig.submit(probes.exits(0)))
        assert not list(rig.driver.list(f"kit-{uuid4().hex}", None))

    @needs("list", "labels")
    def test_labels(self, rig: Rig, probes: Probes) -> None:
        """Labels are kept with the job."""
        labels = {"team": "kit", "purpose": "proof"}
        ref = rig.submit(probes.exits(0), labels=labels)
        for _ in poll(rig.patience):
            if found := [
                one for one in rig.driver.list(rig.job_set, None) if one.seen.id == ref.id
            ]:
                break
        assert labels.items() <= dict(found[0].labels).items()

    @needs("render")
    def test_render(self, rig: Rig, probes: Probes) -> None:
        """A dry run shows the payload as JSON values, and sends nothing."""
        submission = rig.submission(probes.exits(3))
        payload = rig.driver.render(submission)
        assert json.loads(json.dumps(payload)) == payload
        assert rig.driver.render(submission).keys() == payload.keys()
        assert "exit 3" in json.dumps(payload) or "exit" not in submission.spec.command[-1]
        if rig.driver.capabilities.list != "absent":
            assert not list(rig.driver.list(rig.job_set, None))

    def test_explain_at_any_time(self, rig: Rig, probes: Probes) -> None:
        """Explaining a job that runs, has ended or never was is no error; nothing may be said."""
        ref = rig.submit(probes.exits(0))
        rig.ended(ref)
        unknown = type(ref)(ref.backend, ref.profile, ref.scope, rig.unknown_id)
        for one in (ref, unknown):
            explanation = rig.driver.explain(one)
            assert explanation is None or type(explanation) is Explanation

    def test_hints(self, rig: Rig, probes: Probes) -> None:
        """Hints are plain text."""
        hints = dict(rig.driver.hints(rig.submit(probes.exits(0))))
        assert all(isinstance(text, str) for pair in hints.items() for text in pair)

    def test_details(self, rig: Rig, probes: Probes) -> None:
        """Details are plain text, at any time."""
        ref = rig.submit(probes.exits(0))
        unknown = type(ref)(ref.backend, ref.profile, ref.scope, rig.unknown_id)
        told = [dict(rig.driver.details(ref, 1))]
        rig.ended(ref)
        told += [dict(rig.driver.details(one, 1)) for one in (ref, unknown)]
        pairs = [pair for details in told for pair in details.items()]
        assert all(isinstance(text, str) for pair in pairs for text in pair)

    @needs("purge")
    def test_purge(self, rig: Rig, probes: Probes, again: Driver) -> None:
        """A job that is over can be removed, and no other goes with it; twice is fine."""
        gone, kept = (rig.submit(probes.says(b"said\n")) for _ in range(2))
        rig.ended(gone)
        rig.ended(kept)
        rig.driver.purge([gone])
        rig.driver.purge([gone])
        for _ in poll(rig.patience):
            if not any(isinstance(said, Seen) for said in rig.told(gone, again)):
                break
        else:
            pytest.fail("a job that was removed is still told of")
        rig.records.pop(kept.id)
        assert rig.log(kept) == b"said\n"

    @needs("cancel_set")
    def test_cancel_set(self, rig: Rig, probes: Probes, moment: float) -> None:
        """All of a job set ends, and no job of another set does."""
        ours = [rig.submit(probes.sleeps(600)) for _ in range(2)]
        other = rig.submit(probes.sleeps(3 * moment), job_set=f"kit-{uuid4().hex}")
        rig.driver.cancel_set(ours[0].scope, job_set=rig.job_set, reason="the kit asked")
        for ref in ours:
            rig.end_as(ref, JobState.CANCELLED, Cause.CANCELLED)
        rig.end_as(other, JobState.SUCCEEDED)

    @needs("preempt")
    def test_preempt(self, rig: Rig, probes: Probes) -> None:
        """A running job that is preempted ends so, or waits for its next attempt."""
        ref = rig.submit(probes.sleeps(600))
        rig.running(ref)
        rig.driver.preempt([ref], reason="the kit asked")
        record = rig.until(ref, lambda r: r.terminal or r.attempt > 1, "preempted")
        assert record.attempt > 1 or record.cause is Cause.PREEMPTED

    @needs("reprioritise")
    def test_reprioritise(self, rig: Rig, probes: Probes, crowd: dict[str, Any]) -> None:
        """Another priority ends nothing, of a job that runs and of one that waits."""
        first = _occupy(rig, probes, crowd)
        second = rig.submit(probes.exits(0), **crowd)
        rig.driver.reprioritise([first, second], 1.0)
        assert rig.look(first).state is JobState.RUNNING
        rig.cancel(first)
        rig.end_as(second, JobState.SUCCEEDED)

    @needs("gang")
    def test_gang(self, rig: Rig, probes: Probes, moment: float) -> None:
        """Members start together: the first waits for the second."""
        name = uuid4().hex
        gang = [Gang(name, 2, index) for index in range(2)]
        members = [rig.submission(probes.sleeps(moment), gang=member) for member in gang]
        receipts = rig.receipts(*members)
        refs = [rig.ref(m, r) for m, r in zip(members, receipts, strict=True)]
        for ref in refs:
            rig.end_as(ref, JobState.SUCCEEDED)
        records = [rig.records[ref.id] for ref in refs]
        starts = [record.started_at for record in records if record.started_at is not None]
        ends = [record.finished_at for record in records if record.finished_at is not None]
        if len(starts) == len(ends) == 2:
            assert max(starts) < min(ends)
