"""Cancelling, preempting, listing, explaining and looking, on a server here."""

from __future__ import annotations

import pytest

from batchbridge.errors import ConfigError, SpecError
from batchbridge.model import Cause, Gang, JobState
from batchbridge_armada import ArmadaDriver
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import (
    LONG,
    SCOPE,
    SET,
    crowd,
    over,
    ref,
    run,
    running,
    submission,
    submit,
    until,
)

CLASS = {"options": {"priority_class": "armada-preemptible"}}


# -- cancelling -----------------------------------------------------------------------------------


def test_a_cancel_names_its_job_set_and_cuts_its_reason(armada, driver):
    """``internal/server/submit/validation/job_set.go``: MaxReasonBytes, and no other set's jobs."""
    (receipt,) = submit(driver, submission(**LONG))
    driver.cancel([ref(receipt)], reason="é" * 40)
    (request,) = armada.asked("CancelJobs")
    assert (request.queue, request.job_set_id, list(request.job_ids)) == (*SCOPE, [receipt.id])
    assert request.reason == "é" * 25


@pytest.mark.parametrize("verb", ["cancel", "preempt"])
def test_nothing_to_end_ends_no_job_set(armada, driver, verb):
    """``submit.go``: CancelJobs without ids is CancelJobSet."""
    getattr(driver, verb)([], reason="")
    assert not armada.calls


def test_a_cancel_of_many_is_a_few_calls_for_each_job_set(armada, driver):
    many = [ref(receipt) for receipt in submit(driver, *(submission(f"k{n}") for n in range(700)))]
    other = [ref(receipt, (QUEUE, "other")) for receipt in submit(driver, submission("k"))]
    armada.calls.clear()
    driver.cancel([*many, *other], reason="")
    asked = [(r.job_set_id, len(r.job_ids)) for r in armada.asked("CancelJobs")]
    assert asked == [(SET, 500), (SET, 200), ("other", 1)]


def test_a_whole_job_set_is_cancelled_with_those_that_nobody_here_knows(armada, driver, client):
    receipts = submit(driver, submission("k1", **LONG), submission("k2", **LONG))
    client.cancel_set(SET, reason="enough " * 20)
    over(armada, *(receipt.id for receipt in receipts))
    (request,) = armada.asked("CancelJobSet")
    assert (request.queue, request.job_set_id) == SCOPE
    assert request.reason == ("enough " * 20)[:50]
    assert not request.HasField("filter")


def test_the_rest_of_a_gang_is_cancelled_when_one_member_fails(armada, client):
    """Armada leaves the others running, ``docs/developer/job-lifecycle-events.md``."""
    forms = [
        {"command": command, "image": "busybox", "cpu": 0.1, "job_set": SET}
        for command in ("exit 3", "sleep 60", "sleep 60")
    ]
    jobs = client.submit_many(forms, gang=True)
    records = [job.wait(timeout=30) for job in jobs]
    assert [record.state for record in records] == [
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.CANCELLED,
    ]
    notes = [job.item.annotations for job in armada.cluster.jobs.values()]
    assert {note["armadaproject.io/gangCardinality"] for note in notes} == {"3"}


def test_a_gang_s_id_is_never_used_again(client, armada):
    """A queue remembers the ids of gangs: a second gang of one id would never be whole."""
    form = {"command": "true", "image": "busybox", "cpu": 0.1, "job_set": SET}
    for _ in range(2):
        jobs = client.submit_many([form, form], gang=True)
        assert all(job.wait(timeout=30).state is JobState.SUCCEEDED for job in jobs)
    told = [job.item.annotations["armadaproject.io/gangId"] for job in armada.cluster.jobs.values()]
    assert len(set(told)) == 2


def test_the_members_of_a_gang_share_a_label_s_value(armada, driver):
    gangs = {"options": {"gang_label": "rack"}}
    submit(driver, *(submission(f"k{n}", gang=Gang("g", 2, n), **gangs) for n in range(2)))
    notes = [job.item.annotations for job in armada.cluster.jobs.values()]
    assert {n["armadaproject.io/gangNodeUniformityLabel"] for n in notes} == {"rack"}


# -- places ---------------------------------------------------------------------------------------


def test_a_preempted_job_failed_by_preemption(armada, client):
    job = run(client, **LONG, **CLASS)
    until(lambda: armada.cluster.jobs[job.ref.id].state == "RUNNING")
    client.preempt([job], reason="x" * 60)
    record = job.wait(timeout=30)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.PREEMPTED)
    assert record.message == "x" * 50
    (request,) = armada.asked("PreemptJobs")
    assert (request.queue, request.job_set_id, request.reason) == (*SCOPE, "x" * 50)


def test_another_priority(armada, driver, client):
    job = run(client, **LONG)
    client.reprioritise([job], 7)
    (request,) = armada.asked("ReprioritizeJobs")
    assert (request.queue, request.job_set_id, list(request.job_ids)) == (*SCOPE, [job.ref.id])
    assert request.new_priority == 7
    driver.reprioritise([], 7)
    assert len(armada.asked("ReprioritizeJobs")) == 1
    with pytest.raises(SpecError, match="priority"):
        driver.reprioritise([job.ref], -1)


# -- listing --------------------------------------------------------------------------------------


