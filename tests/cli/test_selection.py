"""Which jobs are meant, and the verbs that ask once."""

from __future__ import annotations

import json
import re
import sys
from io import StringIO
from pathlib import Path

import pytest

from batchbridge.cli.selection import _expanded
from batchbridge.errors import SpecError

from .conftest import until


@pytest.fixture
def three(bb):
    """Ended jobs: one succeeded, one failed, and one of another set that was cancelled."""
    good = bb.ended("--name", "good", "--job-set", "a", "--", "true")
    bad = bb.ended("--name", "bad", "--job-set", "a", "--command", "echo why >&2; exit 3")
    gone = bb.submit("--name", "gone", "--job-set", "b", "--", "sleep", "600")
    bb("cancel", gone)
    bb("wait", gone, code=143)
    return good, bad, gone


def names(jobs: list[dict]) -> list[str]:
    return [job["name"] for job in jobs]


def test_jobs_are_meant_by_reference_prefix_name_and_stdin(bb, three):
    good, bad, _ = three
    job_id = bad.rpartition("/")[2]
    assert names(bb.json("status", good, bad)) == ["good", "bad"]
    assert names(bb.json("status", job_id)) == ["bad"]
    assert names(bb.json("status", bad[:-4])) == ["bad"]
    assert names(bb.json("status", "gone")) == ["gone"]
    lines = bb("status", "-", "--json", input=f"{good}\n\ngone\n").stdout.splitlines()
    assert names([json.loads(line) for line in lines]) == ["good", "gone"]


def test_jobs_are_meant_by_set_state_time_and_owner(bb, three):
    assert set(names(bb.json("status", "--job-set", "a"))) == {"good", "bad"}
    assert names(bb.json("status", "--job_set", "a", "--state", "failed")) == ["bad"]
    assert len(bb.json("status", "--since", "1h")) == 3
    assert len(bb.json("status", "--mine", "--state", "CANCELLED", "--state", "FAILED")) == 2
    assert bb.json("list", "--since", "2099-01-01") == []
    assert names(bb.json("status", "good", "bad", "--state", "FAILED")) == ["bad"]
    assert names(bb.json("list")) == ["gone", "bad", "good"]


def test_a_job_named_twice_is_one(bb, three):
    assert names(bb.json("status", three[0], "good", three[0])) == ["good"]


def test_a_name_means_all_that_bear_it(bb):
    refs = {bb.ended("--name", "twin", "--", "true") for _ in range(2)}
    assert {job["ref"] for job in bb.json("status", "twin")} == refs


def test_an_ambiguous_prefix_lists_what_it_may_mean(bb, three):
    result = bb("status", "local://", code=2)
    assert "'local://' may mean any of 3 jobs" in result.stderr
    assert all(ref in result.stderr for ref in three)


def test_nothing_named_is_wrong_usage_and_nothing_found_is_no_such_job(bb, three):
    assert "no jobs are named" in bb("cancel", code=2).stderr
    assert "'nope'" in bb("wait", "nope", code=125).stderr
    assert "no such jobs" in bb("wait", "--job-set", "nope", code=125).stderr
    assert "no date" in bb("list", "--since", "2026-99-01", code=2).stderr
    assert "no time" in bb("list", "--since", "soon", code=2).stderr


def test_a_reference_that_nobody_knows_is_no_such_job_for_every_verb(bb):
    ref = "local://local/c0ffee"
    for verb in ("status", "wait", "watch", "logs", "cancel", "explain"):
        assert "knows no job" in bb(verb, ref, code=125).stderr
    assert "is no reference" in bb("status", "local://", code=2).stderr


def test_cancel_with_purge_waits_for_the_end_and_leaves_nothing(bb, world):
    going = bb.submit("--", "sleep", "600")
    over = bb.ended("--", "echo", "said")
    (directory,) = [h for h in bb.json("explain", over)[0]["hints"].values() if "spool" in h]
    told = bb("cancel", "--purge", going, over).stderr
    assert "asked to cancel 1; 1 were over already" in told
    assert "removed 2, their logs with them" in told
    assert not Path(directory).exists()
    for ref in (going, over):
        assert "knows no job" in bb("status", ref, code=125).stderr


