"""The contract beyond the floor: declarations, idempotence, observations, errors, threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
import pytest

from batchbridge.driver import CONTRACT, BatchDriver, Capabilities
from batchbridge.errors import BatchBridgeError, KeyConflict, Rejected
from batchbridge.model import Absent, Batch, Cause, JobRef, JobState, LogPage, Receipt, Seen
from batchbridge.testing.elsewhere import construct, elsewhere, submit_and_die
from batchbridge.testing.needs import ABSENT, needs
from batchbridge.testing.probes import Probes
from batchbridge.testing.rig import Driver, Rig

PLAIN = (str, int, float, bool, bytes, tuple, type(None), JobState, Cause)


class Declaration:
    """What the class says of itself."""

    def test_class(self, driver: Driver) -> None:
        """A name, this contract's version, capabilities, and two frozen data classes with help."""
        assert driver.name == driver.name.strip() != ""
        assert driver.contract == CONTRACT, "built for another version of the contract"
        assert isinstance(driver.capabilities, Capabilities)
        for kind in (driver.Settings, driver.Options):
            assert is_dataclass(kind)
            assert kind.__dataclass_params__.frozen, f"{kind} is not frozen"  # type: ignore[attr-defined]
            helpless = [f.name for f in fields(kind) if not f.metadata.get("help")]
            assert not helpless, f"{kind} has fields without help: {helpless}"

    def test_declared_verbs_exist(self, driver: Driver) -> None:
        """A capability that is a verb comes with that verb."""
        verbs = ("list", "render", "purge", "cancel_set", "preempt", "reprioritise")
        for capability, verb in (("push", "watch"), *zip(verbs, verbs, strict=True)):
            if getattr(driver.capabilities, capability) not in ABSENT:
                missing = f"{capability} is declared, and {verb} is not there"
                assert _is_written(type(driver), verb), missing

    def test_constructor_does_nothing(self, driver: Driver) -> None:
        """No file is written, no connection made, no process or thread started."""
        assert elsewhere(construct, driver) == {"io": [], "threads": 1}

    def test_scope(self, rig: Rig, probes: Probes) -> None:
        """A scope is a pure function of the submission, and fits into a reference."""
        submission = rig.submission(probes.exits(0))
        scope = rig.driver.scope_of(submission)
        assert scope == rig.driver.scope_of(submission)
        ref = JobRef(rig.driver.name, "kit", scope, "id")
        assert JobRef.parse(str(ref)) == ref


