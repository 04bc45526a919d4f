"""What no recording shows of the tests' agent: who waits, who is too many, who falls behind."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager

import pytest
import requests

from tests.drivers.nomad.agent import Agent
from tests.drivers.nomad.agent.logs import Log
from tests.drivers.nomad.agent.templates import Invalid, interpolated


def get(agent, path, **params):
    return requests.get(f"{agent.address}/v1/{path}", params=params, timeout=20)


def register(agent, name, restarts=None):
    task = {"Name": "main", "Driver": "raw_exec", "Config": {"command": "true"}}
    group = {"Name": "main", "RestartPolicy": {"Attempts": 0, "Delay": 7}}
    tasks = [{**task, "RestartPolicy": restarts}]
    job = {"ID": name, "Type": "batch", "TaskGroups": [{**group, "Tasks": tasks}]}
    return requests.put(f"{agent.address}/v1/jobs", json={"Job": job}, timeout=20).json()["Index"]


def over(agent, name):
    """Wait for its end, by blocking queries."""
    index = 0
    while True:
        answer = get(agent, f"job/{name}/allocations", index=index, wait="20s")
        if [alloc["ClientStatus"] for alloc in answer.json()] == ["complete"]:
            return
        index = int(answer.headers["X-Nomad-Index"])


@contextmanager
def stream(agent, **params):
    """The lines of the event stream."""
    where = f"{agent.address}/v1/event/stream"
    with requests.get(where, params=params, stream=True, timeout=20) as answer:
        yield (json.loads(line) for line in answer.iter_lines(chunk_size=1))


def first_index(agent, index):
    """The index of the first entry that a stream tells which is asked for that one."""
    with stream(agent, index=index) as told:
        return next(line["Index"] for line in told if line)


def test_a_query_waits_for_what_is_new(agent):
    over(agent, "first" if register(agent, "first") else "")
    index = int(get(agent, "jobs").headers["X-Nomad-Index"])
    waited = []
    asks = threading.Thread(
        target=lambda: waited.append(get(agent, "jobs", index=index, wait="20s").json())
    )
    asks.start()
    register(agent, "second")
    asks.join()
    assert [job["ID"] for job in waited[0]] == ["first", "second"]


def test_a_query_waits_no_longer_than_it_was_told(agent):
    answer = get(agent, "jobs", index=10**9, wait="50ms")
    assert (answer.status_code, answer.json()) == (200, [])


def test_lists_come_in_pages(agent):
    for name in ("a", "b", "c"):
        register(agent, name)
    first = get(agent, "jobs", per_page=2)
    rest = get(agent, "jobs", per_page=2, next_token=first.headers["X-Nomad-NextToken"])
    assert [job["ID"] for page in (first, rest) for job in page.json()] == ["a", "b", "c"]
    assert "X-Nomad-NextToken" not in rest.headers


def test_a_tasks_own_restart_policy_beats_its_groups(agent):
    register(agent, "own", restarts={"Attempts": 3})
    (group,) = get(agent, "job/own").json()["TaskGroups"]
    (task,) = group["Tasks"]
    assert [one["RestartPolicy"]["Attempts"] for one in (group, task)] == [0, 3]
    assert task["RestartPolicy"]["Delay"] == 7


def test_one_connection_too_many(agent):
    with Agent(limit=1) as small:
        host, port = small.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
            assert get(small, "status/leader").status_code == 429


def test_a_stream_begins_with_a_heartbeat_and_the_entry_of_its_index(agent):
    index = register(agent, "first")
    over(agent, "first")
    with stream(agent, index=index) as told:
        assert next(told) == {}
        assert next(told)["Index"] == index


@pytest.mark.parametrize("index", [0, 1])
def test_a_stream_from_long_ago_begins_with_the_oldest_that_is_kept(index):
    with Agent(buffer=3) as agent:
        register(agent, "first")
        over(agent, "first")
        kept = [entry.index for entry in agent.state.entries]
        assert first_index(agent, index) == kept[0]


def test_a_stream_from_what_is_still_to_come_begins_with_the_last_entry(agent):
    register(agent, "first")
    over(agent, "first")
    assert first_index(agent, 10**9) == agent.state.index


def test_a_reader_whom_the_buffer_overtakes_is_let_go():
    with Agent(buffer=1) as agent, stream(agent, topic="Nothing:*") as told:
        assert next(told) == {}
        with agent.state.changed:  # nobody reads between two changes
            for _ in range(3):
                agent.state.apply("Test", [])
        assert list(told) == []


def test_fifty_jobs_at_once(agent):
    for n in range(50):
        register(agent, f"job-{n}")
    for n in range(50):
        over(agent, f"job-{n}")
    assert len(agent.state.allocs) == 50


@pytest.mark.parametrize("size", [10, 20, 1000])
def test_a_log_is_rotated_between_lines(tmp_path, size):
    text = b"".join(b"line %d\n" % n for n in range(30))
    source = tmp_path / "source"
    source.write_bytes(text)
    log = Log(tmp_path / "logs", "main.stdout", size, files=100)
    log.create()
    with source.open("rb") as file:
        log.copy(file)
    files = [log.path(number).read_bytes() for number in log.numbers()]
    assert b"".join(files) == text
    assert all(data.endswith(b"\n") and len(data) <= size for data in files)
    assert b"".join(data for _, _, data in log.read("start", 0)) == text
    assert b"".join(data for _, _, data in log.read("end", 5)) == text[-5:]
    assert b"".join(data for _, _, data in log.read("start", 100)) == text[100:]


def test_old_files_go(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"0123456789\n" * 10)
    log = Log(tmp_path / "logs", "main.stdout", 11, files=2)
    log.create()
    with source.open("rb") as file:
        log.copy(file)
    assert log.numbers() == [8, 9]


def test_what_is_replaced_in_a_tasks_words():
    known = {"HOME": "/here", "attr.kernel.name": "linux"}
    words = ["${HOME}/x", "$HOME $(pwd)", "$${HOME}", "${attr.kernel.name}"]
    assert interpolated(words, known, strict=True) == [
        "/here/x",
        "$HOME $(pwd)",
        "${HOME}",
        "linux",
    ]
    assert interpolated("${X:-d}", known, strict=False) == "${X:-d}"
    with pytest.raises(Invalid):
        interpolated("${X:-d}", known, strict=True)
