"""The least policy suffices, and each right that is missing is named by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from batchbridge import Client, JobState
from localdev.nomad_admin import POLICY
from localdev.nomad_agent import admin_of
from localdev.nomad_config import Agent, settings
from tests.drivers.nomad.live.conftest import LIVE, client_of

pytestmark = LIVE
Run = Callable[..., subprocess.CompletedProcess[str]]
RAW = ("--backend", "nomad", "-o", "driver=raw_exec")
VARIABLES = 'variables { path "nomad/jobs/*" { capabilities = ["write", "destroy"] } }'


@pytest.fixture(scope="module")
def at_hand(guarded: Agent):
    """A client with the least rights."""
    with client_of(settings(guarded)) as client:
        yield client


@pytest.fixture
def batchbridge(guarded: Agent, tmp_path: Path) -> Run:
    """``batchbridge(rules, words…)`` with a new token of these rights alone; "": an unknown one."""
    reached = settings(guarded)
    theirs = ("BATCHBRIDGE_", "NOMAD_", "XDG_")
    base = {
        **{name: value for name, value in os.environ.items() if not name.startswith(theirs)},
        "HOME": str(tmp_path),
        "NOMAD_ADDR": reached.address,
        "NOMAD_CACERT": reached.ca_cert,
        "NOMAD_CLIENT_CERT": reached.client_cert,
        "NOMAD_CLIENT_KEY": reached.client_key,
        "HIDDEN": "hidden",
    }

    def run(rules: str, *words: str) -> subprocess.CompletedProcess[str]:
        token = admin_of(guarded).token_with(f"test-{uuid4().hex[:8]}", rules) if rules else ""
        command = [sys.executable, "-m", "batchbridge", *words]
        env = {**base, "NOMAD_TOKEN": token or str(uuid4())}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    return run


def without(capability: str) -> str:
    """The least policy, less one capability."""
    rules = POLICY.read_text()
    reduced = rules.replace(f'"{capability}", ', "").replace(f', "{capability}"', "")
    assert reduced != rules
    return reduced


def without_variables() -> str:
    rules = POLICY.read_text()
    start = rules.index("variables {")
    return rules[:start] + "}"


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The two lines of a refusal: what, and what to do."""
    assert done.returncode == 125, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert "Traceback" not in done.stderr
    return "\n".join(said)


def test_a_submit_needs_submit_job(batchbridge):
    said = refusal(batchbridge(without("submit-job"), "submit", *RAW, "--", "true"))
    assert "submit-job" in said


def test_a_cancel_needs_submit_job(batchbridge, at_hand: Client):
    job = at_hand.submit(["sleep", "600"], options={"driver": "raw_exec"})
    said = refusal(batchbridge(without("submit-job"), "cancel", str(job.ref)))
    assert "submit-job" in said
    job.cancel()
    assert job.wait(60).state is JobState.CANCELLED


@pytest.mark.parametrize("verb", ["status", "wait", "explain", "logs"])
def test_looking_at_a_job_needs_read_job(batchbridge, at_hand: Client, verb):
    job = at_hand.submit("true", options={"driver": "raw_exec"})
    assert "read-job" in refusal(batchbridge(without("read-job"), verb, str(job.ref)))


def test_following_a_submit_needs_read_job(batchbridge):
    """The stream is silent to one who may not read: that is an error, and no endless wait."""
    asked = ("submit", *RAW, "--follow", "--", "true")
    assert "read-job" in refusal(batchbridge(without("read-job"), *asked))


def test_a_list_needs_list_jobs(batchbridge):
    asked = ("list", "--backend", "nomad", "--job-set", "any")
    assert "list-jobs" in refusal(batchbridge(without("list-jobs"), *asked))


def test_logs_need_read_logs(batchbridge, at_hand: Client):
    job = at_hand.submit("echo hello", options={"driver": "raw_exec"})
    job.result(60)
    assert "read-logs" in refusal(batchbridge(without("read-logs"), "logs", str(job.ref)))


def test_secrets_need_a_right_to_variables_and_nothing_falls_back(batchbridge, guarded: Agent):
    name = f"secretive-{uuid4().hex}"
    asked = ("submit", *RAW, "--name", name, "--secret", "HIDDEN", "--", "true")
    assert VARIABLES in refusal(batchbridge(without_variables(), *asked))
    assert not [job for job in admin_of(guarded).ask("GET", "jobs") if job["Name"] == name]


def test_volumes_need_rights_of_their_own(batchbridge):
    volume = 'volumes=[{"source": "datastore", "path": "/data"}]'
    asked = ("submit", *RAW, "-o", volume, "--", "true")
    assert 'host_volume "datastore"' in refusal(batchbridge(POLICY.read_text(), *asked))


def test_a_token_that_is_unknown_is_said_to_be(batchbridge):
    assert "token" in refusal(batchbridge("", "submit", *RAW, "--", "true"))


def test_the_least_policy_does_all_of_it(batchbridge, tmp_path):
    rules = POLICY.read_text()
    asked = ("submit", *RAW, "--secret", "HIDDEN", "--follow", "--job-set", tmp_path.name)
    done = batchbridge(rules, *asked, "--", "sh", "-c", 'echo "got $HIDDEN"')
    assert (done.returncode, done.stdout) == (0, "got hidden\n"), done.stderr
    listed = batchbridge(rules, "list", "--backend", "nomad", "--job-set", tmp_path.name)
    assert "SUCCEEDED" in listed.stdout
    assert batchbridge(rules, "doctor", "nomad").returncode == 0
