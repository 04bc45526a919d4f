"""Logs through Binoculars, on a server here: whose they are, when they are there, and their end."""

from __future__ import annotations

from contextlib import closing

import pytest

from batchbridge.errors import LogsUnavailable
from batchbridge.model import JobState
from batchbridge_armada import ArmadaDriver, pages
from batchbridge_armada.api import Api
from batchbridge_armada.protocol import job_pb2
from batchbridge_armada.settings import ArmadaSettings
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import (
    SET,
    crowd,
    over,
    ref,
    running,
    submission,
    submit,
    until,
)


def page(driver, receipt, cursor=None, *, attempt=1, ended=True):
    return driver.read_logs(ref(receipt), attempt, "stdout", cursor, ended=ended, wait=0)


def test_a_pod_that_is_gone_is_a_truncated_end(armada, driver):
    """``internal/binoculars/service/logs.go``: NOT_FOUND, whoever deleted it."""
    (receipt,) = submit(driver, submission(command="echo hello"))
    over(armada, receipt.id)
    armada.gone.add(receipt.id)
    gone = page(driver, receipt)
    assert (gone.data, gone.eof, gone.truncated) == (b"", True, True)


def test_a_pod_that_is_gone_before_its_command_began_has_lost_nothing(armada, driver):
    """An image that cannot be pulled: the run of such a job stays pending."""
    (receipt,) = submit(driver, submission(command="echo hello"))
    over(armada, receipt.id)
    armada.gone.add(receipt.id)
    armada.cluster.jobs[receipt.id].run.state = job_pb2.RUN_STATE_PENDING
    gone = page(driver, receipt)
    assert (gone.data, gone.eof, gone.truncated) == (b"", True, False)


def test_a_job_that_waits_has_an_empty_page(armada, driver):
    crowd(armada, driver)
    (receipt,) = submit(driver, submission())
    empty = page(driver, receipt, ended=False)
    assert (empty.data, empty.eof) == (b"", False)


def test_a_container_that_has_not_started_is_waited_for(armada, driver):
    """Kubernetes: "is waiting to start: ContainerCreating", which Binoculars answers as UNKNOWN."""
    (receipt,) = submit(driver, submission(command="sleep 60"))
    running(armada, receipt)
    process, armada.cluster.jobs[receipt.id].process = armada.cluster.jobs[receipt.id].process, None
    empty = page(driver, receipt, ended=False)
    armada.cluster.jobs[receipt.id].process = process
    assert (empty.data, empty.eof, empty.truncated) == (b"", False, False)


def test_what_was_written_last_is_read_after_the_end(armada, client):
    """The stream tells the end before the last lines were asked for."""
    fields = {"image": "busybox", "cpu": 0.1, "job_set": SET}
    job = client.submit("echo first; sleep 0.3; echo last; exit 3", **fields)
    assert job.wait(timeout=30).exit_code == 3
    assert b"".join(chunk.data for chunk in job.logs()) == b"first\nlast\n"


def test_logs_are_asked_for_at_the_cluster_that_has_them(armada):
    settings = {"address": armada.address, "queue": QUEUE}
    places = {"cluster-1": armada.address}
    with closing(ArmadaDriver(ArmadaSettings(**settings, binoculars_of=places))) as driver:
        (receipt,) = submit(driver, submission(command="echo hello"))
        over(armada, receipt.id)
        assert page(driver, receipt).data == b"hello\n"


def test_the_address_of_a_cluster_s_logs_may_hold_its_name():
    settings = ArmadaSettings(
        binoculars="logs-{cluster_id}.example:443", binoculars_of={"b": "else.example:443"}
    )
    api = Api(settings)
    assert api.binoculars("a") == "logs-a.example:443"
    assert api.binoculars("b") == "else.example:443"


def test_without_an_address_logs_are_unavailable(armada):
    with closing(ArmadaDriver(ArmadaSettings(address=armada.address, queue=QUEUE))) as driver:
        (receipt,) = submit(driver, submission())
        over(armada, receipt.id)
        with pytest.raises(LogsUnavailable, match="cluster-1"):
            page(driver, receipt)


def test_the_request_says_which_container(armada, driver):
    """Of several, Kubernetes wants one named; without log_options Binoculars panics."""
    (receipt,) = submit(driver, submission(options={"namespace": "team"}))
    over(armada, receipt.id)
    page(driver, receipt)
    (request,) = armada.asked("Logs")
    assert request.log_options.container == "main"
    assert (request.job_id, request.pod_namespace) == (receipt.id, "team")


# -- what the details do not tell -----------------------------------------------------------------


