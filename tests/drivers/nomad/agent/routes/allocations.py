"""Allocations and evaluations, and what an allocation's task has written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.drivers.nomad.agent import logs
from tests.drivers.nomad.agent.answers import Answer, Denied, Request, found, written
from tests.drivers.nomad.agent.filters import keeper
from tests.drivers.nomad.agent.routes.how import (
    allow,
    allowed,
    current,
    demand_uuid,
    index,
    missing,
    page,
    route,
    there,
)
from tests.drivers.nomad.agent.shapes import alloc_stub
from tests.drivers.nomad.agent.task import Task

if TYPE_CHECKING:
    from tests.drivers.nomad.agent import Agent


@route("GET", "allocations")
def allocations(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    keeps, prefix = keeper(request.get("filter")), request.get("prefix")
    states = "task_states" not in request.query or request.flag("task_states")
    state = current(agent, request, "Allocation")
    with state.changed:
        held = there(state.allocs.values(), request)
        chosen = [a for a in held if a["ID"].startswith(prefix) and keeps(a)]
        stubs = [alloc_stub(a, state.versions[a["ID"]], task_states=states) for a in chosen]
        return page(stubs, request, index(state, "Allocation"))


@route("GET", "allocation/(?P<id>[^/]+)")
def allocation(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    demand_uuid(parts["id"], "")
    state = current(agent, request, "Allocation")
    with state.changed:
        held = state.allocs.get(parts["id"])
        if held is None:
            return missing("alloc not found", state)
        if not allowed(agent, request, "read-job"):
            raise Denied(500, f'Unknown allocation "{parts["id"]}"')
        owner = state.jobs.get((held["Namespace"], held["JobID"]))
        return found({**held, "Job": owner}, held["ModifyIndex"])


@route("PUT POST", "allocation/(?P<id>[^/]+)/stop")
def stop(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    demand_uuid(parts["id"], "")
    allow(agent, request, "alloc-lifecycle")
    if parts["id"] not in agent.state.allocs:
        raise Denied(404, "alloc not found")
    made = agent.cluster.stop(parts["id"])
    return written({"EvalID": made["ID"], "Index": made["CreateIndex"]}, made["CreateIndex"])


@route("GET", "evaluation/(?P<id>[^/]+)")
def evaluation(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    demand_uuid(parts["id"], "failed to lookup eval: ", "eval")
    allow(agent, request, "read-job")
    state = current(agent, request, "Evaluation")
    with state.changed:
        held = state.evaluations.get(parts["id"])
        return found(held, held["ModifyIndex"]) if held else missing("eval not found", state)


@route("GET", "evaluations")
def evaluations(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    keeps = keeper(request.get("filter"))
    state = current(agent, request, "Evaluation")
    with state.changed:
        held = [one for one in there(state.evaluations.values(), request) if keeps(one)]
        return page(held, request, index(state, "Evaluation"))


@route("GET", "client/fs/logs/(?P<id>[^/]+)")
def log(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    demand_uuid(parts["id"], "")
    kind = request.get("type")
    if kind not in ("stdout", "stderr"):
        raise Denied(400, "must provide log type (stdout/stderr)")
    if not request.get("task"):
        raise Denied(400, "must provide task name")
    allow(agent, request, "read-logs")
    task = _task(agent, parts["id"], request.get("task"))
    plain = request.flag("plain")
    written = logs.plain if plain else logs.framed
    chunks = written(task.log(kind), request.get("origin") or "start", request.number("offset"))
    return Answer(200, chunks, kind="text/plain" if plain else "application/json")


def _task(agent: Agent, alloc_id: str, name: str) -> Task:
    """The task, if it has logs."""
    task = agent.cluster.clients.tasks.get(alloc_id)
    if task is None or alloc_id not in agent.state.allocs:
        raise Denied(404, f'Unknown allocation "{alloc_id}"')
    if alloc_id in agent.cluster.clients.collected:
        raise Denied(404, f'state for allocation "{alloc_id}" not found on client')
    if agent.state.nodes[task.alloc["NodeID"]]["Status"] == "down":
        raise Denied(404, "No path to node")
    if name != task.spec["Name"]:
        raise Denied(400, f'unknown task name "{name}"')
    if not task.started:
        raise Denied(404, f'task "{name}" not started yet. No logs available')
    return task
