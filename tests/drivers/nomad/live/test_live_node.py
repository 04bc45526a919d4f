"""What a job finds on its node: volumes, variables of the cluster, cores of its own."""

from __future__ import annotations

import pytest

from batchbridge import Client, Job, JobState
from localdev.nomad_admin import Admin
from localdev.nomad_agent import admin_of
from localdev.nomad_config import VOLUME, Agent, settings
from tests.drivers.nomad.images import KEEP, Keeper, need_busybox, shell_root
from tests.drivers.nomad.live.conftest import LIVE, Start, client_of

pytestmark = LIVE
OVERSUBSCRIPTION = """
server {
  default_scheduler_config { memory_oversubscription_enabled = true }
}
"""
FILLS_MEMORY = "dd if=/dev/zero of=/dev/null bs=400M count=1"
MORE = {"memory": "64M", "options": {"driver": "exec", "memory_max": "600M"}}
DATA = {"volumes": [{"source": VOLUME, "path": "/data"}]}


def output(job: Job) -> str:
    return b"".join(chunk.data for chunk in job.logs(streams=["stdout"])).decode()


def test_a_host_volume_in_a_chroot(client: Client, agent: Agent):
    (agent.place.datastore / "here").write_text("in a volume\n")
    job = client.submit("cat /data/here", options={"driver": "exec", **DATA})
    assert output(job) == "in a volume\n"


def test_a_host_volume_in_a_container_can_be_written_to_unless_it_is_read_only(start: Start):
    need_busybox()
    agent = start(config=KEEP)
    if not agent.features.docker:
        pytest.skip("docker info does not succeed")
    with Keeper().image(shell_root()) as image, client_of(settings(agent)) as client:
        written = client.submit("echo made > /data/made", image=image, options=DATA)
        assert written.result(60).state is JobState.SUCCEEDED
        (volume,) = DATA["volumes"]
        options = {"volumes": [{**volume, "read_only": True}]}
        job = client.submit("cat /data/made; touch /data/more", image=image, options=options)
        assert output(job) == "made\n"
        assert job.wait(60).state is JobState.FAILED
    assert (agent.place.datastore / "made").read_text() == "made\n"


def test_a_variable_of_the_cluster_is_in_the_environment(client: Client, admin: Admin):
    admin.ask("PUT", "var/nomad/jobs", {"Items": {"word": "of the cluster"}})
    options = {"driver": "raw_exec", "variables": {"WORD": "nomad/jobs#word"}}
    assert output(client.submit('echo "$WORD"', options=options)) == "of the cluster\n"
    admin.ask("DELETE", "var/nomad/jobs")


def test_cores_are_the_jobs_alone(client: Client, admin: Admin):
    job = client.submit("true", options={"driver": "raw_exec", "cores": 1})
    assert job.result(90).state is JobState.SUCCEEDED
    (alloc,) = admin.ask("GET", f"job/{job.ref.id}/allocations")
    found = admin.ask("GET", f"allocation/{alloc['ID']}")
    assert len(found["AllocatedResources"]["Tasks"]["main"]["Cpu"]["ReservedCores"]) == 1


def test_memory_to_spare_is_used_where_it_may_be(start: Start):
    agent = start(config=OVERSUBSCRIPTION)
    with client_of(settings(agent)) as client:
        job = client.submit(FILLS_MEMORY, **MORE)
        assert job.notes == ()
        assert job.result(90).state is JobState.SUCCEEDED
    assert memory_of(job, admin_of(agent)) == {"MemoryMB": 64, "MemoryMaxMB": 600}


def test_memory_to_spare_is_said_to_be_ignored_where_it_is(client: Client, admin: Admin):
    job = client.submit("true", **MORE)
    (note,) = job.notes
    assert "Memory oversubscription is not enabled" in note
    assert job.result(90).state is JobState.SUCCEEDED
    assert memory_of(job, admin) == {"MemoryMB": 64, "MemoryMaxMB": 0}


def memory_of(job: Job, admin: Admin) -> dict[str, int]:
    """What Nomad gave it."""
    (alloc,) = admin.ask("GET", f"job/{job.ref.id}/allocations")
    found = admin.ask("GET", f"allocation/{alloc['ID']}")
    memory: dict[str, int] = found["AllocatedResources"]["Tasks"]["main"]["Memory"]
    return memory