@pytest.mark.parametrize("verb", [("preempt",), ("reprioritise", "--priority", "3")])
def test_what_an_engine_cannot_do_is_said_before_it_is_asked(bb, verb):
    ref = bb.submit("--", "sleep", "600")
    assert f"local has no {verb[0]}" in bb(*verb, ref, code=2).stderr
    bb("cancel", ref)
    bb("wait", ref, code=143)
    assert f"local has no {verb[0]}" in bb(*verb, ref, code=2).stderr


def test_a_word_that_is_no_text_is_wrong_usage(bb, monkeypatch):
    assert "JOB holds what is not UTF-8" in bb("status", "\udcff", code=2).stderr
    monkeypatch.setattr(sys, "stdin", StringIO("\udcff\n"))  # as it is read where LANG is C
    with pytest.raises(SpecError, match="JOB holds what is not UTF-8"):
        list(_expanded(["-"]))


@pytest.mark.parametrize(
    ("verb", "flag"),
    [
        ("list", "--job-set"),
        ("cancel", "--reason"),
        ("preempt", "--reason"),
        ("resubmit", "--key"),
        ("resubmit", "--failed"),
    ],
)
def test_what_is_no_text_is_refused_where_it_enters(bb, verb, flag):
    stderr = bb(verb, flag, "\udcff", code=2).stderr
    assert f"error: {flag[2:].replace('-', '_')} holds what is not UTF-8" in stderr


def test_an_undefined_profile_in_a_reference_is_named(bb):
    assert "elsewhere" in bb("status", "local://elsewhere/c0ffee", code=2).stderr


def test_a_profile_that_is_gone_is_no_matter_unless_a_job_of_its_is_meant(bb, world, monkeypatch):
    monkeypatch.setenv("BATCHBRIDGE_SITE_ROOT", str(world / "other"))
    (world / "here" / "batchbridge.toml").write_text('[profile.site]\nbackend = "local"\n')
    lost = bb.ended("--profile", "site", "--name", "lost", "--", "true")
    bb.ended("--name", "found", "--", "true")
    (world / "here" / "batchbridge.toml").unlink()
    assert bb("status", "found").stderr == ""
    for word in ("lost", lost.rpartition("/")[2]):
        assert "no profile 'site'" in bb("status", word, code=125).stderr
    assert "no profile 'site'" in bb("status", "--mine", code=125).stderr


