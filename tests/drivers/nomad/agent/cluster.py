"""A small Nomad in this process: what is asked of it, and what an operator or fate does to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from uuid import uuid4

from tests.drivers.nomad.agent.clients import Clients
from tests.drivers.nomad.agent.scheduler import Scheduler
from tests.drivers.nomad.agent.shapes import (
    Object,
    blank,
    canonical,
    evaluation,
    live,
)
from tests.drivers.nomad.agent.state import DELETED, State
from tests.drivers.nomad.agent.validation import errors_of, listed

DRIVERS = ("raw_exec", "exec", "docker")


class Refused(Exception):
    """Nomad says no, in its words."""


def node(name: str, **fields: object) -> Object:
    """A node with room for very many small jobs: `memory` and `disk` in MB, `cpu` in MHz."""
    made = blank("node", ID=str(uuid4()), Name=name)
    resources = made["NodeResources"]
    resources["Memory"]["MemoryMB"] = fields.pop("memory", 1 << 20)
    resources["Disk"]["DiskMB"] = fields.pop("disk", 1 << 20)
    resources["Cpu"] |= {"CpuShares": fields.pop("cpu", 1 << 20), "TotalCpuCores": 64}
    drivers = fields.pop("drivers", DRIVERS)
    made["Drivers"] = {one: blank("driver") for one in drivers}  # type: ignore[attr-defined]
    made["Attributes"] |= {f"driver.{one}": "1" for one in made["Drivers"]}
    return {**made, **fields}


class Cluster:
    """Servers, a scheduler, and the clients of some nodes."""

    namespaces = ("default", "team")

    def __init__(
        self,
        nodes: Sequence[Object],
        *,
        buffer: int,
        preemption: bool,
        pace: float,
        env: Mapping[str, str],
        images: frozenset[str] | None,
    ) -> None:
        self.state = State(buffer)
        self.scheduler = Scheduler(self.state, preemption=preemption)
        self.clients = Clients(self.state, self.scheduler.freed, pace=pace, env=env, images=images)
        self.scheduler.start(self.clients)
        for one in nodes:
            self.state.apply("NodeRegistration", [("Node", one)])

    def close(self) -> None:
        """End every task and every thread."""
        self.state.close()
        self.scheduler.close()
        self.clients.close()

    # -- what is asked of it -----------------------------------------------------------------

    def register(self, said: Object, enforced: int | None) -> Object:
        """Register a job: the evaluation of it. `enforced`: the index that it must have now."""
        with self.state.changed:
            wrong = errors_of(said, self.namespaces)
            if wrong:
                raise Refused(listed(wrong))
            job = canonical(said)
            before = self.state.jobs.get((job["Namespace"], job["ID"]))
            self._enforce(enforced, before)
            job |= {"SubmitTime": time.time_ns(), "Status": "pending"}
            if before is not None:
                job |= {"Version": before["Version"] + 1, "CreateIndex": before["CreateIndex"]}
            job["JobModifyIndex"] = self.state.index + 1
            return self._evaluated(job, "JobRegistered", "job-register")

    def _enforce(self, enforced: int | None, before: Object | None) -> None:
        if enforced == 0 and before is not None:
            raise Refused("Enforcing job modify index 0: job already exists")
        if enforced and (before is None or before["JobModifyIndex"] != enforced):
            index = before["JobModifyIndex"] if before else 0
            conflict = f"job exists with conflicting job modify index: {index}"
            words = conflict if before else "job does not exist"
            raise Refused(f"Enforcing job modify index {enforced}: {words}")

    def _evaluated(self, job: Object, kind: str, cause: str) -> Object:
        index = self.state.index + 1
        made = evaluation(job, cause, JobModifyIndex=index)
        self.state.apply(kind, [("Job", job)], [("Evaluation", made)])
        self.scheduler.add(made)
        return made

    def deregister(self, namespace: str, job_id: str, *, purge: bool) -> Object | None:
        """Stop a job; forget it, too. None where there is none."""
        with self.state.changed:
            job = self.state.jobs.get((namespace, job_id))
            if job is None:
                return None
            allocs = self.state.allocs_of(job)
            if not purge:
                version, index = job["Version"] + 1, self.state.index + 1
                job |= {"Stop": True, "Version": version, "JobModifyIndex": index}
                job["SubmitTime"] = time.time_ns()
                return self._evaluated(job, "JobDeregistered", "job-deregister")
            made = evaluation(job, "job-deregister", JobModifyIndex=self.state.index + 1)
            self.state.apply("JobDeregistered", [(DELETED, job)], [("Evaluation", made)])
        self.clients.kill(allocs)
        self.scheduler.add(made)
        return made

    def stop(self, alloc_id: str) -> Object:
        """Stop an allocation: another takes its place."""
        return self._migrate(alloc_id, "alloc-stop", Migrate=True)

    def write_variable(self, namespace: str, path: str, items: Mapping[str, str]) -> Object:
        """Write a variable."""
        with self.state.changed:
            held = self.state.variables.get((namespace, path))
            index, now = self.state.index + 1, time.time_ns()
            made = {
                "CreateIndex": held["CreateIndex"] if held else index,
                "CreateTime": held["CreateTime"] if held else now,
                "Items": dict(items),
                "ModifyIndex": index,
                "ModifyTime": now,
                "Namespace": namespace,
                "Path": path,
            }
            self.state.write((namespace, path), made)
            return made

    # -- what an operator does ---------------------------------------------------------------

    def drain(self, name: str) -> None:
        """Take everything off a node, at once; of batch jobs nothing takes its place."""
        one = self.node(name)
        one |= {"SchedulingEligibility": "ineligible", "Drain": True}
        self.state.apply("NodeDrain", [("Node", one)])
        for alloc in self._live_on(one):
            flags = {"Migrate": True, "MigrateDisablePlacement": True}
            self._migrate(alloc["ID"], "node-drain", **flags)

    def welcome(self, name: str) -> None:
        """A node that was drained takes jobs again."""
        one = self.node(name)
        one |= {"SchedulingEligibility": "eligible", "Drain": False}
        self.state.apply("NodeDrain", [("Node", one)])
        self.scheduler.freed()

    def collect(self) -> None:
        """Forget every job that is over."""
        with self.state.changed:
            for job in [job for job in self.state.jobs.values() if job["Status"] == "dead"]:
                self.state.apply("JobBatchDeregistered", [(DELETED, job)])

    # -- what befalls it ---------------------------------------------------------------------

    def lose(self, name: str) -> None:
        """A node's heartbeats stop; its tasks do not."""
        self._node_update(name, "down")

    def reconnect(self, name: str) -> None:
        """The node is heard again."""
        self._node_update(name, "ready")
        one = self.node(name)
        self.clients.resume(one)
        with self.state.changed:  # what its tasks are at is told before it is ready for more
            self.state.changed.wait_for(lambda: not self._out_of_sight(one), 10)
        self._node_update(name, "ready")
        self.scheduler.freed()

    def out_of_memory(self, job_id: str) -> None:
        """The kernel ends the task of a job."""
        for task in list(self.clients.tasks.values()):
            if task.job["ID"] == job_id:
                task.oom = True
                task.destroy()

    # -- how ---------------------------------------------------------------------------------

    def node(self, name: str) -> Object:
        """The node of that name."""
        return next(one for one in self.state.nodes.values() if one["Name"] == name)

    def _live_on(self, one: Object) -> list[Object]:
        with self.state.changed:
            allocs = self.state.allocs.values()
            return [alloc for alloc in allocs if alloc["NodeID"] == one["ID"] and live(alloc)]

    def _out_of_sight(self, one: Object) -> bool:
        return "unknown" in [alloc["ClientStatus"] for alloc in self._live_on(one)]

    def _node_update(self, name: str, status: str) -> None:
        with self.state.changed:
            one = self.node(name)
            one["Status"] = status
            index = self.state.apply("NodeUpdate", [("Node", one)])
            about = {"NodeID": one["ID"], "NodeModifyIndex": index}
            made = [
                evaluation(self._job_of(alloc), "node-update", **about)
                for alloc in self._live_on(one)
            ]
            if made:
                self.state.apply("EvaluationUpdated", [("Evaluation", one) for one in made])
        self.scheduler.add(*made)

    def _migrate(self, alloc_id: str, cause: str, **flags: bool) -> Object:
        with self.state.changed:
            alloc = self.state.allocs[alloc_id]
            transition = blank("alloc_stub")["DesiredTransition"]
            alloc["DesiredTransition"] = {**transition, **flags}
            job = self._job_of(alloc)
            about = {"JobModifyIndex": job["JobModifyIndex"]} if cause == "alloc-stop" else {}
            made = evaluation(job, cause, **about)
            self.state.apply(
                "AllocationUpdateDesiredStatus", [("Allocation", alloc), ("Evaluation", made)]
            )
        self.scheduler.add(made)
        return made

    def _job_of(self, alloc: Object) -> Object:
        return self.state.jobs[alloc["Namespace"], alloc["JobID"]]