def hidden(driver, monkeypatch, *, times):
    """So many times the details tell of no job: it is not ingested yet, or it was pruned."""
    told, left = driver._api.details, iter(range(times))
    monkeypatch.setattr(
        driver._api, "details", lambda ids: told(ids) if next(left, None) is None else {}
    )


@pytest.mark.parametrize("stays", [True, False])
def test_a_job_that_the_details_tell_of_late_is_read_whole(client, driver, monkeypatch, stays):
    """Its stream told its end before Lookout's ingester, from which they are, knew of it."""
    job = client.submit("echo hello", image="busybox", cpu=0.1, job_set=SET)
    job.wait(timeout=30)
    hidden(driver, monkeypatch, times=2)
    told = list(job.logs(follow=stays))
    assert b"".join(chunk.data for chunk in told) == b"hello\n"
    assert not any(chunk.truncated for chunk in told)


def test_a_run_that_the_details_tell_of_late_is_read_whole(armada, driver):
    """They know the job, but not that it has had a place."""
    (receipt,) = submit(driver, submission(command="echo hello"))
    over(armada, receipt.id)
    job = armada.cluster.jobs[receipt.id]
    (job.run, job.state), known = (None, "QUEUED"), (job.run, job.state)
    early = page(driver, receipt)
    assert (early.data, early.eof, early.truncated) == (b"", False, False)
    job.run, job.state = known
    assert page(driver, receipt, early.cursor).data == b"hello\n"


def test_a_job_that_the_details_never_tell_of_has_lost_its_output(armada, driver, monkeypatch):
    (receipt,) = submit(driver, submission(command="echo hello"))
    over(armada, receipt.id)
    hidden(driver, monkeypatch, times=1_000_000)
    monkeypatch.setattr(pages, "INGESTED", 0.2)
    assert not page(driver, receipt).eof
    gone = until(lambda: (p := page(driver, receipt)).eof and p)
    assert (gone.data, gone.truncated) == (b"", True)


def test_a_job_that_ended_without_a_run_has_lost_nothing(armada, driver):
    (receipt,) = submit(driver, submission(cpu=100))
    over(armada, receipt.id)
    none = page(driver, receipt)
    assert (none.data, none.eof, none.truncated) == (b"", True, False)


# -- several runs ---------------------------------------------------------------------------------


def test_a_retried_job_is_followed_from_run_to_run(armada, client, tmp_path):
    """``failed`` with ``retryable`` ends an attempt; the next run's pod has the same name."""
    armada.cluster.retries = 1
    ready = tmp_path / "ready"
    script = (
        f"if [ -e {ready} ]; then echo second; exit 0; fi; echo first;"
        f" until [ -e {ready} ]; do sleep .05; done; exit 3"
    )
    job = client.submit(script, image="busybox", cpu=0.1, job_set=SET, reruns=True)
    told = []
    for chunk in job.logs():
        told += [(chunk.attempt, chunk.data)] if chunk.data else []
        if told:
            ready.touch()
    assert told == [(1, b"first\n"), (2, b"second\n")]
    record = job.wait(timeout=30)
    assert (record.state, record.attempt, record.exit_code) == (JobState.SUCCEEDED, 2, 0)
    ends = [(e.record.attempt, e.record.state) for e in job.history() if e.record.state.ending]
    assert ends == [(1, JobState.FAILED), (2, JobState.SUCCEEDED)]


def test_a_later_run_s_lines_are_not_told_as_an_earlier_one_s(armada, driver, tmp_path):
    armada.cluster.retries = 1
    ready = tmp_path / "ready"
    script = (
        f"if [ -e {ready} ]; then echo second; else echo first; fi;"
        f" until [ -e {ready} ]; do sleep .05; done; exit 3"
    )
    (receipt,) = submit(driver, submission(command=script, reruns=True))
    first = until(lambda: (p := page(driver, receipt, ended=False)).data and p)
    assert first.data == b"first\n"
    ready.touch()
    over(armada, receipt.id)
    late = page(driver, receipt, first.cursor)
    assert (late.data, late.eof, late.truncated) == (b"", True, True)
    assert page(driver, receipt, attempt=2).data == b"second\n"


def test_a_run_that_the_details_do_not_tell_of_yet_is_waited_for(armada, driver):
    (receipt,) = submit(driver, submission(command="echo first; sleep 60", reruns=True))
    until(lambda: page(driver, receipt, ended=False).data)
    stale = page(driver, receipt, attempt=2, ended=False)
    assert (stale.data, stale.eof) == (b"", False)
