"""What is wrong, as somebody at the command line is told it: one sentence in Armada's words and the
remedy, the exit code, and nothing that is left behind."""

from __future__ import annotations

import pytest

from tests.drivers.armada.commands import commands, submitted
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import over


@pytest.fixture
def bb(armada, tmp_path, monkeypatch):
    """The command line, on the Armada of this process."""
    with commands(monkeypatch, tmp_path, armada.address, QUEUE) as run:
        yield run


def test_a_server_that_cannot_be_reached(bb, armada, monkeypatch):
    monkeypatch.setattr("batchbridge.submit.TRIES", 1)
    problem, remedy = submitted(bb, code=125, address="127.0.0.1:9")
    assert "Armada at 127.0.0.1:9 cannot answer: failed to connect to all addresses" in problem
    assert "--key" in remedy
    assert not armada.calls


def test_credentials_that_are_wrong(bb, armada):
    armada.token = "right"
    problem, remedy = submitted(bb, code=125, token="wrong-5be1")
    assert "Request unauthenticated with bearer" in problem
    assert "token" in remedy
    assert "wrong-5be1" not in problem + remedy
    assert not armada.cluster.jobs


def test_a_queue_that_is_not_there(bb, armada):
    problem, remedy = submitted(bb, "-o", "queue=nowhere", code=2)
    assert problem == 'error: Armada: could not find queue "nowhere"'
    assert "armadactl get queues" in remedy
    assert not armada.cluster.jobs


def test_no_right_on_the_queue(bb, armada):
    armada.forbidden.add(QUEUE)
    problem, remedy = submitted(bb, code=125)
    assert f"user bob cannot perform action submit on queue {QUEUE}" in problem
    assert "ask for the right on the queue" in remedy
    assert not armada.cluster.jobs


def test_resources_that_the_server_refuses(bb, armada):
    problem, remedy = submitted(bb, "--memory", "10K", code=125)
    assert 'container "main" memory requests (10240) below server minimum (1Mi)' in problem
    assert "change what the job asks for" in remedy
    assert not armada.cluster.jobs


def test_an_amount_that_the_server_cannot_read(bb, armada):
    problem, remedy = submitted(bb, "-o", 'resources={"rdma/hca": "some"}', code=125)
    assert problem.startswith("error: Armada refuses the job: grpc: error unmarshalling request: ")
    assert "change what the job asks for" in remedy
    assert not armada.cluster.jobs


def test_a_pod_that_never_fits(bb, armada):
    job = ("submit", "--backend", "armada", "--image", "busybox", "--cpu", 500, "--follow")
    shown = bb(*job, "--", "true", code=1).stderr
    assert "FAILED" in shown
    assert "REJECTED" in shown
    assert "which exceeds the total limit of (cpu=16)" in shown
    (rejected,) = armada.cluster.jobs.values()
    assert rejected.run is None
    (line, remedy) = bb("explain", "true").stdout.splitlines()
    assert line.count("exceeds the total limit") == 1
    assert remedy == "  → ask for less: nothing there has as much"


@pytest.mark.parametrize(
    ("words", "problem", "remedy"),
    [
        (("--env", "BIG=" + "x" * 70_000), "Armada takes 65535", "through a store"),
        (("-o", "pod={"), "options.pod is neither YAML nor JSON", "a pod spec as a mapping"),
        (("-o", "pod=~no-such-user/x"), "options.pod cannot be read", "a file's name"),
        (("-o", "pod=none.yaml"), "options.pod cannot be read", "a file's name"),
        (("-o", "pod=nodeSelector: {a: b}"), "cannot be read", "YAML of several lines"),
        (("-o", "grace=1h"), "grace must be 1 s to 5 minutes", ""),
        (("-o", "quue=x"), "did you mean 'queue'?", "it has queue"),
        (("--secret", "HOME"), "no place for them but the pod spec", "allow_plain_credentials"),
        (("--label", "a b=c"), "Kubernetes takes no a b=c", "options.annotations"),
    ],
)
def test_what_is_refused_before_anything_is_sent(bb, armada, words, problem, remedy):
    job = ("submit", "--backend", "armada", "--image", "busybox", *words, "--", "true")
    shown = bb(*job, code=2).stderr
    assert problem in shown
    assert remedy in shown
    assert not armada.calls


def test_a_cluster_without_a_log_address(bb, armada):
    job = ("submit", "--backend", "armada", "--image", "busybox", "--", "true")
    ref = bb(*job).stdout.strip()
    over(armada, *armada.cluster.jobs)
    shown = bb("logs", ref, code=125).stderr
    assert "error: no address of Binoculars is set for the cluster 'cluster-1'" in shown
    assert "→ set binoculars, or binoculars_of for this cluster" in shown


def test_a_job_that_was_never_there(bb):
    gone = f"armada://armada/{QUEUE}/s/00000000000000000000000000"
    assert "error: " in bb("status", gone, code=125).stderr


def test_doctor_tells_each_thing_that_is_wrong(bb, armada):
    armada.cluster.queues.clear()
    shown = bb("doctor", "armada", code=125, binoculars="127.0.0.1:9")
    told = [line for line in shown.stdout.splitlines() if "armada: " in line]
    assert any(line.startswith("ok ") and "Armada answers" in line for line in told)
    assert any(f"Armada has no queue '{QUEUE}'" in line for line in told)
    assert any("127.0.0.1:9 cannot answer" in line for line in told)


def test_output_that_cannot_be_fetched_keeps_nobody_from_the_end(bb, armada, monkeypatch):
    monkeypatch.setattr("batchbridge.logs.TRIES", 1)
    job = ("submit", "--backend", "armada", "--image", "busybox", "--cpu", 0.1, "--follow")
    shown = bb(*job, "--", "sh", "-c", "exit 3", code=3, binoculars="127.0.0.1:9").stderr
    assert "cannot be shown: Binoculars at 127.0.0.1:9 cannot answer: " in shown
    assert "FAILED (EXIT_CODE 3)" in shown
