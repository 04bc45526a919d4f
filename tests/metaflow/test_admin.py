"""``list`` and ``kill``: which jobs each option means, on engines that list all jobs or not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from batchbridge import Client, Job, Record
from metaflow_extensions.batchbridge.plugins import admin, clients, runs
from metaflow_extensions.batchbridge.plugins import history as keeping
from metaflow_extensions.batchbridge.plugins.admin import Asked
from metaflow_extensions.batchbridge.plugins.attributes import BatchBridgeException
from metaflow_extensions.batchbridge.plugins.history import History
from metaflow_extensions.batchbridge.plugins.runs import Run, Task
from metaflow_extensions.batchbridge.plugins.targets import Target

from .conftest import eventually
from .engines import LIVE, There, real_armada, real_nomad, small_armada, small_nomad

FLOW = "MyFlow"
WAIT = "echo begun; exec sleep 300"


@dataclass
class Metadata:
    """What a provider of Metaflow's knows: runs with their users, those that ended, task facts."""

    runs: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    facts: list[dict[str, Any]] = field(default_factory=list)

    def get_object(self, kind: str, of: str, filters: None, attempt: None, *where: str) -> Any:
        if (kind, of) == ("flow", "run"):
            return [
                {"run_number": n, "user_name": user, "ts_epoch": 4e12}
                for n, user in self.runs.items()
            ]
        if (kind, of) == ("step", "task"):
            return ["task"] if where[1] in self.ended else []
        return self.facts


@dataclass
class Datastore:
    """Keeps the logs of attempts by their place."""

    kept: dict[tuple[Any, ...], dict[str, bytes]] = field(default_factory=dict)
    place: tuple[Any, ...] = ()

    def get_task_datastore(self, mode: str, **place: Any) -> Datastore:
        return Datastore(self.kept, tuple(place.values()))

    def save_logs(self, source: str, paths: dict[str, Path]) -> None:
        self.kept[self.place] = {stream: path.read_bytes() for stream, path in paths.items()}


@pytest.fixture(
    params=[
        small_nomad,
        small_armada,
        pytest.param(real_nomad, marks=LIVE),
        pytest.param(real_armada, marks=LIVE),
    ],
    ids=["nomad", "armada", "nomad-live", "armada-live"],
)
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with request.param() as found:
        yield found


