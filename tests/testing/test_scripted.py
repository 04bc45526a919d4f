"""The scripted driver says what it is told, to whoever asks, through the client too."""

from __future__ import annotations

import contextlib
import threading

import pytest

from batchbridge.client import Client
from batchbridge.driver import Capabilities
from batchbridge.errors import CursorExpired, NoSuchJob
from batchbridge.model import Absent, Cause, JobRef, JobState
from batchbridge.testing import ScriptedDriver
from batchbridge.testing.scripted import succeed

S = JobState


class Polled(ScriptedDriver):
    capabilities = Capabilities(idempotency="exact", absence=True, no_reruns=True)


@pytest.mark.parametrize("kind", [ScriptedDriver, Polled])
def test_a_job_passes_the_states_that_are_said(kind: type[ScriptedDriver]) -> None:
    driver = kind()
    with Client(driver=driver, journal=False) as client:
        job = client.submit(["anything"], key="k1")
        driver.say("k1", S.RUNNING, node="n1")
        driver.say("k1", S.FAILED, final=True, exit_code=3)
        record = job.wait(10)
        assert (record.state, record.cause, record.exit_code) == (S.FAILED, Cause.EXIT_CODE, 3)
        assert [event.record.state for event in job.events()] == (
            [S.SUBMITTED, S.QUEUED, S.RUNNING, S.FAILED]
        )


def test_a_script_may_say_it_all_at_once() -> None:
    with Client(driver=ScriptedDriver(script=succeed), journal=False) as client:
        assert client.submit(["anything"]).result(10).state is S.SUCCEEDED


def test_the_same_key_is_the_same_job() -> None:
    driver = ScriptedDriver()
    with Client(driver=driver, journal=False) as client:
        first, second = (client.submit(["x"], key="k1") for _ in range(2))
    assert first.ref == second.ref
    assert len(driver.calls.submitted) == 2


def test_cancelled_is_cancelled_at_once_unless_it_is_over() -> None:
    driver = ScriptedDriver()
    with Client(driver=driver, journal=False) as client:
        job = client.submit(["x"], key="k1")
        job.cancel()
        assert job.wait(10).state is S.CANCELLED
        driver.cancel([job.ref], reason="again")
    assert driver.calls.cancelled == ["k1", "k1"]


def test_logs_are_what_was_written() -> None:
    driver = ScriptedDriver(script=succeed)
    with Client(driver=driver, journal=False) as client:
        job = client.submit(["x"], key="k1")
        for part in (b"caf\xc3", b"\xa9\n"):
            driver.write("k1", part)
        driver.write("k1", b"oops\n", stream="stderr")
        chunks = {(chunk.stream, chunk.data) for chunk in job.logs()}
    assert chunks == {("stdout", b"caf\xc3\xa9\n"), ("stderr", b"oops\n")}


def test_a_page_waits_for_what_is_written() -> None:
    driver = ScriptedDriver()
    later = threading.Timer(0.05, driver.write, ("k1", b"late"))
    later.start()
    ref = JobRef("scripted", "scripted", (), "k1")
    page = driver.read_logs(ref, 1, "stdout", None, ended=False, wait=10)
    later.join()
    assert (page.data, page.eof) == (b"late", False)


def test_what_is_forgotten_is_denied() -> None:
    driver = ScriptedDriver()
    with Client(driver=driver, journal=False) as client:
        ref = client.submit(["x"], key="k1").ref
        driver.forget("k1")
        assert isinstance(driver.snapshot((), ["k1"]).observations[0], Absent)
    with Client(driver=driver, journal=False) as client, pytest.raises(NoSuchJob):
        client.attach(ref).refresh()


def test_a_watch_resumes_where_it_was() -> None:
    driver = ScriptedDriver()
    driver.say("k1", S.QUEUED)
    driver.say("k1", S.RUNNING)
    with contextlib.closing(driver.watch((), "1", lambda: ())) as watch:
        assert next(watch).cursor == "1"
        batch = next(watch)
        assert [seen.state for seen in batch.observations] == [S.RUNNING]
        assert batch.cursor == "2"
    with pytest.raises(CursorExpired):
        next(driver.watch((), "3", lambda: ()))


def test_what_it_can_be_asked_besides() -> None:
    driver = ScriptedDriver()
    with Client(driver=driver, journal=False) as client:
        job = client.submit(["x"], key="k1", job_set="night", labels={"a": "b"})
        assert [listed.ref for listed in client.list("night")] == [job.ref]
        assert client.list("day") == []
        assert [listed.ref for listed in client.list()] == [job.ref]
        assert driver.list(None, "somebody else") == []
        assert driver.list("night", None)[0].labels == {"a": "b"}
        assert job.explain() is not None
        assert client.render({"command": ["x"]})["command"] == ("x",)
