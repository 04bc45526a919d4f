"""What Ctrl-C does, with real signals on a real terminal."""

from __future__ import annotations

import json

import pytest

from .conftest import until

FOREVER = ("--", "sh", "-c", "echo started; sleep 600")


def submitted(terminal) -> str:
    return terminal.expect(r"submitted (\S+)")[1]


def test_the_first_interrupt_detaches_and_says_how_to_come_back(bb, terminal):
    following = terminal("submit", "--follow", *FOREVER)
    ref = submitted(following)
    following.expect("started")
    following.interrupt()
    way_back = following.expect(r"To come back: batchbridge (watch --logs \S+)")[1]
    assert following.end() == 130
    (job,) = bb.json("status", ref)
    assert job["state"] == "RUNNING"

    again = terminal(*way_back.split())
    again.expect("started")
    bb("cancel", ref)
    again.expect("CANCELLED")
    assert again.end() == 143


def test_a_second_interrupt_cancels(bb, terminal):
    following = terminal("submit", "--follow", *FOREVER)
    ref = submitted(following)
    following.expect("started")
    following.interrupt()
    following.expect("Ctrl-C again within 3 s cancels")
    following.interrupt()
    following.expect("asked to cancel")
    assert following.end() == 130
    bb("wait", ref, code=143)
    (job,) = bb.json("status", ref)
    assert (job["state"], job["cause"]) == ("CANCELLED", "CANCELLED")


def test_an_interrupt_of_wait_leaves_the_jobs_alone(bb, terminal):
    ref = bb.submit(*FOREVER)
    until(lambda: bb.json("status", ref)[0]["state"] == "RUNNING")
    waiting = terminal("wait", "--json", ref, bb.ended("--", "true"))
    waiting.expect("SUCCEEDED")
    waiting.interrupt()
    assert waiting.end() == 130
    assert bb.json("status", ref)[0]["state"] == "RUNNING"
    bb("cancel", ref)


def test_an_interrupt_of_watch_leaves_the_jobs_alone(bb, terminal):
    ref = bb.submit("--name", "going", *FOREVER)
    watching = terminal("watch", ref)
    watching.expect("RUNNING")
    watching.interrupt()
    assert watching.end() == 130
    assert "Traceback" not in watching.seen
    assert bb.json("status", ref)[0]["state"] == "RUNNING"
    bb("cancel", ref)


def test_an_interrupted_bulk_submit_goes_on_with_its_key(bb, terminal, world):
    command = (
        "--array",
        "0-3%1",
        "--",
        "sh",
        "-c",
        f"until [ -e {world}/gate ]; do sleep .05; done",
    )
    submitting = terminal("submit", *command)
    key = submitting.expect(r"--key (\S+)")[1]
    submitting.expect("local://")
    submitting.interrupt()
    submitting.expect("detached")
    assert submitting.end() == 130
    assert len(bb.json("list")) == 1
    (world / "gate").touch()
    refs = bb("submit", "--key", key, "--wait", *command).stdout.split()
    assert len(set(refs)) == 4
    assert {job["ref"] for job in bb.json("list")} == set(refs)


def test_cancel_of_more_than_one_asks_on_a_terminal(bb, terminal):
    refs = [bb.submit(*FOREVER) for _ in range(2)]
    asking = terminal("cancel", *refs)
    asking.expect("Cancel these 2 jobs")
    asking.type("n\n")
    assert asking.end() == 130
    assert not any(job["terminal"] for job in bb.json("status", *refs))
    asking = terminal("cancel", *refs)
    asking.expect("Cancel these 2 jobs")
    asking.type("y\n")
    asking.expect("asked to cancel 2")
    assert asking.end() == 0
    bb("wait", *refs, code=1)


def test_cancel_of_more_than_one_does_not_ask_with_yes(bb, terminal):
    refs = [bb.submit(*FOREVER) for _ in range(2)]
    assert terminal("cancel", "--yes", *refs).end() == 0
    assert "2 CANCELLED" in bb("wait", *refs, code=1).stderr


@pytest.mark.parametrize("flags", [(), ("--wait",)])
def test_a_bar_shows_how_many_are_done_and_stdout_is_the_references_alone(terminal, world, flags):
    with (world / "out").open("wb") as out:
        submitting = terminal("submit", "--array", "0-2", *flags, "--", "true", stdout=out.fileno())
    submitting.expect("submitted .*/3")
    if flags:
        submitting.expect("ended .*/3")
    assert submitting.end() == 0
    lines = (world / "out").read_text().splitlines()
    assert [line.partition("//")[0] for line in lines] == ["local:"] * 3


@pytest.mark.parametrize("unwanted", [None, ("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_is_shown_colours_unless_they_are_unwanted(bb, terminal, monkeypatch, unwanted):
    bb.ended("--", "true")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if unwanted:
        monkeypatch.setenv(*unwanted)
    listing = terminal("list")
    assert listing.end() == 0
    assert ("\x1b[32mSUCCEEDED" in listing.seen) is (unwanted is None)
    assert ("\x1b" in listing.seen) is (unwanted is None)


def test_watch_is_a_table_on_a_terminal_and_lines_elsewhere(bb, terminal, world):
    command = f"until [ -e {world}/gate ]; do sleep .05; done"
    refs = [bb.submit("--name", f"job-{n}", "--command", command) for n in range(2)]
    watching = terminal("watch", *refs)
    watching.expect("JOB.*STATE.*ATTEMPT")
    watching.expect("job-1")
    (world / "gate").touch()
    watching.expect("2 SUCCEEDED")
    assert watching.end() == 0
    lines = bb("watch", *refs).stdout.splitlines()
    assert len([line for line in lines if "SUCCEEDED" in line]) == 2
    events = bb("watch", "--json", *refs).stdout.splitlines()
    assert {json.loads(line)["event"] for line in events} == {"state"}
