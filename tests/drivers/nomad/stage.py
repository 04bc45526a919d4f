"""One job that something is done to, and what is recorded of it."""

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
from tests.drivers.nomad.worlds import World, until

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
        assert self.world.docker or "image" not in fields, "no image can be run here"
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

    def forget(self) -> None:
        """Have Nomad forget what it knows of an earlier one."""
        path = f"job/{self.job_id}/evaluations"
        if self.ask("GET", path):
            self.ask("PUT", "system/gc")
            until(lambda: not self.ask("GET", path), "its oblivion")

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


def recorded(world: World, name: str, scenario: Callable[[Stage], None]) -> Any:
    """What the lists say of the job at its end, and what the stream said on the way."""
    job, lines = Stage(world, name), list[Any]()
    job.forget()
    where = f"{world.admin.url}/v1/event/stream"
    topics = {"topic": [f"{topic}:{job.job_id}" for topic in ("Allocation", "Evaluation")]}
    with world.admin.session.get(where, params=topics, stream=True, timeout=40) as answer:
        follower = threading.Thread(target=_follow, args=(answer, lines), daemon=True)
        follower.start()
        try:
            scenario(job)
            time.sleep(0.3)
            found = _told(job, name)
        finally:
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
