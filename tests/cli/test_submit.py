from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import fields

import pytest

from batchbridge.cli.flags import FIELDS, job_flags
from batchbridge.model import JobSpec


def test_the_reference_alone_is_on_stdout_and_the_job_goes_on(bb, world):
    gate = world / "gate"
    result = bb(
        "submit", "--name", "x", "--", "sh", "-c", f"until [ -e {gate} ]; do sleep .05; done"
    )
    ref = result.stdout.removesuffix("\n")
    assert ref.startswith("local://local/")
    assert "\n" not in ref
    assert result.stderr == ""
    (job,) = bb.json("status", ref)
    assert not job["terminal"]
    gate.touch()
    assert "SUCCEEDED" in bb("wait", ref).stderr


def test_every_field_of_a_job_is_a_flag_of_its_name():
    assert list(FIELDS) == [field.name for field in fields(JobSpec)]
    spelt = {flag for option in job_flags() for flag in option.opts}
    assert {"--" + field.name.replace("_", "-") for field in fields(JobSpec)} <= spelt


def test_flags_reach_the_job(bb):
    payload = json.loads(
        bb(
            *(
                "submit",
                "--dry-run",
                "--name",
                "n",
                "--env",
                "A=1",
                "--env",
                "B=x=y",
                "--cpu",
                "0.5",
            ),
            *("--memory", "4G", "--label", "team=ml", "--job_set", "s", "--timeout", "2h"),
            *("--queue-timeout", "90s", "--workdir", "/tmp", "--", "echo", "--cpu", "9"),
        ).stdout
    )
    told = json.dumps(payload)
    assert payload["command"][1:] == ["--cpu", "9"]
    for part in ('"A": "1"', '"B": "x=y"', "4294967296", '"team"', '"s"', "7200", "90", '"/tmp"'):
        assert part in told


def test_a_dry_run_sends_nothing_and_reads_no_secret(bb, monkeypatch):
    monkeypatch.setenv("TOKEN", "canary-5be1")
    result = bb("submit", "--dry-run", "--secret", "TOKEN", "--", "true")
    assert "TOKEN" in result.stdout
    assert "canary" not in result.output
    assert bb.json("list") == []


