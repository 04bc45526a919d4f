"""What is recorded of Nomad: one job's life each, done to any :class:`~.worlds.World`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from batchbridge.model import JobSpec, Submission
from batchbridge_nomad import NomadDriver
from tests.drivers.nomad.worlds import IMAGE, VICTIM, World, until

ENDS = ("complete", "failed", "lost")
SH = ("sh", "-c")


@dataclass(frozen=True, slots=True)
class Stage:
    """One job, in one world."""

    world: World
    name: str

    @property
    def job_id(self) -> str:
        """The job's id."""
        return f"bb-rec-{self.name}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What an operator is answered."""
        return self.world.admin.ask(method, path, body)

    def run(self, command: str, **fields: Any) -> None:
        """Submit it, with these fields of a job, `config` of its task and fields of its group."""
        self.register(self.payload(command, **fields))

    def register(self, made: Any) -> None:
        """Submit what was made."""
        self.ask("PUT", "jobs", made)

    def payload(self, command: str, *, config: Any = None, group: Any = None, **fields: Any) -> Any:
        """What is submitted."""
        options = {"driver": "docker" if "image" in fields else "raw_exec"}
        options |= fields.pop("options", {})
        spec = JobSpec(command=(*SH, command), options=options, **fields)
        driver = NomadDriver(NomadDriver.Settings(address=self.world.admin.url))
        submission = Submission(f"rec-{self.name}", spec, "recordings", "recorder")
        made: Any = json.loads(json.dumps(driver.render(submission)))
        made["Job"]["TaskGroups"][0].update(group or {})
        made["Job"]["TaskGroups"][0]["Tasks"][0]["Config"].update(config or {})
        return made

    def deregister(self) -> None:
        """Stop it."""
        self.ask("DELETE", f"job/{self.job_id}")

    def allocs(self) -> list[Any]:
        """Its allocations, in the order of creation."""
        found = self.ask("GET", f"job/{self.job_id}/allocations")
        return sorted(found, key=lambda alloc: alloc["CreateIndex"])

    def statuses(self) -> list[str]:
        """What its allocations are at."""
        return [alloc["ClientStatus"] for alloc in self.allocs()]

    def running(self) -> None:
        """Wait until the first allocation runs."""
        until(lambda: self.statuses() == ["running"], "its start")

    def over(self, count: int = 1) -> None:
        """Wait until so many allocations are over."""
        until(lambda: sum(one in ENDS for one in self.statuses()) == count, "its end")

    def again(self) -> None:
        """Wait until the first allocation is over and a second one runs."""
        until(lambda: self.statuses()[1:] == ["running"] and self.statuses()[0] in ENDS, "another")

    def is_at(self, status: str) -> None:
        """Wait until the first allocation is at that."""
        until(lambda: self.statuses()[:1] == [status], f"{status}")

    def blocked(self) -> None:
        """Wait until it waits for a place."""
        path = f"job/{self.job_id}/evaluations"
        until(lambda: "blocked" in [one["Status"] for one in self.ask("GET", path)], "its wait")

    def dead(self) -> None:
        """Wait until the job is dead."""
        until(lambda: self.ask("GET", f"job/{self.job_id}")["Status"] == "dead", "its end")

    def log(self) -> str:
        """What the first allocation has written."""
        where = f"{self.world.admin.url}/v1/client/fs/logs/{self.allocs()[0]['ID']}"
        asked = {"task": "main", "type": "stdout", "plain": "true"}
        return self.world.admin.session.get(where, params=asked, timeout=10).text

    def told(self, kind: str) -> None:
        """Wait until its task tells of that."""
        until(lambda: kind in [event["Type"] for event in self.events()], kind)

    def events(self) -> list[Any]:
        """What its task has told."""
        tasks = [alloc["TaskStates"] or {} for alloc in self.allocs()]
        return [event for task in tasks for event in task.get("main", {}).get("Events", [])]


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


# -- recording ---------------------------------------------------------------------------------


def needs_docker(name: str) -> bool:
    """Whether that scenario runs an image."""
    return "docker" in name or "image" in name


def recorded(world: World, name: str) -> Any:
    """What the lists say of the job at its end, and what the stream said on the way."""
    assert world.docker or not needs_docker(name), f"{IMAGE} cannot be run here"
    job, lines = Stage(world, name), list[Any]()
    where = f"{world.admin.url}/v1/event/stream"
    topics = {"topic": [f"{topic}:{job.job_id}" for topic in ("Allocation", "Evaluation")]}
    with world.admin.session.get(where, params=topics, stream=True, timeout=40) as answer:
        follower = threading.Thread(target=_follow, args=(answer, lines), daemon=True)
        follower.start()
        SCENARIOS[name](job)
        time.sleep(0.3)
        found = _told(job, name)
        answer.raw.shutdown()
        follower.join()
    world.reconnect()
    job.ask("DELETE", f"job/{job.job_id}?purge=true")
    return {**found, "lines": [line for line in lines if line]}


def _follow(answer: requests.Response, lines: list[Any]) -> None:
    rest = b""
    while data := answer.raw.read1(1 << 16):
        *whole, rest = (rest + data).split(b"\n")
        lines += [json.loads(line) for line in whole if line.strip()]


def _told(job: Stage, name: str) -> dict[str, Any]:
    (stub,) = [
        one
        for one in job.ask("GET", f"jobs?prefix={job.job_id}&meta=true")
        if one["ID"] == job.job_id
    ]
    return {
        "engine": job.ask("GET", "agent/self")["config"]["Version"]["Version"],
        "command": f"python -m tests.drivers.nomad.record --write {name}",
        "job": stub,
        "allocations": job.allocs(),
        "evaluations": job.ask("GET", f"job/{job.job_id}/evaluations"),
    }
