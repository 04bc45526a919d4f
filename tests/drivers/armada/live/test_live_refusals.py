"""What a real Armada refuses, as somebody at the command line is told it: one sentence in its words
and the remedy, the exit code, and nothing that is left behind."""

from __future__ import annotations

import json
from contextlib import closing
from uuid import uuid4

import pytest

from batchbridge.errors import Rejected
from batchbridge_armada import ArmadaDriver, wire
from tests.drivers.armada.commands import commands, submitted
from tests.drivers.armada.helpers import submission, submit


@pytest.fixture
def bb(stack, tmp_path, monkeypatch):
    with commands(monkeypatch, tmp_path, stack.address, stack.queue) as run:
        yield run


@pytest.fixture
def job_set():
    return f"live-{uuid4().hex}"


def listed(bb, job_set):
    """The states of what is in that job set."""
    words = ("list", "--backend", "armada", "--job-set", job_set, "--json")
    return [json.loads(line)["state"] for line in bb(*words).stdout.splitlines()]


def test_a_server_that_is_not_there(bb, monkeypatch):
    monkeypatch.setattr("batchbridge.submit.TRIES", 1)
    problem, remedy = submitted(bb, code=125, address="127.0.0.1:9")
    assert "Armada at 127.0.0.1:9 cannot answer: failed to connect to all addresses" in problem
    assert "--key" in remedy


def test_a_queue_that_is_not_there(bb):
    problem, remedy = submitted(bb, "-o", "queue=nowhere", code=2)
    assert problem == 'error: Armada: could not find queue "nowhere"'
    assert "armadactl get queues" in remedy


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--memory", "10K"), 'container "main" memory requests (10240) below server minimum'),
        (("-o", "priority_class=none"), "priority class"),
    ],
)
def test_what_the_server_refuses(bb, job_set, words, said):
    problem, remedy = submitted(bb, "--job-set", job_set, *words, code=125)
    assert said in problem
    assert "change what the job asks for" in remedy
    assert not listed(bb, job_set)


def test_a_pod_that_never_fits(bb, job_set):
    words = ("submit", "--backend", "armada", "--image", "busybox", "--job-set", job_set)
    shown = bb(
        *words,
        "-o",
        'node_selector={"kubernetes.io/hostname": "gone"}',
        "--follow",
        "--",
        "true",
        code=1,
    )
    assert "FAILED" in shown.stderr
    assert "REJECTED" in shown.stderr
    assert "node does not match pod NodeSelector" in shown.stderr
    assert listed(bb, job_set) == ["FAILED"]


def test_a_pod_spec_is_refused_here_where_the_server_would(bb, stack, settings, monkeypatch):
    words = ("submit", "--backend", "armada", "--image", "busybox", "--env", f"BIG={'x' * 65_536}")
    shown = bb(*words, "--", "true", code=2, address="127.0.0.1:9").stderr
    assert f"and Armada takes {wire.POD_LIMIT}" in shown
    monkeypatch.setattr(wire, "POD_LIMIT", 1 << 20)
    with closing(ArmadaDriver(settings)) as driver:
        (receipt,) = submit(driver, submission(uuid4().hex, env={"BIG": "x" * 65_536}))
    assert isinstance(receipt.error, Rejected)
    assert "65535" in str(receipt.error)


def test_a_job_that_was_never_there(bb, stack):
    gone = f"armada://armada/{stack.queue}/s/00000000000000000000000000"
    assert "error: " in bb("status", gone, code=125).stderr


def test_a_cluster_without_a_log_address(bb, real):
    words = ("submit", "--backend", "armada", "--image", "busybox", "--cpu", "0.1")
    ref = bb(*words, "--", "true").stdout.strip()
    bb("wait", ref)
    shown = bb("logs", ref, code=125).stderr
    assert "error: no address of Binoculars is set for the cluster 'localdev'" in shown
    assert "→ set binoculars, or binoculars_of for this cluster" in shown


def test_doctor_tells_each_thing_that_is_wrong(bb):
    shown = bb("doctor", "armada", code=125, queue="nowhere", binoculars="127.0.0.1:9")
    told = [line for line in shown.stdout.splitlines() if "armada: " in line]
    assert any(line.startswith("ok ") and "Armada answers" in line for line in told)
    assert any("Armada has no queue 'nowhere'" in line for line in told)
    assert any("127.0.0.1:9 cannot answer" in line for line in told)
