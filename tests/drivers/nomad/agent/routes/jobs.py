"""Jobs: registered, listed, looked at, stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.drivers.nomad.agent.answers import Answer, Denied, Request, found, written
from tests.drivers.nomad.agent.filters import keeper
from tests.drivers.nomad.agent.routes.how import allow, current, index, missing, page, route, there
from tests.drivers.nomad.agent.shapes import Object, alloc_stub, job_stub
from tests.drivers.nomad.agent.state import State
from tests.drivers.nomad.agent.validation import errors_of, listed, warnings_of

if TYPE_CHECKING:
    from tests.drivers.nomad.agent import Agent


@route("PUT POST", "jobs")
def register(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    said = request.json()
    job = said.get("Job")
    if job is None:
        raise Denied(400, "Job must be specified")
    if not job.get("ID"):
        raise Denied(400, "Job ID hasn't been provided")
    if (job.get("Region") or agent.region) != agent.region:
        raise Denied(500, "No path to region")
    job = {**job, "Namespace": job.get("Namespace") or request.namespace}
    allow(agent, request, "register-job", job["Namespace"])
    enforced = said.get("JobModifyIndex", 0) if said.get("EnforceIndex") else None
    made = agent.cluster.register(job, enforced)
    return written({**_evaluated(made), "Warnings": warnings_of(job)}, made["CreateIndex"])


def _evaluated(made: Object | None) -> Object:
    index = made["CreateIndex"] if made else 0
    return {
        "EvalCreateIndex": index,
        "EvalID": made["ID"] if made else "",
        "Index": index,
        "JobModifyIndex": index,
        "KnownLeader": False,
        "LastContact": 0,
        "NextToken": "",
    }


@route("GET", "jobs")
def jobs(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "list-jobs")
    keeps, prefix = keeper(request.get("filter")), request.get("prefix")
    meta = request.flag("meta")
    state = current(agent, request, "Job")
    with state.changed:
        held = there(state.jobs.values(), request)
        chosen = [job for job in held if job["ID"].startswith(prefix) and keeps(job)]
        stubs = [_stub(state, job, meta=meta) for job in chosen]
        return page(stubs, request, index(state, "Job"))


def _stub(state: State, job: Object, *, meta: bool) -> Object:
    queued = sum(one["Status"] == "blocked" for one in state.evaluations_of(job))
    return job_stub(job, state.allocs_of(job), queued, meta=meta)


@route("GET", "job/(?P<id>[^/]+)")
def job(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    state = current(agent, request, "Job")
    with state.changed:
        held = state.jobs.get((request.namespace, parts["id"]))
        if held is None:
            return missing("job not found", state)
        return found(held, held["ModifyIndex"])


@route("DELETE", "job/(?P<id>[^/]+)")
def deregister(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    purge = request.flag("purge")
    allow(agent, request, "purge-job" if purge else "deregister-job")
    made = agent.cluster.deregister(request.namespace, parts["id"], purge=purge)
    said = {**_evaluated(made), "VolumeEvalID": "", "VolumeEvalIndex": 0}
    return written(said, said["Index"])


@route("GET", "job/(?P<id>[^/]+)/allocations")
def allocations_of(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    state = current(agent, request, "Allocation")
    with state.changed:
        held = [a for a in there(state.allocs.values(), request) if a["JobID"] == parts["id"]]
        stubs = [alloc_stub(a, state.versions[a["ID"]]) for a in held]
        return found(stubs, index(state, "Allocation"))


@route("GET", "job/(?P<id>[^/]+)/evaluations")
def evaluations_of(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    state = current(agent, request, "Evaluation")
    with state.changed:
        held = there(state.evaluations.values(), request)
        mine = [one for one in held if one["JobID"] == parts["id"]]
        return found(mine, index(state, "Evaluation"))


@route("PUT POST", "validate/job")
def validate(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "register-job")
    job = {"Namespace": request.namespace, **request.json()["Job"]}
    wrong = errors_of(job, agent.cluster.namespaces)
    return found(
        {
            "DriverConfigValidated": True,
            "Error": listed(wrong),
            "ValidationErrors": wrong or None,
            "Warnings": warnings_of(job),
        }
    )


@route("PUT POST", "jobs/parse")
def parse(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "parse-job")
    return agent.parsed(request.json()["JobHCL"])