@pytest.fixture
def target(there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """The engine, as its decorator would be led to it."""
    monkeypatch.setenv("BATCHBRIDGE_STATE_DIR", str(tmp_path))
    from metaflow import metaflow_config

    for name, value in there.env.items():
        monkeypatch.setattr(metaflow_config, name.removeprefix("METAFLOW_"), value)
    return Target(there.name, there.name)


@pytest.fixture
def jobs(there: There, target: Target) -> Iterator[dict[str, Job]]:
    """A job of each run, user and step: mine of run 1, another's of run 2, one of another flow."""
    options = {"driver": "raw_exec"} if there.name == "nomad" else {}
    form = {"options": options, **({} if options else {"image": "busybox", "cpu": 0.1})}
    with clients.connect(target) as client:
        made = {}
        for flow, number, user, step in (
            (FLOW, "1", "me", "train"),
            (FLOW, "1", "me", "test"),
            (FLOW, "2", "you", "train"),
            ("Other", "1", "me", "train"),
        ):
            run, task = Run(flow, number), Task(step, "7", 0)
            made[run.job_name(task)] = client.submit(
                WAIT,
                key=uuid4().hex,
                name=run.job_name(task),
                job_set=run.job_set,
                labels={"metaflow.user": user},
                **form,
            )
        sets = {job.job_set for job in made.values()}
        eventually(lambda: {j.name for s in sets for j in client.list(s)} == {*made}, "all listed")
        yield made
        client.cancel(made.values())


@pytest.fixture
def history() -> History:
    return History(FLOW, Metadata({"1": "me", "2": "you", "0": "me"}, {"0"}), Datastore())


def names(lines: Iterator[str]) -> set[str]:
    """The jobs that the lines are about."""
    words = {word.strip("()") for line in lines for word in line.split()}
    return {word for word in words if runs.task_of(word)}


T1, E1, T2 = f"{FLOW}.1.train.7.0", f"{FLOW}.1.test.7.0", f"{FLOW}.2.train.7.0"


@pytest.mark.timeout(120)
def test_each_option_of_list_and_kill(
    jobs: dict[str, Job], target: Target, history: History
) -> None:
    def listed(**asked: Any) -> set[str]:
        return names(admin.listed(Asked(history, (target,), **asked)))

    one = jobs[T1]
    runs.remember(Run(FLOW, "1"))  # whose user this machine does not note
    assert listed(run_id="1") == {T1, E1}
    assert listed(run_id="3") == set()
    assert listed(user="you") == {T2}
    assert listed(user="me") == {T1, E1}
    assert listed(prefix=f"{FLOW}.1.te") == {E1}
    assert listed(prefix=one.ref.id) == {T1}
    assert listed(run_id="1", prefix=f"{FLOW}.2") == set()
    assert listed(job_ids=(one.ref.id, jobs[T2].ref.id)) == {T1, T2}
    assert listed(job_ids=(T2,)) == {T2}
    assert listed(job_set=Run(FLOW, "2").job_set) == {T2}
    assert listed(job_set=Run("Other", "1").job_set) == set()
    assert listed(run_id="1", user="me") == {T1, E1}
    assert listed(run_id="1", user="you") == set()
    assert listed(run_id="1", job_set=Run(FLOW, "2").job_set) == set()
    assert listed(job_set=Run(FLOW, "2").job_set, user="me") == set()
    assert listed(job_ids=(str(one.ref),), user="you") == set()
    by_ref = list(admin.listed(Asked(history, (target,), job_ids=(str(one.ref),))))
    assert by_ref[0].startswith(f"{one.ref} ")
    killed = Asked(history, (target,), job_ids=(one.ref.id,))
    assert names(admin.killed(killed)) == {T1}
    assert one.wait(60).state == "CANCELLED"
    assert listed(run_id="1") == {E1}
    assert names(admin.killed(Asked(history, (target,), run_id="1"))) == {E1}
    assert list(admin.killed(Asked(history, (target,), run_id="1"))) == [admin.NONE_FOUND]
    assert not jobs[T2].refresh().terminal


@pytest.mark.timeout(120)
@pytest.mark.parametrize("there", [small_nomad], indirect=True)
def test_purge_keeps_the_output_first_and_then_the_engine_forgets(
    jobs: dict[str, Job], target: Target, history: History, there: There
) -> None:
    _begun(jobs[T1])
    runs.remember(Run(FLOW, "1", (target,), host=_host(), pid=1, started=0.0))
    lines = list(admin.killed(Asked(history, (target,), prefix=T1), purge=True))
    assert f"{jobs[T1].ref} is purged; its output is kept with the task" in lines
    (kept,) = history.datastore.kept.items()
    assert kept[0] == ("1", "train", "7", 0)
    assert b"begun" in kept[1]["stdout"]
    with Client("nomad", settings={"address": there.server.address}) as client:  # type: ignore[union-attr]
        assert T1 not in {job.name for job in client.list(Run(FLOW, "1").job_set)}


@dataclass
class Clock:
    """Time that is so much ahead, and that sleep brings forward at once."""

    ahead: float = 0.0
    slept: float = 0.0
    sleeps: Callable[[], object] = tuple  #: is called at each

    def time(self) -> float:
        return time.time() + self.ahead + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.sleeps()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What those look at who purge."""
    made = Clock()
    for module in (admin, keeping):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.mark.timeout(120)
@pytest.mark.parametrize("there", [small_nomad], indirect=True)
def test_output_that_the_tasks_own_process_keeps_is_left_as_it_is(
    jobs: dict[str, Job], target: Target, history: History, clock: Clock
) -> None:
    _begun(jobs[T1])
    facts = {"field_name": "batchbridge-state", "tags": ["attempt_id:0"]}
    clock.sleeps = lambda: history.metadata.facts.append(facts)
    list(admin.killed(Asked(history, (target,), job_ids=(T1,)), purge=True))
    assert clock.slept > 0
    assert history.datastore.kept == {}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("there", [small_nomad], indirect=True)
@pytest.mark.parametrize(("ahead", "longest"), [(0.0, keeping.OWN + 1), (keeping.OWN, 0.0)])
def test_processes_that_keep_nothing_are_waited_for_together_from_the_jobs_ends(
    jobs: dict[str, Job],
    target: Target,
    history: History,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float,
    longest: float,
) -> None:
    """The engine is asked to forget them all at once: it is left in peace for seconds before."""
    purges: list[Iterable[Job]] = []
    monkeypatch.setattr(Client, "purge", lambda client, ended: purges.append(ended))
    clock.ahead = ahead
    list(admin.killed(Asked(history, (target,), run_id="1"), purge=True))
    assert [{job.name for job in ended} for ended in purges] == [{T1, E1}]
    assert {place[1] for place in history.datastore.kept} == {"train", "test"}
    assert clock.slept <= longest


@pytest.mark.timeout(120)
def test_a_job_that_is_known_by_its_reference_alone_is_told_by_it(
    jobs: dict[str, Job], target: Target, history: History
) -> None:
    ref = str(jobs[T1].ref)
    asked = Asked(history, (target,), job_ids=(ref,))
    (line,) = admin.listed(asked)
    assert re.fullmatch(f"{re.escape(ref)} ([A-Z]+|not known yet)", line)
    assert list(admin.killed(asked)) == [f"Ending {ref}"]


@pytest.mark.parametrize("there", [small_armada], indirect=True)
def test_a_state_that_the_engine_does_not_tell_yet_is_said_so(
    target: Target, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = SimpleNamespace(ref="armada://a/q/s/01", record=Record("01"), name="")
    monkeypatch.setattr(admin.jobs, "going", lambda found: [fresh])
    (line, *_) = admin.listed(Asked(history, (target,)))
    assert line == "armada://a/q/s/01 not known yet"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("there", [small_nomad], indirect=True)
def test_a_job_whose_task_is_not_known_is_not_purged(
    jobs: dict[str, Job], target: Target, history: History
) -> None:
    ref = str(jobs[T1].ref)
    *_, line = admin.killed(Asked(history, (target,), job_ids=(ref,)), purge=True)
    assert line.startswith(f"{ref} is not purged: its task is not known")
    assert "--run-id" in line
    assert jobs[T1].refresh().state == "CANCELLED"


@pytest.mark.parametrize("there", [small_armada], indirect=True)
def test_purge_is_refused_before_anything_is_ended_where_the_engine_cannot(
    jobs: dict[str, Job], target: Target, history: History
) -> None:
    with pytest.raises(BatchBridgeException, match="cannot purge"):
        list(admin.killed(Asked(history, (target,), run_id="1"), purge=True))
    assert not jobs[T1].refresh().terminal


def _begun(job: Job) -> None:
    assert any(b"begun" in chunk.data for chunk in job.logs())


def _host() -> str:
    import socket

    return socket.gethostname()
