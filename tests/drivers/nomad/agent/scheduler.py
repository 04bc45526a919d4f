"""What a cluster makes of an evaluation: places, stops, or a wait for a place."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from tests.drivers.nomad.agent.placing import Choice, Look
from tests.drivers.nomad.agent.shapes import (
    Object,
    allocation,
    annotations,
    evaluation,
    live,
    seen,
)
from tests.drivers.nomad.agent.state import Change, State

WAITING = "created to place remaining allocations"


class Runs(Protocol):
    """Who runs what was placed."""

    def run(self, job: Object, alloc: Object, node: Object) -> None:
        """Run it."""

    def kill(self, allocs: Iterable[Object]) -> None:
        """End them."""


@dataclass
class Plan:
    """What an evaluation changes."""

    stops: list[Object] = field(default_factory=list)
    unknown: list[Object] = field(default_factory=list)
    again: list[Object] = field(default_factory=list)  #: stopped before, and told again
    back: list[Object] = field(default_factory=list)  #: out of sight for a while
    places: int = 0
    victims: list[Object] = field(default_factory=list)
    placed: list[Object] = field(default_factory=list)


class Scheduler:
    """One worker: it takes evaluations one by one."""

    def __init__(self, state: State, *, preemption: bool) -> None:
        self.state, self.preemption = state, preemption
        self.clients: Runs
        self._waiting: queue.SimpleQueue[Object | None] = queue.SimpleQueue()
        self._timers: list[threading.Timer] = []
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self, clients: Runs) -> None:
        """Begin; what is placed is run by these clients."""
        self.clients = clients
        self._thread.start()

    def add(self, *evaluations: Object) -> None:
        """Look at these, in turn."""
        for one in evaluations:
            self._waiting.put(one)

    def freed(self) -> None:
        """There may be room: look again at what waits, the most important first."""
        with self.state.changed:
            blocked = [e for e in self.state.evaluations.values() if e["Status"] == "blocked"]
        self.add(*sorted(blocked, key=lambda one: (-one["Priority"], one["CreateIndex"])))

    def close(self) -> None:
        """Take no more."""
        for timer in self._timers:
            timer.cancel()
        self._waiting.put(None)
        self._thread.join(10)

    def _work(self) -> None:
        while (one := self._waiting.get()) is not None:
            with self.state.changed:
                ended = self._process(one)
            self.clients.kill(ended)

    # -- one evaluation; the state is locked -------------------------------------------------

    def _process(self, one: Object) -> list[Object]:
        """Do what an evaluation asks for; the allocations whose tasks must end."""
        job = self.state.jobs.get((one["Namespace"], one["JobID"]))
        if one["Status"] not in ("pending", "blocked") or self.state.closed:
            return []
        if job is None:
            self._complete(one, Plan(), None)
            return []
        plan, group = self._plan(one, job), job["TaskGroups"][0]["Name"]
        choice = self._look(job) if plan.places else None
        if choice is not None and choice.node is None:
            self._wait(one, job, plan, choice, group)
        else:
            if choice is not None:
                self._place(one, job, plan, choice)
            self._submit(one, plan)
            self._complete(one, plan, group)
        return [a for a in (*plan.stops, *plan.victims) if a["ClientStatus"] != "lost"]

    def _plan(self, one: Object, job: Object) -> Plan:
        plan = Plan()
        allocs = self.state.allocs_of(job)
        for alloc in filter(live, allocs):
            self._reconcile(one, job, alloc, plan)
        if job["Stop"]:
            stopped = [a for a in allocs if a["DesiredStatus"] == "stop" and a not in plan.stops]
            plan.again = stopped if plan.stops else []
        elif not any(map(_counts, allocs)):
            plan.places = 1
        return plan

    def _reconcile(self, one: Object, job: Object, alloc: Object, plan: Plan) -> None:
        """What is to become of an allocation that is meant to run."""
        down = self.state.nodes[alloc["NodeID"]]["Status"] == "down"
        over = one["TriggeredBy"] == "max-disconnect-timeout"
        stay = job["TaskGroups"][0]["Disconnect"]
        if job["Stop"]:
            self._stop(alloc, "alloc not needed due to job update", plan)
        elif down and stay and not over:
            if alloc["ClientStatus"] != "unknown":
                self._lose_sight(one, job, alloc, plan)
        elif down:
            alloc["ClientStatus"] = "lost"
            self._stop(alloc, "alloc is lost since its node is down", plan)
        elif (alloc.get("DesiredTransition") or {}).get("Migrate"):
            self._stop(alloc, "alloc is being migrated", plan)
        elif alloc["ClientStatus"] != "unknown" and _was_unknown(alloc):
            alloc["AllocStates"].append(seen("running"))
            plan.back.append(alloc)

    def _stop(self, alloc: Object, why: str, plan: Plan) -> None:
        alloc |= {"DesiredStatus": "stop", "DesiredDescription": why}
        alloc.pop("AllocStates", None)
        plan.stops.append(alloc)

    def _lose_sight(self, one: Object, job: Object, alloc: Object, plan: Plan) -> None:
        """Its node is cut off: wait for it as long as the job says."""
        words = "alloc is unknown since its node is disconnected"
        alloc |= {"ClientStatus": "unknown", "ClientDescription": words}
        plan.unknown.append(alloc)
        seconds = job["TaskGroups"][0]["Disconnect"]["LostAfter"] / 1e9
        until = datetime.fromtimestamp(time.time() + seconds, UTC)
        later = evaluation(
            job,
            "max-disconnect-timeout",
            JobModifyIndex=job["JobModifyIndex"],
            PreviousEval=one["ID"],
            SnapshotIndex=self.state.index,
            StatusDescription="created for delayed disconnect timeout",
            WaitUntil=until.isoformat().replace("+00:00", "Z"),
        )
        self.state.apply("EvaluationUpdated", [("Evaluation", later)])
        one["NextEval"] = alloc["FollowupEvalID"] = later["ID"]
        alloc["AllocStates"] = [seen("unknown")]
        timer = threading.Timer(seconds, self.add, [later])
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _look(self, job: Object) -> Choice:
        """Where it may run."""
        state = self.state
        priorities = {
            alloc["ID"]: state.jobs[alloc["Namespace"], alloc["JobID"]]["Priority"]
            for alloc in state.allocs.values()
            if (alloc["Namespace"], alloc["JobID"]) in state.jobs
        }
        nodes, allocs = list(state.nodes.values()), list(state.allocs.values())
        return Look(job, nodes, allocs, priorities, self.preemption).choose()

    def _place(self, one: Object, job: Object, plan: Plan, choice: Choice) -> None:
        assert choice.node is not None
        alloc = allocation(job, one["ID"], choice.node, choice.metrics)
        self.state.versions[alloc["ID"]] = job["Version"]
        plan.placed.append(alloc)
        for stopped in plan.stops:
            stopped["NextAllocation"] = alloc["ID"]
            alloc["PreviousAllocation"] = stopped["ID"]
        for victim in choice.victims:
            words = f"Preempted by alloc ID {alloc['ID']}"
            victim |= {"DesiredStatus": "evict", "DesiredDescription": words}
            victim["PreemptedByAllocation"] = alloc["ID"]
            plan.victims.append(victim)

    def _submit(self, one: Object, plan: Plan) -> None:
        """Write the plan, if it changes anything; run what it places."""
        allocs = [*plan.placed, *plan.stops, *plan.again, *plan.unknown, *plan.back, *plan.victims]
        if not allocs:
            return
        displaced = [self._displaced(victim) for victim in plan.victims]
        changes: list[Change] = [("Evaluation", one)]
        changes += [("Allocation", alloc) for alloc in allocs]
        changes += [("Evaluation", other) for other in displaced]
        self.state.apply("PlanResult", changes)
        for alloc in plan.placed:
            job = self.state.jobs[alloc["Namespace"], alloc["JobID"]]
            self.clients.run(job, alloc, self.state.nodes[alloc["NodeID"]])
        self.add(*displaced)

    def _displaced(self, victim: Object) -> Object:
        job = self.state.jobs[victim["Namespace"], victim["JobID"]]
        return evaluation(job, "preemption")

    def _wait(self, one: Object, job: Object, plan: Plan, choice: Choice, group: str) -> None:
        """There is no place: an evaluation that is blocked waits for one."""
        failed = {group: choice.metrics}
        if one["Status"] == "blocked":
            one["FailedTGAllocs"] = failed
            return
        same = {name: one[name] for name in ("JobModifyIndex",) if name in one}
        blocked = evaluation(
            job,
            "queued-allocs",
            **same,
            FailedTGAllocs=failed,
            PreviousEval=one["ID"],
            SnapshotIndex=self.state.index,
            Status="blocked",
            StatusDescription=WAITING,
        )
        if choice.metrics["NodesAvailable"]:
            blocked["ClassEligibility"] = {"v1:1": not choice.metrics["NodesFiltered"]}
        self.state.apply("EvaluationUpdated", [("Evaluation", blocked)])
        self._submit(one, plan)
        one |= {"BlockedEval": blocked["ID"], "FailedTGAllocs": failed}
        self._complete(one, plan, group, queued=1)

    def _complete(self, one: Object, plan: Plan, group: str | None, *, queued: int = 0) -> None:
        for name in ("StatusDescription", *(() if queued else ("FailedTGAllocs",))):
            one.pop(name, None)
        one |= {"Status": "complete", "ModifyTime": time.time_ns()}
        one.setdefault("SnapshotIndex", self.state.index)
        if group is not None:
            updates = {"Place": len(plan.placed) + queued, "Stop": len(plan.stops)}
            one |= {"PlanAnnotations": annotations(group, **updates)}
            one |= {"QueuedAllocations": {group: queued}}
        canceled = self._canceled(one) if one["TriggeredBy"] == "job-deregister" else []
        changes: list[Change] = [("Evaluation", other) for other in (*canceled, one)]
        self.state.apply("EvaluationUpdated", changes)

    def _canceled(self, one: Object) -> list[Object]:
        """What waits for a job that is stopped."""
        said: dict[str, Any] = {
            "Status": "canceled",
            "StatusDescription": f'evaluation "{one["ID"]}" successful',
        }
        key = (one["Namespace"], one["JobID"])
        found = [
            other
            for other in self.state.evaluations.values()
            if (other["Namespace"], other["JobID"]) == key and other["Status"] == "blocked"
        ]
        for other in found:
            other |= said
        return found


def _was_unknown(alloc: Object) -> bool:
    """Whether it was out of sight the last time that anybody looked."""
    return [state["Value"] for state in alloc.get("AllocStates", [])][-1:] == ["unknown"]


def _counts(alloc: Object) -> bool:
    """Whether Nomad is content with it: it puts nothing in its place."""
    drained = (alloc.get("DesiredTransition") or {}).get("MigrateDisablePlacement")
    return alloc["DesiredStatus"] == "run" or bool(drained)
