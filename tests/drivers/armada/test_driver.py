"""The hard cases of submitting and asking, on a server here."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from batchbridge.errors import (
    ConfigError,
    DriverBug,
    KeyConflict,
    Rejected,
    SpecError,
)
from batchbridge.model import Absent, Cause, JobSpec, JobState, Secret, Submission
from batchbridge_armada import ArmadaDriver, jobspec, submitting
from batchbridge_armada import snapshot as snapshots
from batchbridge_armada.protocol import event_pb2
from tests.drivers.armada.cluster import now, ulid
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import SCOPE, SET, over, ref, submission, submit

# -- submitting -----------------------------------------------------------------------------------


def test_jobs_go_by_the_hundred(armada, driver):
    receipts = submit(driver, *(submission(f"k{n}") for n in range(450)))
    sizes = [len(request.job_request_items) for request in armada.asked("SubmitJobs")]
    assert sorted(sizes) == [50, 200, 200]
    named = {id: job.item.annotations["batchbridge/key"] for id, job in armada.cluster.jobs.items()}
    assert [named[receipt.id] for receipt in receipts] == [f"k{n}" for n in range(450)]


def test_jobs_of_a_request_keep_their_order(armada, driver):
    submit(driver, *(submission(f"k{n}") for n in range(450)))
    for request in armada.asked("SubmitJobs"):
        keys = [int(i.annotations["batchbridge/key"][1:]) for i in request.job_request_items]
        assert keys == list(range(keys[0], keys[0] + len(keys)))


def test_several_requests_are_on_their_way_at_once(armada, driver):
    meeting = threading.Barrier(3)
    armada.submitting = lambda: meeting.wait(timeout=30)
    receipts = submit(driver, *(submission(f"k{n}") for n in range(600)))
    assert all(receipt.id for receipt in receipts)


def test_a_key_that_is_submitted_many_times_at_once_is_one_job(armada, driver):
    """``submit.go`` looks for a key and notes it later: of two at once it would take both."""
    armada.submitting = lambda: time.sleep(0.05)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: submit(driver, submission()), range(8)))
    assert len({receipt.id for (receipt,) in told}) == 1


def test_a_queue_that_stays_unknown_is_named_after_a_while(armada, driver, monkeypatch):
    """It is there, says the server, and yet no job is taken."""
    monkeypatch.setattr(driver._api, "queue_exists", lambda queue: True)
    monkeypatch.setattr(submitting, "QUEUE_KNOWN", -1.0)
    with pytest.raises(ConfigError, match='could not find queue "nowhere"'):
        submit(driver, submission(options={"queue": "nowhere"}))


def test_an_answer_that_never_came_is_asked_for_again_and_makes_nothing_twice(armada, client):
    """The core sends the same keys again; Armada knows them, ``deduplication.go``."""
    armada.lost = 1
    form = {"command": "true", "image": "busybox", "cpu": 0.1, "job_set": SET}
    jobs = client.submit_many([form] * 3)
    assert len(armada.asked("SubmitJobs")) == 2
    assert {job.ref.id for job in jobs} == set(armada.cluster.jobs)


def test_large_jobs_go_in_requests_that_grpc_takes(armada, driver):
    big = {"env": {"BIG": "x" * 60_000}}
    assert all(
        receipt.id for receipt in submit(driver, *(submission(f"k{n}", **big) for n in range(60)))
    )
    assert max(r.ByteSize() for r in armada.asked("SubmitJobs")) < 4_000_000


def test_one_bad_job_does_not_stop_the_others(armada, driver):
    bad = {"options": {"pod": {"containers": [{"resources": {}}, {"name": "two"}]}}}
    jobs = [submission(f"k{n}", **(bad if n == 7 else {})) for n in range(20)]
    receipts = submit(driver, *jobs)
    assert isinstance(receipts[7].error, Rejected)
    assert "container two has no resources specified" in str(receipts[7].error)
    assert len({receipt.id for receipt in receipts if receipt.id}) == 19


def test_a_job_that_cannot_be_written_does_not_stop_the_others(armada, driver, monkeypatch):
    own = jobspec.own

    def fails_for_one(job, *args, **more):
        if job.key == "k1":
            raise KeyError("name")
        return own(job, *args, **more)

    monkeypatch.setattr(jobspec, "own", fails_for_one)
    receipts = submit(driver, *(submission(f"k{n}") for n in range(3)))
    assert isinstance(receipts[1].error, DriverBug)
    assert "KeyError: 'name'" in str(receipts[1].error)
    assert [receipts[0].id, receipts[2].id] == list(armada.cluster.jobs)


def test_a_pod_spec_that_is_too_large_is_refused_before_any_call(armada, driver):
    (receipt,) = submit(driver, submission(env={"BIG": "x" * 70_000}))
    assert isinstance(receipt.error, SpecError)
    assert "65535" in str(receipt.error)
    assert not armada.calls


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"options": {"pod": {"nodeSelectr": {}}}}, "options.pod", "there is no 'nodeSelectr'"),
        ({"options": {"pod": {"schedulerName": 3}}}, "options.pod.schedulerName", "got 'int'"),
        (
            {"options": {"volumes": [{"path": "/x", "source": {"emptyDr": {}}}]}},
            "options.volumes",
            "there is no 'emptyDr'",
        ),
        ({"options": {"services": [{"ports": [1 << 40]}]}}, "options.services.ports", "range"),
    ],
)
def test_a_field_that_is_wrong_is_named_in_one_line(armada, driver, fields, place, words):
    (receipt,) = submit(driver, submission(**fields))
    assert isinstance(receipt.error, SpecError)
    told = str(receipt.error)
    assert told.startswith(f"{place}: ")
    assert words in told
    assert "\n" not in told
    assert "Available Fields" not in told
    assert receipt.error.path == place
    assert not armada.calls


def test_a_job_without_an_image_is_refused_before_any_call(armada, driver):
    job = Submission("k", JobSpec.parse({"command": "true"}), SET, "user")
    (receipt,) = submit(driver, job)
    assert isinstance(receipt.error, SpecError)
    assert not armada.calls


def test_an_unknown_queue_is_named_at_once(driver):
    with pytest.raises(ConfigError, match="nowhere"):
        submit(driver, submission(options={"queue": "nowhere"}))


def test_a_fresh_queue_is_waited_for(armada, driver, monkeypatch):
    """The server refuses it for some seconds, though it says that it is there."""
    heard = []

    def sleep(seconds):
        heard.append(seconds)
        armada.cluster.queues.add("fresh")

    monkeypatch.setattr(driver._api, "queue_exists", lambda queue: queue == "fresh")
    monkeypatch.setattr(submitting.time, "sleep", sleep)
    (receipt,) = submit(driver, submission(options={"queue": "fresh"}))
    assert receipt.id
    assert heard


def test_no_queue_at_all(armada):
    driver = ArmadaDriver(ArmadaDriver.Settings(address=armada.address))
    with pytest.raises(ConfigError, match="no queue is named") as caught:
        driver.scope_of(submission())
    assert "@armada(queue=NAME)" in caught.value.remedy


@pytest.mark.parametrize(("age", "created"), [(3600, False), (5, None)])
def test_a_known_key_with_another_spec_is_a_conflict(armada, driver, age, created):
    """Armada hands out the known job without a word; its age and its annotations tell."""
    (first,) = submit(driver, submission())
    job = armada.cluster.jobs.pop(first.id)
    job.id = ulid(time.time() - age)
    armada.cluster.jobs[job.id] = job
    armada.cluster.keys = dict.fromkeys(armada.cluster.keys, job.id)
    (same,) = submit(driver, submission())
    assert (same.id, same.created) == (job.id, created)
    (other,) = submit(driver, submission(command="false"))
    assert isinstance(other.error, KeyConflict)


def test_what_of_a_template_gave_way_is_told_with_the_receipt(driver):
    (receipt,) = submit(driver, submission(options={"pod": {"restartPolicy": "Always"}}))
    assert "restartPolicy" in receipt.notes[0]
    (plain,) = submit(driver, submission("k2"))
    assert plain.notes == ()


@pytest.mark.parametrize(
    ("pod", "options"),
    [
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}),
        ({"containers": [{"envFrom": [{"secretRef": {"name": "a"}}]}]}, {"secret_names": ["b"]}),
        ({"containers": [{"ports": [{"containerPort": 80}]}]}, {"services": [{"ports": [81]}]}),
    ],
)
def test_entries_without_names_stand_beside_ours(armada, driver, pod, options):
    (receipt,) = submit(driver, submission(options={"pod": pod, **options}))
    assert (receipt.error, receipt.notes) == (None, ())
    sent = armada.cluster.jobs[receipt.id].pod
    lists = (sent.tolerations, sent.containers[0].envFrom, sent.containers[0].ports)
    assert sorted(map(len, lists)) == [0, 0, 2]


def test_a_secret_reaches_a_job_only_where_that_is_allowed(armada):
    """It stands in the pod spec: that is what is allowed."""
    job = replace(submission(command="echo $A"), secrets={"A": Secret("kept")})
    settings = {"address": armada.address, "queue": QUEUE, "binoculars": armada.address}
    with closing(ArmadaDriver(ArmadaDriver.Settings(**settings))) as driver:
        (refused,) = submit(driver, job)
        assert isinstance(refused.error, SpecError)
        assert not armada.calls
    allowed = ArmadaDriver.Settings(**settings, allow_plain_credentials=True)
    with closing(ArmadaDriver(allowed)) as driver:
        (receipt,) = submit(driver, job)
        over(armada, receipt.id)
        assert (
            driver.read_logs(ref(receipt), 1, "stdout", None, ended=True, wait=0).data == b"kept\n"
        )


# -- asking ---------------------------------------------------------------------------------------


def ids_told(driver, kind, *job_ids):
    return {
        said.id for said in driver.snapshot(SCOPE, job_ids).observations if isinstance(said, kind)
    }


def test_many_jobs_are_asked_for_in_several_calls(armada, driver):
    job_ids = [ulid(time.time()) for _ in range(1200)]
    driver.snapshot(SCOPE, job_ids)
    asked = [len(request.job_ids) for request in armada.asked("JobStatusRequest")]
    assert asked == [500, 500, 200]


def test_an_ending_that_only_a_query_tells_is_completed_by_the_stream(armada, driver):
    (receipt,) = submit(driver, submission(command="exit 3"))
    over(armada, receipt.id)
    told = driver.snapshot(SCOPE, [receipt.id]).observations
    assert (told[-1].state, told[-1].exit_code, told[-1].final) == (JobState.FAILED, 3, True)
    assert told[-1].seq is not None
    (request,) = armada.asked("GetJobSetEvents")
    assert not request.watch
    assert time.time() - int(request.from_message_id.split(":")[0]) / 1000 < 200


def test_a_failure_that_the_stream_has_not_told_yet_is_waited_for(armada, driver):
    (receipt,) = submit(driver, submission(command="exit 3"))
    over(armada, receipt.id)
    armada.cluster.streams.clear()
    assert not driver.snapshot(SCOPE, [receipt.id]).observations


def test_a_failure_that_the_stream_has_forgotten_is_told_without_its_code(
    armada, driver, monkeypatch
):
    (receipt,) = submit(driver, submission(command="exit 3"))
    over(armada, receipt.id)
    armada.cluster.streams.clear()
    monkeypatch.setattr(snapshots, "SOON", -1.0)
    ending = driver.snapshot(SCOPE, [receipt.id]).observations[-1]
    assert (ending.state, ending.exit_code, ending.final) == (JobState.FAILED, None, True)
    assert "exit code 3" in ending.message


def test_what_is_not_known_yet_is_not_denied(driver):
    assert not ids_told(driver, Absent, ulid(time.time()), ulid(time.time() - 3600))


def test_what_the_stream_has_passed_without_a_word_is_denied(armada, driver):
    """Both views of the job set are past the time at which it would have been submitted."""
    submit(driver, submission())
    never = ulid(time.time() - 3600)
    assert ids_told(driver, Absent, never) == {never}


def test_what_the_stream_tells_of_is_not_denied_where_queries_do_not_know_it(armada, driver):
    (receipt,) = submit(driver, submission())
    over(armada, receipt.id)
    old = ulid(time.time() - 3600)
    armada.cluster.say(*SCOPE, queued=event_pb2.JobQueuedEvent(job_id=old, created=now()))
    assert not ids_told(driver, Absent, old)


def test_what_is_no_id_of_armada_s_is_denied(driver):
    assert ids_told(driver, Absent, "bb-1") == {"bb-1"}


# -- the end ------------------------------------------------------------------------------------


def test_a_job_that_runs_too_long_has_timed_out(client):
    record = client.submit("sleep 60", image="busybox", cpu=0.1, job_set=SET, timeout=1).wait(
        timeout=30
    )
    assert (record.cause, record.exit_status) == (Cause.TIMEOUT, 124)
