"""Why jobs wait, lost answers, and refusals, with an engine that does as it is told."""

from __future__ import annotations

import json
import re
from typing import ClassVar

import pytest

from batchbridge import registry
from batchbridge.cli import following
from batchbridge.driver import Capabilities
from batchbridge.errors import AuthError, KeyConflict, TransportError
from batchbridge.model import Explanation, JobState, LogPage, Receipt, Seen
from tests.core.fakes import Fake


class Script(Fake):
    """Answers for all of its instances, since each command makes one."""

    reasons: ClassVar[list[str]] = []
    lost: ClassVar[bool] = False
    refused: ClassVar[bool] = False
    sent: ClassVar[list[str]] = []

    def submit(self, submissions):
        if self.refused:
            raise AuthError("who are you?", remedy="log in")
        for submission in submissions:
            self.sent.append(submission.key)
            if self.lost:
                raise TransportError("cut")
            yield Receipt(submission.key, id=submission.key, created=True)

    def snapshot(self, scope, known):
        for job_id in known:
            state = JobState.QUEUED if self.reasons else JobState.SUCCEEDED
            self.said[job_id] = [Seen(job_id, state, final=not self.reasons)]
        return super().snapshot(scope, known)

    def explain(self, ref):
        return Explanation(self.reasons.pop(0), "buy a machine") if self.reasons else None


class Repeatable(Script):
    capabilities = Capabilities(idempotency="exact", no_reruns=True)


class Forgetful(Script):
    capabilities = Capabilities(idempotency="best_effort", idempotency_window=1e-9, no_reruns=True)


@pytest.fixture
def engine(request, monkeypatch):
    driver = getattr(request, "param", Script)
    monkeypatch.setattr(Script, "reasons", [])
    monkeypatch.setattr(Script, "sent", [])
    monkeypatch.setattr("batchbridge.submit.delays", lambda: iter([0.0] * 100))
    with registry.registered(driver):
        yield driver


@pytest.mark.parametrize(
    "command",
    [
        ("submit", "--backend", "fake", "--follow", "--name", "n", "--", "true"),
        ("submit", "--backend", "fake", "--wait", "--name", "n", "--", "true"),
        ("submit", "--backend", "fake", "--array", "0-0%1", "--name", "n", "--wait", "--", "true"),
    ],
)
def test_a_job_says_why_it_waits_and_again_when_that_changes(bb, engine, monkeypatch, command):
    monkeypatch.setattr(following, "PATIENCE", 0.01)
    engine.reasons.extend(["no room"] * 3 + ["no gpu"] * 2)
    told = [line for line in bb(*command).stderr.splitlines() if "waits" in line]
    assert [line.partition(" waits: ")[2] for line in told] == [
        "no room; buy a machine",
        "no gpu; buy a machine",
    ]
    assert told[0].startswith("note: n")


def test_nothing_is_said_before_ten_seconds(bb, engine):
    assert following.PATIENCE == 10.0
    engine.reasons.append("no room")
    ref = bb.submit("--backend", "fake", "--", "true")
    assert "waits" not in bb("wait", "--timeout", "500ms", ref, code=125).stderr


@pytest.mark.parametrize("error", [TransportError("cut"), KeyError("a driver's slip")])
def test_an_explanation_that_fails_does_not_end_the_waiting(bb, engine, monkeypatch, error):
    monkeypatch.setattr(following, "PATIENCE", 0.01)
    engine.reasons.append("no room")

    def explain(self, ref):
        self.reasons.clear()
        raise error

    monkeypatch.setattr(engine, "explain", explain)
    bb("submit", "--backend", "fake", "--wait", "--", "true")


def test_a_lost_answer_is_an_unknown_outcome_and_list_says_where_to_look(bb, engine, monkeypatch):
    monkeypatch.setattr(engine, "lost", True)
    result = bb("submit", "--backend", "fake", "--name", "n", "--", "true", code=125)
    assert "no answer" in result.stderr
    assert len(engine.sent) == 1
    listed = bb("list")
    assert listed.stdout == ""
    assert f"n ({engine.sent[0]}) at fake://fake: outcome unknown" in listed.stderr
    assert "batchbridge list --backend fake" in listed.stderr
    assert "submits of the last week whose outcome is unknown: 1" in bb("doctor", code=125).stdout


@pytest.mark.parametrize("engine", [Repeatable], indirect=True)
def test_where_a_key_is_one_job_a_command_settles_a_lost_answer(bb, engine, monkeypatch):
    monkeypatch.setattr(engine, "lost", True)
    bb("submit", "--backend", "fake", "--key", "k", "--job-set", "s", "--", "true", code=125)
    monkeypatch.setattr(engine, "lost", False)
    command = bb("list").stderr.strip().partition("settle it with: batchbridge ")[2]
    assert command == "resubmit --key k"
    assert bb(*command.split()).stdout == "fake://fake/k\n"
    assert set(engine.sent) == {"k"}
    assert "unknown" not in bb("list").stderr
    assert bb.json("list")[0]["job_set"] == "s"