def test_following_shows_states_and_output_and_ends_with_the_jobs_exit_code(bb):
    result = bb("submit", "--follow", "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert result.stdout == "out\n"
    lines = result.stderr.splitlines()
    assert "err" in lines
    assert lines[0].startswith("note: submitted local://")
    assert [line.split()[2] for line in lines if line[2:3] == ":"] == [
        "SUBMITTED",
        "QUEUED",
        "RUNNING",
        "FAILED",
    ]
    assert any("(EXIT_CODE 3)" in line for line in lines)
    assert lines[-1].startswith("note: directory: ")


def test_following_as_json_is_events_alone(bb):
    result = bb(
        "submit", "--follow", "--json", "--", "sh", "-c", "printf 'a\\377b'; kill -9 $$", code=137
    )
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {event["event"] for event in events} == {"state", "log"}
    assert (
        "".join(e["data"] for e in events if e["event"] == "log") == "a\N{REPLACEMENT CHARACTER}b"
    )
    states = [event for event in events if event["event"] == "state"]
    assert set(states[0]) == {
        *("event", "ref", "name", "job_set", "backend", "state", "attempt", "cause", "exit_code"),
        *("signal", "message", "node", "submitted_at", "started_at", "finished_at", "terminal"),
        *("at", "observed_at", "inferred"),
    }
    assert (states[-1]["state"], states[-1]["signal"]) == ("FAILED", 9)


@pytest.mark.parametrize(
    ("command", "code", "why"),
    [
        ("exit 0", 0, ""),
        ("exit 7", 7, " FAILED: EXIT_CODE, exit code 7\n"),
        ("kill -15 $$", 143, " FAILED: SIGNAL, signal 15\n"),
    ],
)
def test_waiting_ends_with_the_jobs_exit_code_and_says_why_it_did_not_succeed(
    bb, command, code, why
):
    result = bb("submit", "--wait", "--command", command, code=code)
    assert result.stdout.startswith("local://local/")
    assert result.stderr == (result.stdout.strip() + why if why else "")


def test_a_run_timeout_is_124(bb):
    bb("submit", "--wait", "--timeout", "200ms", "--", "sleep", "60", code=124)


def test_the_same_key_is_the_same_job_and_another_command_is_refused(bb):
    assert bb.submit("--key", "k", "--", "true") == bb.submit("--key", "k", "--", "true")
    result = bb("submit", "--key", "k", "--", "false", code=125)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")


def test_a_script_that_is_only_here_travels(bb, world):
    (world / "here" / "script.sh").write_text("echo from the script\n")
    result = bb("submit", "--follow", "--upload", "script.sh", "--", "sh", "script.sh")
    assert result.stdout == "from the script\n"


def test_a_secret_reaches_the_command_and_nothing_else(bb, monkeypatch, world):
    monkeypatch.setenv("TOKEN", "canary-77ac")
    monkeypatch.setenv("STRAY", "stray-canary")
    ref = bb.ended("--secret", "TOKEN", "--", "sh", "-c", 'echo "${#TOKEN} ${STRAY-none}"')
    assert bb("logs", ref).stdout == "11 none\n"
    assert b"canary" not in (world / "state" / "journal.sqlite3").read_bytes()
    assert "canary" not in bb("status", "--json", ref).output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--memory", "lots", "--", "true"], "memory 'lots' is no size"),
        (["--cpu", "0", "--", "true"], "cpu must be more than 0"),
        (["--gpu", "-1", "--", "true"], "--gpu"),
        (["--env", "A", "--", "true"], "env: 'A' is not NAME=VALUE"),
        (["--image", "debian", "--", "true"], "local has no image"),
        (["-o", "nope=1", "--", "true"], "nope"),
        (["--backend", "locl", "--", "true"], "did you mean 'local'"),
        (["--backend", "local", "--profile", "other", "--", "true"], "one engine"),
        (["--grace", "soon", "--", "true"], "grace"),
        (["--array", "5-1", "--", "true"], "array"),
        (["--array", "0-1", "--file", "jobs.yaml"], "exclude each other"),
        (["--command", "true", "--", "true"], "exclude each other"),
        (["--secret", "NOT_SET_ANYWHERE", "--", "true"], "NOT_SET_ANYWHERE"),
        (["--upload", "not-there", "--", "true"], "not-there"),
        (["--", "echo", "a\udcff"], "command holds what is not UTF-8"),
        (["--name", "a\udcff", "--", "true"], "name holds what is not UTF-8"),
        (["--label", "a=\0", "--", "true"], "labels holds a NUL byte"),
        (["--key", "a\udcff", "--", "true"], "key holds what is not UTF-8"),
        ([], "command is missing"),
        (["--no-such-flag", "--", "true"], "--no-such-flag"),
    ],
)
def test_wrong_usage_is_2_says_why_and_submits_nothing(bb, args, words):
    result = bb("submit", *args, code=2)
    assert words in result.stderr
    assert result.stdout == ""
    assert bb.json("list") == []


@pytest.mark.parametrize("args", [["--profile", "prd"], []])
def test_an_engine_that_nothing_defines_is_refused_with_the_way_to_define_it(bb, world, args):
    (world / "here" / "batchbridge.toml").write_text('default_profile = "prd"\n')
    stderr = bb("submit", *args, "--", "true", code=2).stderr
    assert "no profile 'prd' is defined here" in stderr
    assert "[profile.prd]" in stderr


def test_settings_of_the_chosen_engine_are_flags(bb, world):
    spool = world / "elsewhere"
    ref = bb.submit("--root", str(spool), "--max-cpu", "1", "--backend", "local", "--", "true")
    assert spool.is_dir()
    assert ref.startswith("local://%2F")
    assert "SUCCEEDED" in bb("wait", ref).stderr
    helped = bb("submit", "--help").stdout
    for flag in ("--root", "--max-cpu", "--grace", "--backend", "--profile", "--memory"):
        assert flag in helped


