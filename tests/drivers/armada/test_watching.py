"""Following a job set's stream, on a server here that says what Armada's ``event.go`` says."""

from __future__ import annotations

import time
from contextlib import closing

import grpc
import pytest

from batchbridge.errors import CursorExpired, TransportError
from batchbridge.model import Cause, JobState
from batchbridge_armada import ArmadaDriver, channel
from batchbridge_armada.api import Api
from batchbridge_armada.protocol import event_pb2
from batchbridge_armada.settings import ArmadaSettings
from tests.drivers.armada.cluster import now
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import SCOPE, SET, over, run, submission, submit, until

LIFE = [
    JobState.SUBMITTED,
    JobState.QUEUED,
    JobState.LEASED,
    JobState.PENDING,
    JobState.RUNNING,
]


# -- one stream -----------------------------------------------------------------------------------


def watches(armada):
    return [request for request in armada.asked("GetJobSetEvents") if request.watch]


def test_one_stream_is_all_that_the_jobs_of_a_set_cost(armada, client):
    form = {"command": "true", "image": "busybox", "cpu": 0.1, "job_set": SET}
    jobs = client.submit_many([form] * 50)
    assert all(job.wait(timeout=60).state is JobState.SUCCEEDED for job in jobs)
    assert len(watches(armada)) == 1


# -- where it begins ------------------------------------------------------------------------------


def test_a_watch_begins_shortly_before_the_oldest_job(armada, driver):
    """Its ULID tells its time; ``sequence.go`` takes any place, also one where nothing is."""
    (receipt,) = submit(driver, submission())
    with closing(driver.watch(SCOPE, None, lambda: [receipt.id])) as batches:
        until(lambda: next(batches).observations)
    (request,) = watches(armada)
    begun = int(request.from_message_id.split(":")[0]) / 1000
    assert 290 < time.time() - begun < 400
    assert request.from_message_id.endswith(":0:0:1")
    assert not request.errorIfMissing


def test_a_watch_of_no_job_does_not_begin_fourteen_days_ago(armada, driver):
    with closing(driver.watch(SCOPE, None, list)) as batches:
        until(lambda: next(batches) and watches(armada))
    (request,) = watches(armada)
    assert time.time() - int(request.from_message_id.split(":")[0]) / 1000 < 400


def test_a_broken_stream_is_resumed_and_nothing_is_lost_or_told_twice(armada, driver):
    """A server that stops says UNAVAILABLE; the id of a message is where the next begins."""
    (receipt,) = submit(driver, submission())
    over(armada, receipt.id)
    armada.cut += [1, 2, 1]
    told, cursor = [], None
    for expected in (1, 2, 1, 2):
        with closing(driver.watch(SCOPE, cursor, lambda: [receipt.id])) as batches:
            for batch in batches:
                told += [seen.state for seen in batch.observations]
                cursor = batch.cursor or cursor
                expected -= len(batch.observations)
                if not expected:
                    break
            if armada.cut:
                with pytest.raises(TransportError):
                    until(lambda: next(batches).observations)
    assert told == [*LIFE, JobState.SUCCEEDED]


def test_a_stream_that_breaks_again_and_again_loses_no_job(armada, client):
    armada.cut += [1, 2, 1]
    assert run(client).result(timeout=30).state is JobState.SUCCEEDED


def test_a_cursor_of_another_engine(driver):
    with pytest.raises(CursorExpired):
        next(driver.watch(SCOPE, "17", list))


# -- what may go wrong ----------------------------------------------------------------------------


def test_a_job_set_that_is_not_known_yet(armada, client):
    """Before its first event is stored the stream may fail, and a state be unknown."""

    def missing(request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "Jobset set for queue q does not exist")

    armada.faults += [missing]
    assert run(client).result(timeout=30).state is JobState.SUCCEEDED


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
def test_a_poisoned_stream_is_stepped_over_by_asking(armada, client, code):
    """One event that cannot be decoded ends each answer that comes to it, ``event.go``."""

    def poison(request, context):
        if request.watch:
            context.abort(code, "error reading events: undecodable")

    armada.faults += [poison] * 20
    assert run(client).result(timeout=30).state is JobState.SUCCEEDED


def test_silence_is_no_end(armada, client):
    """A server sends nothing where nothing happens; queries go on beside the stream."""

    def silent(request, context):
        while request.watch and context.is_active():
            time.sleep(0.05)

    armada.faults += [silent] * 20
    job = run(client)
    over(armada, job.ref.id)
    job.refresh()
    assert job.record.state is JobState.SUCCEEDED


def test_an_event_of_an_unknown_kind_is_passed_over(armada, driver):
    (receipt,) = submit(driver, submission())
    over(armada, receipt.id)
    armada.cluster.say(*SCOPE)
    armada.cluster.say(*SCOPE, queued=event_pb2.JobQueuedEvent(job_id="later", created=now()))
    with closing(driver.watch(SCOPE, None, lambda: [receipt.id])) as batches:
        until(lambda: [s for s in next(batches).observations if s.id == "later"])


def test_what_is_told_twice_happens_once(armada, client):
    """Pulsar may deliver an event again, under another id."""
    job = run(client, command="exit 3")
    over(armada, job.ref.id)
    for message in list(armada.cluster.streams[SCOPE]):
        kind = message.message.WhichOneof("events")
        armada.cluster.say(*SCOPE, **{kind: getattr(message.message, kind)})
    record = job.wait(timeout=30)
    assert (record.attempt, record.exit_code) == (1, 3)
    assert sum(event.record.state.ending for event in job.history()) == 1


def test_what_comes_after_the_end_changes_nothing(armada, client):
    """Executors tell late: ``running`` after ``cancelled`` (armada#4541), ``succeeded`` too."""
    job = run(client, command="sleep 60")
    until(lambda: armada.cluster.jobs[job.ref.id].state == "RUNNING")
    job.cancel()
    over(armada, job.ref.id)
    told = {"job_id": job.ref.id, "created": now()}
    armada.cluster.say(*SCOPE, running=event_pb2.JobRunningEvent(**told))
    armada.cluster.say(*SCOPE, succeeded=event_pb2.JobSucceededEvent(**told))
    record = job.wait(timeout=30)
    assert (record.state, record.cause) == (JobState.CANCELLED, Cause.CANCELLED)
    job.refresh()
    assert job.record.state is JobState.CANCELLED


def test_a_watch_of_an_unreachable_server_raises():
    driver = ArmadaDriver(ArmadaSettings(address="127.0.0.1:9", queue=QUEUE))
    with closing(driver.watch(SCOPE, None, list)) as batches, pytest.raises(TransportError):
        until(lambda: next(batches).observations)


# -- the connection -------------------------------------------------------------------------------


def test_a_silent_connection_is_kept_alive_where_the_server_allows_it(armada, monkeypatch):
    """``config/server/config.yaml`` takes a ping each 10 s; Binoculars' wants none."""
    made = {}
    real = grpc.insecure_channel

    def insecure(address, options):
        made[address] = dict(options)
        return real(address, options=options)

    monkeypatch.setattr(channel.grpc, "insecure_channel", insecure)
    api = Api(ArmadaSettings(address=armada.address, queue=QUEUE, binoculars="localhost:9"))
    api.health()
    with pytest.raises(TransportError):
        api.logs("c", "j", "default", "")
    api.close()
    assert made[armada.address]["grpc.keepalive_time_ms"] >= 10_000
    assert "grpc.keepalive_time_ms" not in made["localhost:9"]