@pytest.mark.parametrize("engine", [Script, Forgetful], indirect=True)
def test_what_its_key_does_not_make_one_job_is_not_submitted_again(bb, engine, monkeypatch):
    monkeypatch.setattr(engine, "lost", True)
    bb("submit", "--backend", "fake", "--key", "k", "--", "true", code=125)
    monkeypatch.setattr(engine, "lost", False)
    engine.sent.clear()
    assert "look for it with: batchbridge list --backend fake" in bb("list").stderr
    refused = bb("resubmit", "--key", "k", code=2).stderr
    assert "does not know by the key 'k' whether it has that job" in refused
    assert engine.sent == []


@pytest.mark.parametrize("engine", [Repeatable], indirect=True)
def test_another_job_refused_under_its_key_leaves_a_lost_answer_open(bb, engine, monkeypatch):
    def taken(self, submissions):
        return (Receipt(one.key, error=KeyConflict("another's")) for one in submissions)

    monkeypatch.setattr(engine, "lost", True)
    bb("submit", "--backend", "fake", "--key", "k", "--name", "n", "--", "true", code=125)
    monkeypatch.setattr(engine, "submit", taken)
    bb("submit", "--backend", "fake", "--key", "k", "--name", "other", "--", "false", code=125)
    assert "n (k) at fake://fake: outcome unknown" in bb("list").stderr


@pytest.mark.parametrize("many", [(), ("--array", "0-1")])
def test_an_interrupt_while_submitting_says_where_to_look(bb, engine, monkeypatch, many):
    def submit(self, submissions):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "submit", submit)
    stderr = bb("submit", "--backend", "fake", *many, "--", "true", code=130).stderr
    assert "interrupted while submitting; batchbridge list tells" in stderr
    assert "outcome unknown" in bb("list").stderr


def test_an_engine_that_tells_no_times_leaves_the_age_to_the_journal(bb, engine):
    ref = bb.submit("--backend", "fake", "--", "true")
    for verb in (("list",), ("status", ref), ("status", ref[:-4])):
        (line,) = bb(*verb).stdout.splitlines()[1:]
        assert re.search(r" \d+s +fake://", line), line


def test_an_outage_is_told_once_and_waited_out(bb, engine, monkeypatch):
    monkeypatch.setattr("batchbridge.backoff.delays", lambda: iter([0.0] * 100))
    answers, outage = engine.snapshot, [TransportError("connection refused") for _ in range(6)]

    def snapshot(self, scope, known):
        if outage:
            raise outage.pop()
        return answers(self, scope, known)

    monkeypatch.setattr(engine, "snapshot", snapshot)
    result = bb("submit", "--backend", "fake", "--wait", "--", "true")
    assert result.stderr == "note: fake cannot be asked; trying on: connection refused\n"


def test_a_refusal_shows_its_remedy_and_no_traceback(bb, engine, monkeypatch):
    monkeypatch.setattr(engine, "refused", True)
    result = bb("submit", "--backend", "fake", "--", "true", code=125)
    assert result.stderr == "error: who are you?\n  → log in\n"
    assert "Traceback" in bb.debug("submit", "--backend", "fake", "--", "true").stderr


def test_a_bug_is_one_line_and_says_how_to_see_more(bb, engine, monkeypatch):
    def broken(self, ref):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(engine, "explain", broken)
    ref = bb.submit("--backend", "fake", "--", "true")
    result = bb("explain", ref, code=125)
    assert result.stderr.startswith("error: unexpected ZeroDivisionError: oops\n")
    assert "--debug" in result.stderr
    assert "ZeroDivisionError" in bb.debug("explain", ref).stderr


def test_limits_that_nobody_can_hold_are_refused_when_detaching(bb, engine):
    result = bb("submit", "--backend", "fake", "--timeout", "5m", "--", "true", code=2)
    assert "--wait or --follow" in result.stderr
    bb("submit", "--backend", "fake", "--timeout", "5m", "--wait", "--", "true")


def test_inferred_states_are_shown_on_demand(bb, engine):
    command = ("submit", "--backend", "fake", "--follow")
    assert "(inferred)" not in bb(*command, "--", "true").stderr
    assert "RUNNING (inferred)" in bb(*command, "-v", "--", "true").stderr


def test_logs_of_an_engine_without_them_do_not_hide_the_end(bb, engine, monkeypatch):
    from batchbridge.errors import LogsUnavailable

    def read_logs(self, *args, **kwargs):
        raise LogsUnavailable("this engine keeps none")

    monkeypatch.setattr(engine, "read_logs", read_logs)
    result = bb("submit", "--backend", "fake", "--follow", "--", "true")
    assert "this engine keeps none" in result.stderr
    assert "SUCCEEDED" in result.stderr


def test_lost_output_is_marked(bb, engine, monkeypatch):
    page = LogPage(b"rest\n", "9", eof=True, truncated=True)
    monkeypatch.setattr(engine, "read_logs", lambda self, *args, **kwargs: page)
    result = bb("submit", "--backend", "fake", "--follow", "--", "true")
    assert "rest\n" in result.stdout
    assert "was lost here" in result.stderr


def test_json_of_an_engine_in_this_process(bb, engine):
    ref = bb.submit("--backend", "fake", "--", "true")
    assert json.loads(bb("wait", "--json", ref).stdout)["ref"] == ref