class Submitting:
    """One key, one job."""

    def test_many_at_once(self, rig: Rig, probes: Probes) -> None:
        """One call takes many jobs, and each is its own."""
        submissions = [rig.submission(probes.exits(code)) for code in (0, 3, 4, 5)]
        refs = [rig.ref(s, r) for s, r in zip(submissions, rig.receipts(*submissions), strict=True)]
        assert len({ref.id for ref in refs}) == 4
        assert [rig.ended(ref).exit_code or 0 for ref in refs] == [0, 3, 4, 5]

    @needs("idempotency")
    def test_same_key(self, rig: Rig, probes: Probes, again: Driver) -> None:
        """The same submission twice, from two processes, is one job."""
        submission = rig.submission(probes.says(b"once\n"))
        (first,), (second,) = rig.receipts(submission), rig.receipts(submission, driver=again)
        assert first.id == second.id
        assert first.created is not False
        assert second.created is not True
        ref = rig.ref(submission, first)
        rig.end_as(ref, JobState.SUCCEEDED)
        assert rig.log(ref) == b"once\n"

    @needs("idempotency")
    def test_same_key_after_the_end(self, rig: Rig, probes: Probes) -> None:
        """A key is remembered when its job has ended: the command is not run again."""
        submission = rig.submission(probes.exits(3))
        (first,) = rig.receipts(submission)
        record = rig.ended(ref := rig.ref(submission, first))
        (second,) = rig.receipts(submission)
        assert (second.id, second.error) == (first.id, None)
        assert second.created is not True
        rig.records.clear()
        assert rig.ended(ref).finished_at == record.finished_at

    @needs("idempotency")
    def test_same_key_other_spec(self, rig: Rig, probes: Probes) -> None:
        """A key whose job has another spec is a conflict, or the older job; never a second."""
        first = rig.submission(probes.exits(0), key="the-same-key" + rig.job_set)
        second = rig.submission(probes.exits(3), key=first.key)
        (older,), (newer,) = rig.receipts(first), rig.receipts(second)
        assert isinstance(newer.error, KeyConflict) or newer.id == older.id

    @needs("idempotency")
    def test_same_key_from_many_threads(self, rig: Rig, probes: Probes) -> None:
        """A race for one key has one winner."""
        submission = rig.submission(probes.says(b"once\n"))
        with ThreadPoolExecutor(8) as pool:
            receipts = [r for (r,) in pool.map(rig.receipts, [submission] * 8)]
        assert len({receipt.id for receipt in receipts}) == 1
        assert sum(receipt.created is True for receipt in receipts) <= 1
        ref = rig.ref(submission, receipts[0])
        assert rig.log(ref) == b"once\n"

    def test_submitter_is_killed(self, rig: Rig, probes: Probes, moment: float) -> None:
        """A job goes on when the process that submitted it is killed; another reattaches."""
        submission = rig.submission(probes.says(b"alone\n", after=moment))
        (job_id,) = elsewhere(submit_and_die, rig.driver, [submission])
        ref = rig.ref(submission, Receipt(submission.key, id=job_id))
        rig.refs.append(ref)
        rig.end_as(ref, JobState.SUCCEEDED)
        assert rig.log(ref) == b"alone\n"

    def test_close_leaves_the_job(
        self, rig: Rig, probes: Probes, again: Driver, moment: float
    ) -> None:
        """Closing lets go of connections, twice if need be, and never of a job."""
        ref = rig.submit(probes.says(b"alone\n", after=moment))
        rig.driver.close()
        rig.driver.close()
        rig.driver = again
        rig.end_as(ref, JobState.SUCCEEDED)

    def test_environment_of_the_submitter_stays(
        self, rig: Rig, probes: Probes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No variable of the launcher travels unless it is named."""
        monkeypatch.setenv("BATCHBRIDGE_KIT_CANARY", "sang")
        assert rig.log(rig.submit(probes.shows("BATCHBRIDGE_KIT_CANARY"))) == rig.kept(b"unset")
        assert os.environ["BATCHBRIDGE_KIT_CANARY"] == "sang"


class Observing:
    """What a snapshot may say."""

    def test_unknown_job(self, rig: Rig, probes: Probes) -> None:
        """Of a job that never was nothing is seen; Absent only where the driver can tell."""
        ref = rig.submit(probes.exits(0))
        unknown = JobRef(ref.backend, ref.profile, ref.scope, rig.unknown_id)
        said = rig.told(unknown)
        assert not [one for one in said if isinstance(one, Seen)]
        if not rig.driver.capabilities.absence:
            assert not said, "Absent was said by a driver that does not declare absence"

    @needs("absence")
    def test_absence(self, rig: Rig, probes: Probes) -> None:
        """A job that the engine does not hold is denied."""
        ref = rig.submit(probes.exits(0))
        unknown = JobRef(ref.backend, ref.profile, ref.scope, rig.unknown_id)
        rig.until(unknown, lambda record: record.missing, "missing")

    def test_known_jobs_are_never_denied(self, rig: Rig, probes: Probes) -> None:
        """From the receipt to the end no snapshot denies the job."""
        ref = rig.submit(probes.sleeps(0.3))
        denied: list[Any] = []

        def over(record: Any) -> bool:
            denied.extend(said for said in rig.told(ref) if isinstance(said, Absent))
            return bool(record.terminal)

        rig.until(ref, over, "terminal")
        assert not denied

    def test_the_story_never_changes(self, rig: Rig, probes: Probes) -> None:
        """However often it is asked about the end, the driver says the same."""
        ref = rig.submit(probes.exits(3))
        rig.ended(ref)
        stories = {tuple(map(_ending, rig.told(ref))) for _ in range(5)}
        assert len(stories) == 1, stories
        assert "absent" not in stories.pop()

    def test_attempts_are_numbered_always_or_never(self, rig: Rig, probes: Probes) -> None:
        """The engine counts attempts, or fold does; an unnumbered final speaks of the job."""
        ref = rig.submit(probes.sleeps(0.3))
        numbers: set[int | None] = set()

        def over(record: Any) -> bool:
            said = [one for one in rig.told(ref) if isinstance(one, Seen)]
            numbers.update(
                one.attempt for one in said if not (one.final or one.state is JobState.SUBMITTED)
            )
            return bool(record.terminal)

        rig.until(ref, over, "terminal")
        assert None not in numbers or len(numbers) == 1, numbers
        if rig.driver.capabilities.counts_attempts:
            assert None not in numbers

    def test_plain_data(self, rig: Rig, probes: Probes) -> None:
        """All that a driver returns is the contract's own, of plain values, as JSON shows."""
        ref = rig.submit(probes.says(b"x\n"))
        rig.ended(ref)
        batch = rig.driver.snapshot(ref.scope, [ref.id])
        page = rig.driver.read_logs(ref, 1, "stdout", None, ended=True, wait=0)
        assert type(batch) is Batch
        assert type(batch.observations) is tuple
        for value in (page, *batch.observations):
            assert type(value) in (LogPage, Seen, Absent)
            assert _json_round_trip(value, type(value)) == value
            foreign = [f.name for f in fields(value) if type(getattr(value, f.name)) not in PLAIN]
            assert not foreign, f"of types that are not the contract's: {foreign}"

    @needs("history")
    def test_a_latecomer_learns_the_end(self, rig: Rig, probes: Probes, again: Driver) -> None:
        """An ended job is known to a client that comes later."""
        ref = rig.submit(probes.exits(3))
        rig.ended(ref)
        rig.records.clear()
        rig.driver = again
        record = rig.ended(ref)
        assert (record.state, record.exit_code) == (JobState.FAILED, 3)

    @needs("no_reruns")
    def test_no_reruns(self, rig: Rig, probes: Probes) -> None:
        """A failed command is not run again."""
        record = rig.ended(rig.submit(probes.exits(3)))
        assert (record.attempt, record.exit_code) == (1, 3)

    def test_threads(self, rig: Rig, probes: Probes) -> None:
        """Verbs may be called from several threads at once."""

        def one(code: int) -> int | None:
            ref = rig.submit(probes.exits(code))
            record = rig.ended(ref)
            assert rig.log(ref) == b""
            rig.cancel(ref)
            return record.exit_code

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(one, range(1, 7))) == list(range(1, 7))


