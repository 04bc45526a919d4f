"""Each call of the API that is known here, as it is asked and as it is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tests.drivers.nomad.agent import logs, stream
from tests.drivers.nomad.agent.acl import Policy
from tests.drivers.nomad.agent.answers import (
    Answer,
    Denied,
    Request,
    found,
    part,
    refused,
    written,
)
from tests.drivers.nomad.agent.cluster import Refused
from tests.drivers.nomad.agent.filters import Malformed, keeper
from tests.drivers.nomad.agent.shapes import BLANK, Object, alloc_stub, job_stub
from tests.drivers.nomad.agent.state import State
from tests.drivers.nomad.agent.task import Task
from tests.drivers.nomad.agent.validation import errors_of, listed

if TYPE_CHECKING:
    from tests.drivers.nomad.agent import Agent

Handler = Callable[["Agent", Request, Mapping[str, str]], Answer]
H = TypeVar("H", bound=Handler)

_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []
UUID = re.compile(r"[0-9a-f-]{36}")


def route(methods: str, pattern: str) -> Callable[[H], H]:
    """Answer these methods at the paths that match."""

    def note(handler: H) -> H:
        _ROUTES.extend((one, re.compile(f"/v1/{pattern}"), handler) for one in methods.split())
        return handler

    return note


def answer(agent: Agent, request: Request) -> Answer:
    """What the agent says to a request."""
    here = [entry for entry in _ROUTES if entry[1].fullmatch(request.path)]
    for method, pattern, handler in here:
        matched = pattern.fullmatch(request.path)
        if method == request.method and matched:
            parts = {name: part(text or "") for name, text in matched.groupdict().items()}
            try:
                return _checked(agent, request, handler, parts)
            except (Denied, Refused, Malformed) as error:
                return refused(_status(error), str(error))
    return refused(405, "Invalid method") if here else Answer(404, kind=None)


def _checked(agent: Agent, request: Request, handler: Handler, parts: Mapping[str, str]) -> Answer:
    if request.get("region") not in ("", agent.region):
        raise Denied(500, "No path to region")
    if agent.policies is not None and request.token and request.token not in agent.policies:
        raise Denied(403, "Permission denied")
    return handler(agent, request, parts)


def _status(error: Exception) -> int:
    if isinstance(error, Denied):
        return error.status
    return 400 if isinstance(error, Malformed) else 500


def allow(agent: Agent, request: Request, capability: str) -> None:
    """Denied, unless the token may do that."""
    policy = _policy(agent, request)
    if policy is not None and not policy.allows(capability, request.namespace):
        raise Denied(403, "Permission denied")


def _policy(agent: Agent, request: Request) -> Policy | None:
    """What the asker may do; None: everything."""
    return None if agent.policies is None else agent.policies.get(request.token, Policy())


# -- jobs ------------------------------------------------------------------------------------


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
    allow(agent, request, "register-job")
    enforced = said.get("JobModifyIndex", 0) if said.get("EnforceIndex") else None
    made = agent.cluster.register(job, enforced)
    return written({**_evaluated(made), "Warnings": ""}, made["CreateIndex"])


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
    state = _current(agent, request, "Job")
    with state.changed:
        held = _there(state.jobs.values(), request)
        chosen = [job for job in held if job["ID"].startswith(prefix) and keeps(job)]
        stubs = [_stub(state, job, meta=meta) for job in chosen]
        return _page(stubs, request, _index(state, "Job"))


def _stub(state: State, job: Object, *, meta: bool) -> Object:
    queued = sum(one["Status"] == "blocked" for one in state.evaluations_of(job))
    return job_stub(job, state.allocs_of(job), queued, meta=meta)


@route("GET", "job/(?P<id>[^/]+)")
def job(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    state = _current(agent, request, "Job")
    with state.changed:
        held = state.jobs.get((request.namespace, parts["id"]))
        if held is None:
            return _missing("job not found", state)
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
    state = _current(agent, request, "Allocation")
    with state.changed:
        held = [a for a in _there(state.allocs.values(), request) if a["JobID"] == parts["id"]]
        stubs = [alloc_stub(a, state.versions[a["ID"]]) for a in held]
        return found(stubs, _index(state, "Allocation"))


@route("GET", "job/(?P<id>[^/]+)/evaluations")
def evaluations_of(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    state = _current(agent, request, "Evaluation")
    with state.changed:
        held = _there(state.evaluations.values(), request)
        mine = [one for one in held if one["JobID"] == parts["id"]]
        return found(mine, _index(state, "Evaluation"))


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
            "Warnings": "",
        }
    )


@route("PUT POST", "jobs/parse")
def parse(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "parse-job")
    return agent.parsed(request.json()["JobHCL"])


# -- allocations and evaluations -------------------------------------------------------------


@route("GET", "allocations")
def allocations(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    keeps, prefix = keeper(request.get("filter")), request.get("prefix")
    states = "task_states" not in request.query or request.flag("task_states")
    state = _current(agent, request, "Allocation")
    with state.changed:
        held = _there(state.allocs.values(), request)
        chosen = [a for a in held if a["ID"].startswith(prefix) and keeps(a)]
        stubs = [alloc_stub(a, state.versions[a["ID"]], task_states=states) for a in chosen]
        return _page(stubs, request, _index(state, "Allocation"))


@route("GET", "allocation/(?P<id>[^/]+)")
def allocation(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _demand_uuid(parts["id"], "")
    state = _current(agent, request, "Allocation")
    with state.changed:
        held = state.allocs.get(parts["id"])
        if held is None:
            return _missing("alloc not found", state)
        allow(agent, request, "read-job")
        owner = state.jobs.get((held["Namespace"], held["JobID"]))
        return found({**held, "Job": owner}, held["ModifyIndex"])


@route("PUT POST", "allocation/(?P<id>[^/]+)/stop")
def stop(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _demand_uuid(parts["id"], "")
    allow(agent, request, "alloc-lifecycle")
    if parts["id"] not in agent.state.allocs:
        raise Denied(404, "alloc not found")
    made = agent.cluster.stop(parts["id"])
    return written({"EvalID": made["ID"], "Index": made["CreateIndex"]}, made["CreateIndex"])


@route("GET", "evaluation/(?P<id>[^/]+)")
def evaluation(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _demand_uuid(parts["id"], "failed to lookup eval: ", "eval")
    allow(agent, request, "read-job")
    state = _current(agent, request, "Evaluation")
    with state.changed:
        held = state.evaluations.get(parts["id"])
        return found(held, held["ModifyIndex"]) if held else _missing("eval not found", state)


@route("GET", "evaluations")
def evaluations(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    allow(agent, request, "read-job")
    keeps = keeper(request.get("filter"))
    state = _current(agent, request, "Evaluation")
    with state.changed:
        held = [one for one in _there(state.evaluations.values(), request) if keeps(one)]
        return _page(held, request, _index(state, "Evaluation"))


# -- the stream and logs ---------------------------------------------------------------------


@route("GET", "event/stream")
def events(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    topics = request.query.get("topic", [])
    headers = {"Connection": "close", "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    try:
        allow(agent, request, "read-job")
    except Denied:  # Nomad says so to nobody: 200, and silence
        return Answer(200, agent.silence(), headers, endless=True)
    index = request.number("index")
    reader = stream.Reader(agent.state, request.namespace, topics, index)
    return Answer(200, reader.lines(), headers, endless=True)


@route("GET", "client/fs/logs/(?P<id>[^/]+)")
def log(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _demand_uuid(parts["id"], "")
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
        raise Denied(400, f'task "{name}" does not exist in allocation')
    if not task.started:
        raise Denied(404, f'task "{name}" not started yet. No logs available')
    return task


# -- variables -------------------------------------------------------------------------------


@route("GET", "vars")
def variables(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    state, policy, prefix = agent.state, _policy(agent, request), request.get("prefix")
    with state.changed:
        held = [
            v for v in _there(state.variables.values(), request) if v["Path"].startswith(prefix)
        ]
        namespace = request.namespace
        shown = [
            v for v in held if not policy or policy.allows_variable("list", namespace, v["Path"])
        ]
        stubs = [{name: v[name] for name in v if name != "Items"} for v in shown]
        return found(stubs, _index(state, "Variable"))


@route("GET", "var/(?P<path>.+)")
def variable(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _allow_variable(agent, request, "read", parts["path"])
    held = agent.state.variables.get((request.namespace, parts["path"]))
    return found(held, held["ModifyIndex"]) if held else _missing("variable not found", agent.state)


@route("PUT POST", "var/(?P<path>.+)")
def write_variable(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    path, said = parts["path"], request.json()
    if not said.get("Items"):
        raise Denied(400, "variable missing required Items object")
    if not re.fullmatch(r"[a-zA-Z0-9-_~/]{1,128}", path):
        raise Denied(400, f'RPC Error:: 400,invalid path "{path}"')
    _allow_variable(agent, request, "write", path)
    with agent.state.changed:
        held = agent.state.variables.get((request.namespace, path))
        if not _may_replace(request, held):
            return Answer(409, found(held).body, kind=None)
        made = agent.cluster.write_variable(request.namespace, path, said["Items"])
        return written(made, made["ModifyIndex"])


@route("DELETE", "var/(?P<path>.+)")
def delete_variable(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _allow_variable(agent, request, "destroy", parts["path"])
    index = agent.state.write((request.namespace, parts["path"]), None)
    return Answer(204, headers={"X-Nomad-Index": str(index)}, kind=None)


def _may_replace(request: Request, held: Object | None) -> bool:
    """Whether what is held is what the writer thinks."""
    return "cas" not in request.query or request.number("cas") == (held or {}).get("ModifyIndex", 0)


def _allow_variable(agent: Agent, request: Request, capability: str, path: str) -> None:
    policy = _policy(agent, request)
    if policy is not None and not policy.allows_variable(capability, request.namespace, path):
        raise Denied(403, "Permission denied")


# -- the cluster -----------------------------------------------------------------------------


@route("GET", "status/leader")
def leader(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    return found("127.0.0.1:4647")


@route("GET", "agent/self")
def about(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    version = {"Version": agent.version, "VersionPrerelease": "", "Revision": ""}
    config = {"Version": version, "Region": agent.region, "Datacenter": "dc1"}
    return found({"config": config, "member": {"Name": "server-1"}, "stats": {}})


@route("GET", "nodes")
def nodes(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    with agent.state.changed:
        held = agent.state.nodes.values()
        stubs = [{name: one.get(name) for name in BLANK["node_stub"]} for one in held]
        return found(
            [{**stub, "Address": "127.0.0.1"} for stub in stubs], _index(agent.state, "Node")
        )


@route("GET", "node/(?P<id>[^/]+)")
def node(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    with agent.state.changed:
        held = agent.state.nodes.get(parts["id"])
        return found(held, held["ModifyIndex"]) if held else _missing("node not found", agent.state)


# -- how -------------------------------------------------------------------------------------


def _current(agent: Agent, request: Request, table: str) -> State:
    """The state: of a blocking query, once it has changed or the time is up."""
    if request.number("index"):
        agent.state.wait(table, request.number("index"), request.seconds)
    return agent.state


def _there(held: Iterable[Object], request: Request) -> Iterator[Object]:
    return (one for one in list(held) if request.namespace in (one["Namespace"], "*"))


def _index(state: State, table: str) -> int:
    return state.touched.get(table, 1)


def _missing(words: str, state: State) -> Answer:
    answer = found("", state.index)
    return Answer(404, words.encode(), answer.headers, kind="text/plain; charset=utf-8")


def _page(stubs: list[Any], request: Request, index: int) -> Answer:
    """All, or as many as are asked for at once."""
    size, begin = request.number("per_page"), request.get("next_token")
    stubs = [stub for stub in sorted(stubs, key=lambda one: one["ID"]) if stub["ID"] >= begin]
    if not size or len(stubs) <= size:
        return found(stubs, index)
    return found(stubs[:size], index, **{"X-Nomad-NextToken": stubs[size]["ID"]})


def _demand_uuid(text: str, before: str, kind: str = "alloc") -> None:
    if not UUID.fullmatch(text):
        words = f"{before}{kind} lookup failed: index error: UUID must be 36 characters"
        raise Denied(500, words)
