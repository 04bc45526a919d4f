"""Submitting again what the journal knows."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def flag(world):
    """A command that fails until a file is there."""
    return world / "flag", ("--command", f"test -e {world}/flag || exit 3")


def test_the_failed_ones_of_a_set_are_submitted_again_until_they_succeed(bb, flag):
    path, command = flag
    bb.ended("--job-set", "s", "--name", "good", "--", "true")
    first = bb.ended("--job-set", "s", "--name", "flaky", *command)
    result = bb("resubmit", "--failed", "s", "--wait", code=3)
    second = result.stdout.strip()
    path.touch()
    third = bb("resubmit", "--failed", "s", "--wait").stdout.strip()
    assert len({first, second, third}) == 3
    assert bb("resubmit", "--failed", "s").stdout == ""
    assert len(bb.json("list", "--job-set", "s")) == 4
    assert {job["name"] for job in bb.json("status", first, second, third)} == {"flaky"}


def test_a_job_is_submitted_again_as_it_was(bb, world, monkeypatch):
    (world / "here" / "script.sh").write_text('echo "$GREETING from $(basename $PWD)"\n')
    ref = bb.ended("--env", "GREETING=hello", "--", "sh", "script.sh")
    monkeypatch.chdir(world)
    again = bb("resubmit", ref, "--wait").stdout.strip()
    assert again != ref
    assert bb("logs", again).stdout == "hello from here\n"
    assert bb("resubmit", ref, "--wait").stdout.strip() not in (ref, again)


def test_it_is_the_job_that_was_accepted_not_the_one_refused_under_its_key(bb):
    bb("submit", "--key", "k", "--memory", "900000G", "--", "echo", "old", code=125)
    ref = bb.ended("--key", "k", "--memory", "1M", "--", "echo", "new")
    again = bb("resubmit", ref, "--wait").stdout.strip()
    assert bb("logs", again).stdout == "new\n"


def test_it_is_submitted_from_a_directory_whose_name_is_no_text(bb, world, monkeypatch):
    odd = world / os.fsdecode(b"od\xff")
    odd.mkdir()
    (odd / "script.sh").write_text("echo there\n")
    monkeypatch.chdir(odd)
    ref = bb.ended("--", "sh", "script.sh")
    monkeypatch.chdir(world)
    again = bb("resubmit", ref, "--wait").stdout.strip()
    assert bb("logs", again).stdout == "there\n"


def test_it_goes_to_the_engine_that_it_was_at(bb, world):
    ref = bb.ended("--root", str(world / "other"), "--", "true")
    again = bb("resubmit", ref, "--wait").stdout.strip()
    assert again.rpartition("/")[0] == ref.rpartition("/")[0]


def test_a_job_that_is_not_in_the_journal_cannot_be(bb, world, monkeypatch):
    ref = bb.ended("--", "true")
    monkeypatch.setenv("BATCHBRIDGE_STATE_DIR", str(world / "another"))
    assert "was not submitted from here" in bb("resubmit", ref, code=2).stderr


def test_a_directory_that_is_gone_is_named(bb, world, monkeypatch):
    ref = bb.ended("--", "true")
    monkeypatch.chdir(world)
    (world / "here").rmdir()
    assert "is not there any more" in bb("resubmit", ref, code=2).stderr


@pytest.mark.parametrize("args", [[], ["x", "--failed", "s"], ["--failed", "s", "--key", "k"]])
def test_one_way_to_say_which(bb, args):
    assert "--failed and --key" in bb("resubmit", *args, code=2).stderr


def test_what_is_not_known_is_no_such_job(bb):
    assert "'k'" in bb("resubmit", "--key", "k", code=125).stderr
    assert "'s'" in bb("resubmit", "--failed", "s", code=125).stderr