def _is_written(kind: type[Driver], verb: str) -> bool:
    return getattr(kind, verb) is not getattr(BatchDriver, verb)


def _ending(said: Seen | Absent) -> Any:
    return (said.state, said.exit_code, said.signal) if isinstance(said, Seen) else "absent"


def _json_round_trip(value: Any, kind: type[Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


class ErrorLaw:
    """An error is not an observation. Needs the fixture `unreachable`."""

    def test_unreachable_submit(self, unreachable: Driver, rig: Rig, probes: Probes) -> None:
        """A submit that could not be sent raises; it is no receipt, and no refusal by an engine."""
        with pytest.raises(BatchBridgeError) as caught:
            list(unreachable.submit([rig.submission(probes.exits(0))]))
        assert not isinstance(caught.value, Rejected)

    def test_unreachable_snapshot(self, unreachable: Driver, rig: Rig, probes: Probes) -> None:
        """A snapshot that could not be taken raises; it never says Absent."""
        ref = rig.submit(probes.exits(0))
        with pytest.raises(BatchBridgeError):
            unreachable.snapshot(ref.scope, [ref.id])

    def test_unreachable_logs(self, unreachable: Driver, rig: Rig, probes: Probes) -> None:
        """A page that could not be read raises; it is no end of the log."""
        ref = rig.submit(probes.exits(0))
        with pytest.raises(BatchBridgeError):
            unreachable.read_logs(ref, 1, "stdout", None, ended=True, wait=0)

    def test_unreachable_cancel(self, unreachable: Driver, rig: Rig, probes: Probes) -> None:
        """A cancel that could not be asked for raises."""
        ref = rig.submit(probes.exits(0))
        with pytest.raises(BatchBridgeError):
            unreachable.cancel([ref], reason="the kit asked")

    def test_unreachable_probe(self, unreachable: Driver) -> None:
        """Looking whether the engine can be used says no; it does not raise."""
        checks = list(unreachable.probe())
        assert [c for c in checks if not c.ok and c.detail], f"nothing is wrong, it says: {checks}"

    def test_probe(self, driver: Driver) -> None:
        """Looking at an engine that can be used finds nothing wrong."""
        assert not [check for check in driver.probe() if not check.ok]
