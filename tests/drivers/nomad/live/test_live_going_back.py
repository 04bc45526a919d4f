"""The servers go back to a state of before while jobs are watched: nothing hangs, or succeeds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from batchbridge import Client, Job, JobState, as_completed
from localdev.nomad_admin import Admin
from tests.drivers.nomad.live.cluster import Cluster, eventually
from tests.drivers.nomad.live.gated import Gate

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]
JOBS = 5

Back = Callable[[], None]


def a_snapshot(pair: Cluster, at: Path) -> Back:
    """Nomad's own snapshot; what restores it."""
    server = pair.servers[0]

    def snapshot(verb: str) -> None:
        words = ["operator", "snapshot", verb, f"-address={server.settings.address}", str(at)]
        subprocess.run([server.program, *words], check=True, capture_output=True)

    snapshot("save")
    return lambda: snapshot("restore")


def a_copy_of_the_disk(pair: Cluster, at: Path) -> Back:
    """The server's disk; what puts it back. The client agent begins anew with it."""
    server = pair.servers[0]
    shutil.copytree(server.root / "data", at)

    def back() -> None:
        for member in pair.members:
            member.kill()
        shutil.rmtree(server.root / "data")
        shutil.copytree(at, server.root / "data")
        for member in pair.members:
            member.start()
        eventually(pair.ready, "they are back")

    return back


@pytest.mark.parametrize("kept_as", [a_snapshot, a_copy_of_the_disk])
def test_servers_that_go_back(
    pair: Cluster, pair_client: Client, tmp_path: Path, kept_as: Callable[[Cluster, Path], Back]
):
    """What they still know is followed to its end; what they have forgotten is LOST, and ended."""
    known, known_jobs = running(pair_client, tmp_path / "known")
    back = kept_as(pair, tmp_path / "state")
    _, forgotten = running(pair_client, tmp_path / "forgotten")
    theirs = [place for job in forgotten for place in places(pair, job)]
    assert [place.exists() for place in theirs] == [True] * JOBS
    back()
    later = pair_client.submit("exit 3", options={"driver": "raw_exec"})
    known.finish(known_jobs)
    assert later.wait(240).exit_code == 3
    ended = {job.record.state for job in as_completed(forgotten, 240)}
    assert ended == {JobState.LOST}
    eventually(lambda: not any(map(Path.exists, theirs)), "their processes are ended")


def running(client: Client, root: Path) -> tuple[Gate, list[Job]]:
    """Jobs that run, and wait at their gate."""
    root.mkdir()
    gate = Gate(root, JOBS)
    jobs = client.submit_many(gate.specs())
    gate.all_run(jobs)
    return gate, jobs


def places(pair: Cluster, job: Job) -> list[Path]:
    """Where the client agent keeps a job's allocations, until no process of them is left."""
    allocs = Admin.of(pair.servers[0].settings).ask("GET", f"job/{job.ref.id}/allocations")
    return [pair.client.root / "data" / "alloc" / alloc["ID"] for alloc in allocs]