def test_the_jobs_of_a_set_are_listed_with_their_ends(armada, driver):
    receipts = submit(
        driver,
        submission("k1", command="exit 3", name="bad", labels={"team": "a"}),
        submission("k2", **LONG),
    )
    over(armada, receipts[0].id)
    running(armada, receipts[1])
    ended, going = sorted(driver.list(SET, None), key=lambda listed: listed.seen.state)
    assert (ended.seen.id, ended.name, ended.labels) == (receipts[0].id, "bad", {"team": "a"})
    assert (ended.seen.state, ended.seen.exit_code) == (JobState.FAILED, 3)
    assert (going.seen.id, going.seen.state) == (receipts[1].id, JobState.RUNNING)
    assert (going.scope, going.job_set, going.user) == (SCOPE, SET, "user")
    assert going.submitted_at == pytest.approx(armada.cluster.jobs[receipts[1].id].born, abs=0.01)
    (request,) = armada.asked("GetJobSetEvents")
    assert not request.watch


def test_a_list_is_of_one_user_where_one_is_named(driver):
    submit(driver, submission())
    assert [listed.user for listed in driver.list(SET, "user")] == ["user"]
    assert not list(driver.list(SET, "somebody else"))
    assert not list(driver.list("no such set", None))


def test_a_listed_job_is_a_job(armada, driver, client):
    (receipt,) = submit(driver, submission(command="exit 3"))
    over(armada, receipt.id)
    (job,) = client.list(SET)
    assert job.wait(timeout=30).exit_code == 3


def test_a_list_needs_a_queue(armada):
    driver = ArmadaDriver(ArmadaDriver.Settings(address=armada.address))
    with pytest.raises(ConfigError, match="no queue is named"):
        driver.list(SET, None)


# -- looking --------------------------------------------------------------------------------------


def test_a_waiting_job_is_explained_by_the_scheduler(armada, driver):
    crowd(armada, driver)
    (second,) = submit(driver, submission("k2", cpu=1))
    explanation = driver.explain(ref(second))
    assert explanation.summary == "resource limit exceeded"
    assert explanation.remedy


def test_a_running_job_needs_no_explanation(armada, driver):
    (receipt,) = submit(driver, submission(**LONG))
    running(armada, receipt)
    assert driver.explain(ref(receipt)) is None


def test_a_job_that_ended_is_explained_by_its_end(armada, driver):
    (failed,) = submit(driver, submission("k1", command="exit 3"))
    (gone,) = submit(driver, submission("k2", **LONG))
    driver.cancel([ref(gone)], reason="too late")
    over(armada, failed.id, gone.id)
    assert driver.explain(ref(failed)).summary == (
        "Container main failed with exit code 3 because Error:"
    )
    assert driver.explain(ref(gone)).summary == "cancelled by anonymous: too late"


def test_a_job_that_is_being_placed_is_explained_by_its_place(armada, driver):
    (receipt,) = submit(driver, submission(**LONG))
    running(armada, receipt)
    armada.cluster.jobs[receipt.id].state = "PENDING"
    explanation = driver.explain(ref(receipt))
    assert explanation.summary == "its pod is being prepared in cluster-1 on node node-1"
    assert f"describe pod armada-{receipt.id}-0" in explanation.remedy


def test_a_job_that_never_fits_is_told_what_to_change(armada, driver):
    (receipt,) = submit(driver, submission(cpu=100))
    over(armada, receipt.id)
    explanation = driver.explain(ref(receipt))
    assert "exceeds the total limit of (cpu=16)" in explanation.summary
    assert explanation.remedy.startswith("ask for less")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
            "more disk",
        ),
        ('Container main exceeded its local ephemeral storage limit "1Gi".', "more disk"),
        ('Usage of EmptyDir volume "scratch" exceeds the limit "1Gi".', "sizeLimit"),
        ("The node was low on resource: memory. Container main was using 2Gi, limit 1Gi.", ""),
        ("Taint manager deletes the pod: the node has a taint", ""),
    ],
)
def test_what_would_help_a_job_that_had_a_place(armada, driver, error, remedy):
    """The scheduler's limits and taints are not the kubelet's."""
    (receipt,) = submit(driver, submission(command="exit 3"))
    over(armada, receipt.id)
    armada.cluster.jobs[receipt.id].error = error
    explanation = driver.explain(ref(receipt))
    assert explanation.summary == error
    assert remedy in explanation.remedy
    assert bool(explanation.remedy) == bool(remedy)


def test_a_job_that_waits_again_is_explained_by_the_scheduler(armada, driver):
    """Its last run is over, and its place is another's."""
    (receipt,) = submit(driver, submission(**LONG))
    running(armada, receipt)
    armada.cluster.jobs[receipt.id].state = "QUEUED"
    assert driver.explain(ref(receipt)).summary == "resource limit exceeded"


def test_the_pieces_of_a_job_are_named(armada, driver):
    (receipt,) = submit(driver, submission(options={"namespace": "team"}, **LONG))
    running(armada, receipt)
    pieces = dict(driver.details(ref(receipt), 1))
    pod = f"armada-{receipt.id}-0"
    assert pieces.pop("run")
    assert pieces == {
        "cluster": "cluster-1",
        "node": "node-1",
        "namespace": "team",
        "pod": pod,
        "logs": f"kubectl --context cluster-1 -n team logs {pod}",
    }


def test_a_job_without_a_place_has_no_pieces(armada, driver):
    crowd(armada, driver)
    (receipt,) = submit(driver, submission())
    assert driver.details(ref(receipt), 1) == {}


@pytest.mark.parametrize(
    ("options", "grace"),
    [({}, 30), ({"grace": 2}, 2), ({"pod": {"terminationGracePeriodSeconds": 60}}, 60)],
)
def test_a_pod_lingers_for_its_grace_once_its_cluster_has_heard(driver, options, grace):
    spec = submission(options=options).spec
    (pod,) = driver.render(submission(options=options))["pod_specs"]
    assert pod["terminationGracePeriodSeconds"] == grace
    assert driver.linger(spec) == grace + 15
