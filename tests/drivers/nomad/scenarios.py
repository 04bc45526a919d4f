"""What is recorded of Nomad: one job's life each, done to any :class:`~.worlds.World`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.drivers.nomad import stage
from tests.drivers.nomad.stage import Stage
from tests.drivers.nomad.worlds import IMAGE, VICTIM, World, until

HERE = {"attribute": "${node.class}", "value": VICTIM, "operator": "!="}
THERE = {"attribute": "${node.class}", "value": VICTIM}

Scenario = Callable[[Stage], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """It is recorded under its name."""
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


# -- ends --------------------------------------------------------------------------------------


@scenario
def success(job: Stage) -> None:
    job.run("sleep 0.5")
    job.over()


@scenario
def exit_code(job: Stage) -> None:
    job.run("exit 3")
    job.over()


@scenario
def killed_by_itself(job: Stage) -> None:
    job.run("kill -9 $$")
    job.over()


@scenario
def time_limit(job: Stage) -> None:
    job.run("sleep 30", timeout=1)
    job.over()


@scenario
def max_run_duration(job: Stage) -> None:
    limit = int(job.world.moment * 1e9)
    job.run("exec sleep 60", group={"MaxRunDuration": limit})
    job.told("Killed")


@scenario
def stopped_after_its_end(job: Stage) -> None:
    job.run("true")
    job.over()
    job.deregister()
    time.sleep(0.2)


HUNGRY = "exec dd if=/dev/zero of=/dev/null bs=200M count=100000"
SMALL = {"memory": 64 << 20}


@scenario
def out_of_memory_in_exec(job: Stage) -> None:
    job.run(HUNGRY, options={"driver": "exec", "constraints": [HERE]}, **SMALL)
    job.told("Started")
    job.world.starve(job.job_id)
    job.over()


@scenario
def out_of_memory_in_docker(job: Stage) -> None:
    job.run(HUNGRY, image=IMAGE, **SMALL)
    job.told("Started")
    job.world.starve(job.job_id)
    job.over()


@scenario
def exit_code_in_docker(job: Stage) -> None:
    job.run("exit 3", image=IMAGE)
    job.over()


@scenario
def cancelled_in_docker(job: Stage) -> None:
    job.run("exec sleep 60", image=IMAGE)
    job.running()
    job.deregister()
    job.over()


# -- starts that fail, or wait -----------------------------------------------------------------


@scenario
def no_such_program(job: Stage) -> None:
    job.run("true", config={"command": "/no/such/program", "args": []})
    job.over()


@scenario
def bad_interpolation(job: Stage) -> None:
    job.run("true", config={"args": ["-c", "echo ${X:-d}"]})
    job.over()


@scenario
def unknown_config(job: Stage) -> None:
    job.run("true", config={"no_such_key": 1})
    job.over()


@scenario
def no_such_image(job: Stage) -> None:
    job.run("true", image="no-such-image:1")
    job.over()


def reading(job: Stage, path: str) -> None:
    """A job that reads a variable."""
    text = f'{{{{ with nomadVar "{path}" }}}}GIVEN={{{{ .given }}}}{{{{ end }}}}'
    made = job.payload("true")
    template = {"EmbeddedTmpl": text, "DestPath": "secrets/given.env", "Envvars": True}
    made["Job"]["TaskGroups"][0]["Tasks"][0]["Templates"].append(template)
    job.register(made)


@scenario
def missing_variable(job: Stage) -> None:
    reading(job, f"nomad/jobs/{job.job_id}")
    job.told("Template")


@scenario
def missing_variable_that_comes(job: Stage) -> None:
    missing_variable(job)
    path = f"var/nomad/jobs/{job.job_id}"
    job.ask("PUT", path, {"Items": {"given": "at last"}})
    job.over()
    job.ask("DELETE", path)


ACL = {"denied-variable"}
"""What is recorded of an agent with access control."""


@scenario
def denied_variable(job: Stage) -> None:
    """It reads what belongs to another job."""
    reading(job, "nomad/jobs/another")
    job.told("Template")


# -- stopped -----------------------------------------------------------------------------------


@scenario
def cancelled(job: Stage) -> None:
    job.run("exec sleep 60")
    job.running()
    job.deregister()
    job.over()


@scenario
def cancelled_and_clean(job: Stage) -> None:
    job.run("trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done")
    job.running()
    until(lambda: "ready" in job.log(), "its readiness")
    job.deregister()
    job.over()


@scenario
def cancelled_in_the_queue(job: Stage) -> None:
    job.run("true", options={"datacenters": "mars"})
    job.blocked()
    job.deregister()
    job.dead()


@scenario
def allocation_stopped(job: Stage) -> None:
    """The second allocation runs: Nomad heeds no policy here."""
    job.run("exec sleep 60")
    job.running()
    job.ask("PUT", f"allocation/{job.allocs()[0]['ID']}/stop", {})
    job.again()
    job.deregister()
    job.over(2)


def preemption(job: Stage, on: bool) -> None:
    """Whether batch jobs make room for each other; with it, reasons for waiting are hidden."""
    current = job.ask("GET", "operator/scheduler/configuration")["SchedulerConfig"]
    current["PreemptionConfig"]["BatchSchedulerEnabled"] = on
    job.ask("PUT", "operator/scheduler/configuration", current)


def most_memory(job: Stage) -> int:
    """All memory of the usual node, in MB."""
    one = next(one for one in job.ask("GET", "nodes") if one["Name"] == "node-1")
    return int(job.ask("GET", f"node/{one['ID']}")["NodeResources"]["Memory"]["MemoryMB"])


@scenario
def preempted(job: Stage) -> None:
    preemption(job, True)
    memory = (most_memory(job) - 200) << 20
    here = {"constraints": [HERE]}
    job.run("exec sleep 60", memory=memory, options={"priority": 10, **here}, reruns=True)
    job.running()
    other = Stage(job.world, f"{job.name}-by")
    other.run("exec sleep 60", memory=memory, options={"priority": 90, **here})
    job.over()
    job.blocked()
    other.running()
    other.deregister()
    job.again()
    job.deregister()
    job.over(2)
    preemption(job, False)


@scenario
def drained(job: Stage) -> None:
    job.run("exec sleep 60", options={"constraints": [HERE]})
    job.running()
    node = f"node/{job.allocs()[0]['NodeID']}/drain"
    job.ask("PUT", node, {"DrainSpec": {"Deadline": -1}, "MarkEligible": False})
    job.over()
    time.sleep(0.5)
    job.ask("PUT", node, {"DrainSpec": None, "MarkEligible": True})


# -- lost --------------------------------------------------------------------------------------


def on_the_victim(job: Stage, lost_after: str, **fields: Any) -> None:
    """A job runs on the node that is lost then."""
    options = {"constraints": [THERE], "lost_after": lost_after}
    job.run("exec sleep 60", options=options, **fields)
    job.running()
    job.world.lose()


def lost_and_stopped(job: Stage, **fields: Any) -> None:
    """It is lost, waits for another place, and is stopped."""
    on_the_victim(job, f"{job.world.moment}s", **fields)
    job.is_at("lost")
    job.blocked()
    job.deregister()
    job.dead()


@scenario
def lost(job: Stage) -> None:
    lost_and_stopped(job)


@scenario
def lost_and_returned(job: Stage) -> None:
    """Its process went on until then."""
    lost_and_stopped(job)
    job.world.reconnect()
    job.is_at("complete")


@scenario
def lost_and_cancelled_while_it_waits(job: Stage) -> None:
    lost_and_stopped(job, reruns=True)


@scenario
def out_of_sight_and_back(job: Stage) -> None:
    on_the_victim(job, "600s")
    job.is_at("unknown")
    job.world.reconnect()
    job.is_at("running")
    job.deregister()
    job.over()


# -- waiting -----------------------------------------------------------------------------------


def waiting(job: Stage, **fields: Any) -> None:
    """It has no place."""
    job.run("true", **fields)
    job.blocked()


@scenario
def no_datacenter(job: Stage) -> None:
    waiting(job, options={"datacenters": "mars"})


@scenario
def too_much_memory(job: Stage) -> None:
    waiting(job, memory=1 << 50)


WINDOWS = {"attribute": "${attr.kernel.name}", "value": "windows"}


@scenario
def no_such_node(job: Stage) -> None:
    waiting(job, options={"constraints": [WINDOWS]})


@scenario
def no_such_node_with_preemption(job: Stage) -> None:
    preemption(job, True)
    no_such_node(job)
    preemption(job, False)


@scenario
def no_task_driver(job: Stage) -> None:
    waiting(job, options={"driver": "nothing"})


@scenario
def no_device(job: Stage) -> None:
    waiting(job, gpu=1)


@scenario
def room_at_last(job: Stage) -> None:
    """It waits until another has ended."""
    memory, here = (most_memory(job) - 200) << 20, {"constraints": [HERE]}
    other = Stage(job.world, f"{job.name}-after")
    other.run("exec sleep 60", memory=memory, options=here)
    other.running()
    job.run("true", memory=memory, options=here)
    job.blocked()
    other.deregister()
    job.over()


def recorded(world: World, name: str) -> Any:
    """What is recorded of that scenario."""
    return stage.recorded(world, name, SCENARIOS[name])
