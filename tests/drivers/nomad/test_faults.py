"""What goes wrong at Nomad and on the way to it: each job gets its right end, and one run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

import pytest

from batchbridge import Cause, Client, JobState, as_completed, ledger, states
from batchbridge.errors import AuthError, LogsUnavailable, RateLimited, WaitTimeout
from batchbridge_nomad import NomadDriver, events
from tests.drivers.nomad.agent import Agent, least, node, refused

S = JobState
PATIENCE = 20.0
FAILS = "sleep 0.2; echo said; exit 3"


@pytest.fixture(autouse=True)
def _pace(monkeypatch):
    """The core's minutes are seconds here."""
    for module, name, value in (
        (ledger, "FULL", 0.5),
        (ledger, "UNSETTLED", 0.1),
        (ledger, "POLL", (0.1, 0.5)),
        (ledger, "FRESH", 0.1),
        (states, "SETTLE", 0.5),
        (events, "FIRST_LINE", 1),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def clients():
    """Opens clients of an agent, and closes them."""
    opened = []

    def open_client(agent: Agent, **settings) -> Client:
        settings = {"address": agent.address, **settings}
        opened.append(Client("nomad", settings=settings, journal=False))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


@pytest.fixture
def client(agent, clients):
    return clients(agent)


def submit(client, command, **fields):
    options = {"driver": "raw_exec", **fields.pop("options", {})}
    return client.submit(command, options=options, **fields)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def running(job):
    with suppress(WaitTimeout):
        job.wait(0)
    until(lambda: job.record.state is S.RUNNING or job.done())
    assert job.record.state is S.RUNNING, job.record


def end(job):
    record = job.wait(PATIENCE)
    return record.state, record.cause, record.attempt


def said(job) -> bytes:
    return b"".join(chunk.data for chunk in job.logs(streams=("stdout",)))


def allocs(agent, job):
    return [a for a in agent.state.allocs.values() if a["JobID"] == job.ref.id]


def nothing_runs(agent) -> None:
    until(
        lambda: all(task.state["State"] == "dead" for task in agent.cluster.clients.tasks.values())
    )


# -- the way to Nomad ------------------------------------------------------------------------


PUT, STREAM = ("PUT POST", "/v1/jobs"), ("GET", "/v1/event/stream")
ALLOCS, LOGS = ("GET", "/v1/job/"), ("GET", "/v1/client/fs/logs/")
NO_LEADER = refused(500, "No cluster leader")
TOO_MANY = refused(429, "Your IP is issuing too many concurrent connections")


@pytest.mark.parametrize(
    ("where", "what"),
    [
        pytest.param(PUT, {"reset": True}, id="an answer is lost after the job was registered"),
        pytest.param(PUT, {"answer": NO_LEADER}, id="there is no leader to register with"),
        pytest.param(PUT, {"answer": TOO_MANY}, id="too many connections to register"),
        pytest.param(PUT, {"answer": refused(502, "<html>")}, id="a proxy has lost Nomad"),
        pytest.param(ALLOCS, {"answer": NO_LEADER}, id="there is no leader to ask"),
        pytest.param(ALLOCS, {"answer": TOO_MANY}, id="too many connections to ask"),
        pytest.param(ALLOCS, {"reset": True}, id="an answer is cut off"),
        pytest.param(STREAM, {"answer": NO_LEADER}, id="there is no leader to stream"),
        pytest.param(STREAM, {"cut": 3}, id="the stream ends at once"),
        pytest.param(STREAM, {"cut": 700}, id="the stream ends within a line"),
        pytest.param(STREAM, {"bytes": 7, "times": 9}, id="the stream comes in small pieces"),
        pytest.param(LOGS, {"cut": 11}, id="a log ends within a frame"),
        pytest.param(LOGS, {"bytes": 5, "times": 9}, id="a log comes in small pieces"),
        pytest.param(LOGS, {"answer": NO_LEADER}, id="there is no leader for the log"),
    ],
)
def test_a_call_that_fails_or_is_mangled_changes_nothing(agent, client, where, what):
    agent.spoil(*where, **{"times": 2, **what})
    job = submit(client, FAILS)
    assert end(job) == (S.FAILED, Cause.EXIT_CODE, 1)
    assert job.record.exit_code == 3
    assert said(job) == b"said\n"
    assert len(allocs(agent, job)) == len(agent.state.jobs) == 1
    assert agent.troubles.struck


def test_a_submit_for_which_there_is_no_connection_is_not_in_doubt(agent, client, monkeypatch):
    monkeypatch.setattr("batchbridge.submit.TRIES", 2)
    monkeypatch.setattr("batchbridge_nomad.session.CROWDED", 0.0)
    agent.spoil(*PUT, answer=TOO_MANY, times=9)
    with pytest.raises(RateLimited):
        submit(client, FAILS)
    assert not agent.state.jobs


def test_a_stream_that_says_nothing_is_no_reason_to_know_nothing(agent, client):
    agent.spoil(*STREAM, mute=True, times=99)
    assert end(submit(client, FAILS)) == (S.FAILED, Cause.EXIT_CODE, 1)


def test_jobs_are_not_lost_while_every_connection_breaks(agent, client):
    jobs = [submit(client, f"sleep 0.{n}; exit {n}") for n in range(8)]
    for _ in range(5):
        agent.break_off()
        time.sleep(0.05)
    ended = {job: job.record.exit_code or 0 for job in as_completed(jobs, PATIENCE)}
    assert [ended[job] for job in jobs] == [*range(8)]
    assert [len(allocs(agent, job)) for job in jobs] == [1] * 8


@pytest.mark.parametrize(
    "short",
    [
        pytest.param({"buffer": 2}, id="the events' buffer does not hold them"),
        pytest.param({"limit": 3}, id="few connections are allowed"),
    ],
)
def test_a_burst_of_many_jobs(clients, short):
    with Agent(**short) as agent:
        client = clients(agent)
        specs = [{"command": f"exit {n % 4}", "options": {"driver": "raw_exec"}} for n in range(40)]
        jobs = client.submit_many(specs)
        codes = {job.ref: job.record.exit_code or 0 for job in as_completed(jobs, PATIENCE)}
    assert [codes[job.ref] for job in jobs] == [n % 4 for n in range(40)]


def test_an_index_that_falls_is_another_beginning(agent, client):
    job = submit(client, ["sleep", "600"])
    running(job)
    agent.regress()
    other = submit(client, FAILS)
    assert end(other) == (S.FAILED, Cause.EXIT_CODE, 1)
    assert job.record.state is S.RUNNING
    job.cancel()
    assert end(job) == (S.CANCELLED, Cause.CANCELLED, 1)


# -- who may do what -------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["submit-job", "read-job"])
def test_a_right_that_is_missing_is_named(clients, missing):
    with Agent(policies={"token": least("default", missing)}) as agent:
        client = clients(agent, token="token")
        with pytest.raises(AuthError) as caught:
            submit(client, FAILS).wait(PATIENCE)
        assert missing in caught.value.remedy
        nothing_runs(agent)


def test_without_the_right_to_logs_the_end_is_known_all_the_same(clients):
    with Agent(policies={"token": least("default", "read-logs")}) as agent:
        job = submit(clients(agent, token="token"), FAILS)
        assert end(job) == (S.FAILED, Cause.EXIT_CODE, 1)
        with pytest.raises((AuthError, LogsUnavailable), match="refused"):
            said(job)


def test_secrets_that_may_not_be_written_are_no_job(clients, monkeypatch):
    monkeypatch.setenv("HERE", "hidden")
    with Agent(policies={"token": least("default", "variables")}) as agent:
        client = clients(agent, token="token")
        with pytest.raises(AuthError) as caught:
            submit(client, FAILS, secrets={"THERE": "env:HERE"})
        assert "variables" in caught.value.remedy
        assert not agent.state.jobs


def test_a_token_that_expires_is_read_again(clients, tmp_path):
    """At any call: before the job is registered, and while it runs."""
    file = tmp_path / "token"
    file.write_text("old")
    with Agent(policies={"old": least()}) as agent:
        client = clients(agent, token_file=str(file))
        job = submit(client, ["sleep", "600"])
        running(job)
        file.write_text("new")
        agent.policies = {"new": least()}
        agent.break_off()
        assert end(submit(client, FAILS)) == (S.FAILED, Cause.EXIT_CODE, 1)
        job.cancel()
        assert end(job) == (S.CANCELLED, Cause.CANCELLED, 1)


# -- what Nomad does to jobs -----------------------------------------------------------------


def test_an_allocation_that_is_stopped_is_not_run_a_second_time(agent, client):
    job = submit(client, ["sleep", "600"])
    running(job)
    agent.cluster.stop(allocs(agent, job)[0]["ID"])
    assert end(job) == (S.FAILED, Cause.EVICTED, 2)
    assert agent.state.jobs["default", job.ref.id]["Stop"]
    nothing_runs(agent)


def test_an_allocation_that_may_run_again_does(agent, client, tmp_path):
    job = submit(
        client,
        f"test -e {tmp_path}/once && exit 0; touch {tmp_path}/once; exec sleep 600",
        reruns=True,
    )
    running(job)
    until((tmp_path / "once").exists)
    agent.cluster.stop(allocs(agent, job)[0]["ID"])
    assert end(job) == (S.SUCCEEDED, None, 2)


def test_a_drained_node_evicts_its_jobs(agent, client):
    job = submit(client, ["sleep", "600"])
    running(job)
    agent.cluster.drain("node-1")
    assert end(job) == (S.FAILED, Cause.EVICTED, 1)
    nothing_runs(agent)


def test_a_more_important_job_preempts_another(clients):
    with Agent([node("node-1", memory=1000)], preemption=True) as agent:
        client, half = clients(agent), 600 << 20
        lesser = submit(client, ["sleep", "600"], memory=half, options={"priority": 10})
        running(lesser)
        greater = submit(client, ["sleep", "600"], memory=half, options={"priority": 90})
        assert end(lesser)[:2] == (S.FAILED, Cause.PREEMPTED)
        assert len(allocs(agent, lesser)) == 1
        running(greater)
        greater.cancel()
        assert end(greater) == (S.CANCELLED, Cause.CANCELLED, 1)
        nothing_runs(agent)


def test_a_preempted_job_that_may_run_again_waits_for_its_place(clients):
    with Agent([node("node-1", memory=1000)], preemption=True) as agent:
        client, half = clients(agent), 600 << 20
        lesser = submit(client, "sleep 2", memory=half, options={"priority": 10}, reruns=True)
        running(lesser)
        greater = submit(client, "exit 0", memory=half, options={"priority": 90})
        assert end(greater) == (S.SUCCEEDED, None, 1)
        assert end(lesser) == (S.SUCCEEDED, None, 2)


def test_a_lost_node_ends_its_jobs_and_their_processes_when_it_returns(agent, client):
    job = submit(client, ["sleep", "600"], options={"lost_after": "0.3s"})
    running(job)
    agent.cluster.lose("node-1")
    assert end(job)[:2] == (S.FAILED, Cause.NODE_LOST)
    agent.cluster.reconnect("node-1")
    nothing_runs(agent)
    until(lambda: allocs(agent, job)[0]["ClientStatus"] == "complete")
    assert end(job)[:2] == (S.FAILED, Cause.NODE_LOST)
    assert len(allocs(agent, job)) == 1


def test_a_node_that_returns_in_time_has_lost_nothing(agent, client, tmp_path):
    job = submit(client, f"until test -e {tmp_path}/go; do sleep 0.05; done; exit 3")
    running(job)
    agent.cluster.lose("node-1")
    until(lambda: allocs(agent, job)[0]["ClientStatus"] == "unknown")
    (tmp_path / "go").touch()
    agent.cluster.reconnect("node-1")
    assert end(job) == (S.FAILED, Cause.EXIT_CODE, 1)


def test_a_job_that_somebody_else_stops_is_cancelled(agent, client):
    job = submit(client, ["sleep", "600"])
    running(job)
    agent.cluster.deregister("default", job.ref.id, purge=False)
    assert end(job) == (S.CANCELLED, Cause.CANCELLED, 1)


@pytest.mark.parametrize("driver", ["docker", "exec"])
def test_a_job_that_runs_out_of_memory(agent, client, driver):
    image = {"image": "busybox:1"} if driver == "docker" else {}
    job = client.submit(["sleep", "600"], options={"driver": driver}, **image)
    running(job)
    agent.cluster.out_of_memory(job.ref.id)
    assert end(job) == (S.FAILED, Cause.OOM, 1)


def test_an_image_that_cannot_be_pulled(clients):
    with Agent(images=frozenset()) as agent:
        job = clients(agent).submit(["true"], image="no-such-image:1")
        assert end(job) == (S.FAILED, Cause.IMAGE, 1)
        assert "no-such-image:1" in job.record.message


def test_a_job_waits_for_a_variable_that_it_reads(agent, client):
    reads = {
        "EmbeddedTmpl": '{{ with nomadVar "nomad/jobs/shared" }}GIVEN={{ .given }}{{ end }}',
        "DestPath": "secrets/given.env",
        "Envvars": True,
    }
    task = {"Name": "main", "Driver": "raw_exec", "Templates": [reads]}
    template = json.dumps({"Job": {"Type": "batch", "TaskGroups": [{"Tasks": [task]}]}})
    job = client.submit('echo "$GIVEN"', options={"template": template})
    until(lambda: "nomad/jobs/shared" in str(job.explain()))
    assert not job.done()
    agent.cluster.write_variable("default", "nomad/jobs/shared", {"given": "at last"})
    assert end(job) == (S.SUCCEEDED, None, 1)
    assert said(job) == b"at last\n"


def test_secrets_reach_the_command_and_are_gone_with_the_job(agent, client, monkeypatch):
    monkeypatch.setenv("HERE", 'a "b"\n$c')
    job = submit(client, 'printf %s "$THERE"', secrets={"THERE": "env:HERE"})
    assert end(job) == (S.SUCCEEDED, None, 1)
    assert said(job) == b'a "b"\n$c'
    until(lambda: not agent.state.variables)


# -- logs ------------------------------------------------------------------------------------


def test_a_log_that_is_rotated_while_it_is_read_is_whole_or_said_not_to_be(agent, client):
    logs = {"MaxFiles": 2, "MaxFileSizeMB": 1}
    task = {"Name": "main", "Driver": "raw_exec", "LogConfig": logs}
    template = json.dumps({"Job": {"Type": "batch", "TaskGroups": [{"Tasks": [task]}]}})
    job = client.submit("seq 500000", options={"template": template})
    job.wait(PATIENCE)
    chunks = list(job.logs(streams=("stdout",)))
    kept = b"".join(chunk.data for chunk in chunks)
    written = b"".join(b"%d\n" % number for number in range(1, 500_001))
    assert 1 << 20 <= len(kept) < len(written)
    assert written.endswith(kept)  # a file may begin amid a line, as the pipe's reads fall
    assert any(chunk.truncated for chunk in chunks)


def test_a_node_that_cannot_be_reached_keeps_its_logs(agent, client):
    job = submit(client, FAILS)
    end(job)
    agent.cluster.lose("node-1")
    timer = threading.Timer(0.5, agent.cluster.reconnect, ["node-1"])
    timer.start()
    assert said(job) == b"said\n"
    timer.join()


def test_logs_that_the_node_has_collected_are_said_to_be_lost(agent):
    driver = NomadDriver(NomadDriver.Settings(address=agent.address))
    with closing(driver), Client(driver=driver, journal=False) as client:
        job = submit(client, FAILS)
        end(job)
        agent.cluster.clients.collected.add(allocs(agent, job)[0]["ID"])
        page = driver.read_logs(job.ref, 1, "stdout", None, ended=True, wait=0)
    assert (page.data, page.eof, page.truncated) == (b"", True, True)