def test_flags_after_the_command_are_the_commands(bb):
    ref = bb.ended("echo", "--backend", "nowhere", "--help")
    assert bb("logs", ref).stdout == "--backend nowhere --help\n"


ENDLESS = "while echo y; do sleep .01; done"


def test_a_reader_that_goes_away_ends_it_quietly():
    process = subprocess.Popen(
        [sys.executable, "-m", "batchbridge", "submit", "--follow", "--command", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    told = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 141
    assert "Traceback" not in told
    ref = told.split()[2]
    subprocess.run([sys.executable, "-m", "batchbridge", "cancel", ref], check=True)


def shell(line):
    """The line run by a shell, where $BB is the command line."""
    env = {**os.environ, "BB": f"{shlex.quote(sys.executable)} -m batchbridge"}
    return subprocess.run(["sh", "-c", line], env=env, capture_output=True, timeout=60)


def test_with_its_output_closed_it_does_what_was_asked(bb):
    result = shell("$BB submit --name mine --follow --command 'echo seen; exit 3' >&-")
    assert (result.returncode, result.stdout) == (3, b"")
    assert b"FAILED" in result.stderr
    assert bb("logs", "mine").stdout == "seen\n"
    assert shell("$BB watch mine --json >&- 2>&-").returncode == 3


def test_with_its_input_closed_nobody_is_asked(bb):
    refs = [bb.submit("--", "sleep", "600") for _ in range(2)]
    result = shell(f"$BB cancel {' '.join(refs)} <&-")
    assert (result.returncode, result.stderr) == (0, b"note: asked to cancel 2\n")


def test_where_the_terminal_lacks_a_character_it_is_replaced(bb):
    bb.ended("--", "true")
    result = shell("PYTHONIOENCODING=latin-1 $BB explain true")
    assert result.returncode == 0
    assert b"\n  ? directory: " in result.stdout


def test_a_directory_that_was_removed_is_told(bb, world):
    (world / "here").rmdir()
    assert "the working directory is not there any more" in bb("submit", "x", code=2).stderr


def test_as_json_a_submit_is_a_job_and_a_wait_ends_with_its_last_state(bb):
    job = json.loads(bb("submit", "--json", "--", "true").stdout)
    assert (job["name"], job["state"], job["terminal"]) == ("true", "SUBMITTED", False)
    result = bb("submit", "--json", "--wait", "--command", "exit 3", code=3)
    assert json.loads(result.stdout)["exit_code"] == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[job\ncpu = 2\n", "batchbridge.toml:1: this is not TOML"),
        (b"[job]\ncpu = '\xff'\n", "batchbridge.toml cannot be read"),
        (b"default_profile = 3\n", "batchbridge.toml:1: default_profile must be text"),
    ],
)
def test_a_config_that_cannot_be_read_is_named_and_nothing_is_submitted(bb, world, content, words):
    (world / "here" / "batchbridge.toml").write_bytes(content)
    assert words in bb("submit", "--", "true", code=2).stderr
    (world / "here" / "batchbridge.toml").unlink()
    assert bb.json("list") == []


def test_more_than_there_is_is_refused_with_a_remedy(bb):
    result = bb("submit", "--cpu", "100000", "--", "true", code=125)
    assert "100000 cores" in result.stderr
    assert "→ " in result.stderr


def test_a_spool_that_cannot_be_used_is_named_and_nothing_is_lost(bb, world, monkeypatch):
    ref = bb.ended("--", "true")
    (world / "file").write_text("")
    monkeypatch.setenv("BATCHBRIDGE_LOCAL_ROOT", str(world / "file"))
    assert str(world / "file") in bb("submit", "--", "true", code=125).stderr
    monkeypatch.setenv("BATCHBRIDGE_LOCAL_ROOT", str(world / "spool"))
    assert [job["ref"] for job in bb.json("list")] == [ref]