def test_the_table_is_whole_and_aligned(bb, three):
    lines = bb("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "JOB", "SET", "AGE", "REFERENCE"]
    assert lines[2].startswith("bad   FAILED (EXIT_CODE 3)")
    starts = {line.index("local://") for line in lines[1:]}
    assert len(starts) == 1


def test_a_name_cannot_control_the_terminal(bb):
    bb.ended("--name", "a\x1b[31mb\nc", "--", "true")
    for line in bb("list").stdout.splitlines()[1:]:
        assert line.startswith(r"'a\x1b[31mb\nc'  SUCCEEDED")


def test_a_job_as_json_has_the_documented_fields(bb, three):
    (job,) = bb.json("status", "bad")
    assert list(job) == [
        *("ref", "name", "job_set", "backend", "state", "attempt", "cause", "exit_code", "signal"),
        *("message", "node", "submitted_at", "started_at", "finished_at", "terminal"),
    ]
    assert (job["state"], job["cause"], job["exit_code"]) == ("FAILED", "EXIT_CODE", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", job["submitted_at"])


def test_wait_names_what_did_not_succeed_and_counts_by_state_and_cause(bb, three):
    result = bb("wait", *three, code=1)
    assert "3 jobs: 1 SUCCEEDED, 1 FAILED (EXIT_CODE), 1 CANCELLED" in result.stderr
    assert result.stderr.count("local://") == 2
    assert bb("wait", "good").stdout == ""
    bb("wait", "bad", code=3)
    assert set(names(bb.json("wait", *three, code=1))) == {"good", "bad", "gone"}


def test_wait_gives_up_after_its_timeout_and_the_job_goes_on(bb):
    ref = bb.submit("--", "sleep", "600")
    assert "1 of 1 jobs had not ended" in bb("wait", "--timeout", "300ms", ref, code=125).stderr
    assert not bb.json("status", ref)[0]["terminal"]
    bb("cancel", ref)


def test_cancel_takes_queued_jobs_and_leaves_what_is_over(bb, three):
    first = bb.submit("--max-cpu", "1", "--cpu", "1", "--", "sleep", "600")
    second = bb.submit("--max-cpu", "1", "--cpu", "1", "--", "sleep", "600")
    until(lambda: bb.json("status", first)[0]["state"] == "RUNNING")
    assert bb.json("status", second)[0]["state"] == "QUEUED"
    result = bb("cancel", "--reason", "enough", first, second, three[0])
    assert "asked to cancel 2; 1 were over already" in result.stderr
    assert "2 CANCELLED" in bb("wait", first, second, code=1).stderr
    assert bb.json("status", "good")[0]["state"] == "SUCCEEDED"


def test_explain_says_why_a_job_waits_and_how_one_ended(bb, three):
    running = bb.submit("--max-cpu", "1", "--cpu", "1", "--name", "first", "--", "sleep", "600")
    waiting = bb.submit("--max-cpu", "1", "--cpu", "1", "--", "true")
    until(lambda: bb.json("status", running)[0]["state"] == "RUNNING")
    told = bb("explain", waiting).stdout
    assert "QUEUED" in told
    assert "1 of 1 are in use" in told
    assert "FAILED (EXIT_CODE 3)" in bb("explain", "bad").stdout
    assert bb.json("explain", waiting)[0]["summary"] in told
    bb("cancel", running, waiting)


def test_list_shows_jobs_of_engines_given_ad_hoc_too_and_narrows_to_one(bb, three, world):
    there = bb.ended("--root", str(world / "other"), "--name", "there", "--", "true")
    assert names(bb.json("list")) == ["there", "gone", "bad", "good"]
    assert names(bb.json("list", "--root", str(world / "other"))) == ["there"]
    assert names(bb.json("list", "--backend", "local")) == ["gone", "bad", "good"]
    assert bb("logs", there).stdout == ""


def test_list_without_an_engines_answer_shows_the_rest_and_is_125(bb, three, world):
    elsewhere = world / "other"
    bb.ended("--root", str(elsewhere), "--name", "there", "--", "true")
    for path in sorted(elsewhere.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    elsewhere.rmdir()
    elsewhere.write_text("no directory")
    result = bb("list", "--json", code=125)
    assert {"gone", "bad", "good"} <= set(
        names([json.loads(x) for x in result.stdout.splitlines()])
    )
    assert "error: local://" in result.stderr


def test_a_default_engine_that_cannot_be_used_hides_no_other(bb, three, monkeypatch):
    monkeypatch.setenv("BATCHBRIDGE_PROFILE", "nope")
    assert names(bb.json("status", three[0])) == ["good"]
    assert bb("logs", three[1]).stderr == "why\n"
    assert set(names(bb.json("list", code=125))) == {"gone", "bad", "good"}
    assert "no profile 'nope' is defined here" in bb("submit", "--", "true", code=2).stderr


def test_what_is_older_than_a_week_is_counted_and_shown_on_demand(bb, three, world, monkeypatch):
    monkeypatch.setattr("batchbridge.cli.selection.WINDOW", -60.0)
    assert "older than" in bb("list").stderr
    assert len(bb.json("list", "--since", "1h")) == 3
